"""Writes an mp4 that browsers play: H.264 frames at their own times, and AAC sound beside them without a gap."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import av
import cv2
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from videolib.errors import VideoReadError
from videolib.folders import written_whole
from videolib.images import resize
from videolib.types import RGBArray
from videolib.video.frames import sample_frames
from videolib.video.sampling import SamplePlan
from videolib.video.sound import read_sound
from videolib.video.timeline import Timeline

_TICKS = Fraction(1, 90_000)  # whole for all usual frame rates
_BT709 = 1  # as AVColorPrimaries and AVColorTransferCharacteristic have it
_QUALITY = {"crf": "25", "preset": "veryfast"}
_SLACK = Fraction(1, 10)  # of a frame: Matroska stores milliseconds
_BITS = 48_000  # of a second of one channel


@dataclass(frozen=True)
class Span:
    """A part of a video: its frames with the times at which they come, in seconds from the part's start."""

    timeline: Timeline
    start_seconds: Fraction
    end_seconds: Fraction
    samples: SamplePlan  # numbered from 0
    times: list[Fraction]  # (samples,)


def find_span(
    timeline: Timeline, start_seconds: float, end_seconds: float, *, frames_per_second: int | None = None
) -> Span:
    """Find every frame on screen from start to end, or to the video's end; of more than frames_per_second some."""
    check_part(start_seconds, end_seconds)
    table = timeline.table
    start, stop = Fraction(start_seconds), min(Fraction(end_seconds), timeline.duration)
    if start >= timeline.duration:
        raise ValueError(
            f"start_seconds must lie within the video, got {start_seconds:g}: {table.path} lasts "
            f"{float(timeline.duration):.3f} seconds"
        )
    packets, begins, ends = timeline.displayed()
    first, last = (timeline.start + seconds / table.time_base for seconds in (start, stop))
    by_packet: dict[int, range] = {}
    times: list[Fraction] = []
    step = -1
    inside = (begins < ends) & (ends > float(first)) & (begins < min(float(last), timeline.read_end))
    for packet, begin in zip(packets[inside].tolist(), begins[inside].tolist(), strict=True):
        time = max((begin - first) * table.time_base, Fraction(0))
        place = int(time * (frames_per_second or 0) + _SLACK)
        if frames_per_second is None or place > step:
            step = place
            by_packet[packet] = range(len(times), len(times) + 1)
            times.append(time)
    return Span(timeline, start, stop, SamplePlan(timeline, by_packet, len(times)), times)


def check_part(start_seconds: float, end_seconds: float) -> None:
    """Refuse what is no part of any video."""
    if not (math.isfinite(start_seconds) and start_seconds >= 0):
        raise ValueError(
            f"start_seconds must be finite and not negative, got {start_seconds}; pass 0 for the beginning"
        )
    if not (math.isfinite(end_seconds) and end_seconds > start_seconds):
        raise ValueError(
            f"end_seconds must be finite and greater than start_seconds={start_seconds}, got {end_seconds}; "
            "pass the video's duration for its end"
        )


def letterbox(image: RGBArray, width: int, height: int) -> RGBArray:
    """Fit an RGB image into (height, width, 3), between black bars where its shape is another."""
    tall, wide = image.shape[:2]
    if (wide, tall) == (width, height):
        return image
    scale = min(width / wide, height / tall)
    wide, tall = round(wide * scale), round(tall * scale)
    wide, tall = (width if width - wide < 2 else wide), (height if height - tall < 2 else tall)  # even sides
    wide, tall = max(wide, 1), max(tall, 1)
    if scale < 0.5:
        image = resize(image, wide, tall)
    else:  # as good here, and six times as fast
        image = cast(RGBArray, cv2.resize(image, (wide, tall), interpolation=cv2.INTER_LINEAR))
    if (wide, tall) == (width, height):
        return image
    boxed = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = (height - tall) // 2, (width - wide) // 2
    boxed[top : top + tall, left : left + wide] = image
    return boxed


def open_mp4(path: Path) -> OutputContainer:
    """Begin an mp4 whose index will stand before the pictures, so that players can begin at once."""
    return av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"})


class SoundTrack:
    """AAC in an mp4, encoded from samples that follow on each other."""

    def __init__(self, container: OutputContainer, rate: int, channels: int) -> None:
        self._stream = container.add_stream("aac", rate=rate)
        self._stream.codec_context.layout = self.layout = ("mono", "stereo")[channels - 1]
        self._stream.codec_context.bit_rate = _BITS * channels
        self.rate, self.channels = rate, channels
        self.count = 0  # samples that are encoded

    def encode(self, samples: np.ndarray | None) -> list[Packet[Any]]:
        """Encode (channels, n) float32; None at the end."""
        if samples is None:
            return self._stream.encode(None)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self.layout)
        frame.sample_rate, frame.time_base = self.rate, Fraction(1, self.rate)
        frame.pts = self.count
        self.count += samples.shape[1]
        return self._stream.encode(frame)


class Film:
    """An mp4 that is written span after span."""

    def __init__(self, path: Path, width: int, height: int, *, sound: tuple[int, int] | None) -> None:
        """Begin it, with both sides even; `sound` is samples a second and channels, None for a silent one."""
        self.width, self.height = width, height
        self.length = Fraction(0)  # seconds, of what is written
        self._container = open_mp4(path)
        self._video = self._container.add_stream("libx264", rate=30, options=_QUALITY)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        context = self._video.codec_context
        context.time_base = _TICKS
        context.flags |= Flags.frame_duration  # else the last frame stays as long as the one before
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries = context.color_trc = _BT709
        self._sound = SoundTrack(self._container, *sound) if sound else None

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._container:
            if kind is None:
                for stream in (self._video, self._sound):
                    if stream is not None:
                        self._container.mux(stream.encode(None))

    def add(self, span: Span, convert: Callable[[RGBArray], RGBArray]) -> None:
        """Append a span; `convert` makes (height, width, 3) of an image, in the thread that decoded it."""
        end = span.end_seconds - span.start_seconds
        blocks = self._listen(span, end)
        previous: tuple[Fraction, VideoFrame] | None = None
        frames = sample_frames(
            span.samples, lambda image: _to_yuv(convert(image)), converted_bytes=self.width * self.height * 3
        )
        for number, _, frame in frames:
            time = span.times[number] if previous else Fraction(0)  # what is lost before the first is held
            if previous:
                self._show(*previous, until=time)
            previous = time, frame
            self._mux_sound(blocks, until=time)
        if previous is None:
            raise VideoReadError(
                f"{span.timeline.table.path} has no readable frame from {float(span.start_seconds):g} to "
                f"{float(span.end_seconds):g} seconds; choose another part"
            )
        self._show(*previous, until=end)
        self._mux_sound(blocks, until=end)
        self.length += end

    def _show(self, time: Fraction, frame: VideoFrame, *, until: Fraction) -> None:
        begin, stop = (round((self.length + seconds) / _TICKS) for seconds in (time, until))
        frame.pts, frame.duration, frame.time_base = begin, stop - begin, _TICKS
        self._container.mux(self._video.encode(frame))

    def _listen(self, span: Span, length: Fraction) -> Iterator[np.ndarray]:
        if self._sound is None:
            return iter(())
        table = span.timeline.table
        return read_sound(
            table.path,
            start=span.timeline.start * table.time_base + span.start_seconds,
            count=round((self.length + length) * self._sound.rate)
            - self._sound.count,  # no drift over many spans
            rate=self._sound.rate,
            channels=self._sound.channels,
            table=table,
        )

    def _mux_sound(self, blocks: Iterator[np.ndarray], *, until: Fraction) -> None:
        while self._sound is not None and self._sound.count < (self.length + until) * self._sound.rate:
            block = next(blocks, None)
            if block is None:
                return
            self._container.mux(self._sound.encode(block))


@contextmanager
def written(to: str | os.PathLike[str] | BinaryIO, *, sources: Iterable[Path]) -> Iterator[Path]:
    """Give a path to write an mp4 to, and bring it to where it belongs once it is whole."""
    if not isinstance(to, str | os.PathLike):
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part.mp4"
            yield part
            with part.open("rb") as file:
                shutil.copyfileobj(file, to)
        return
    target = Path(to)
    if target.suffix.lower() != ".mp4":
        raise ValueError(f"to must be the path of an .mp4 file, got {target}; name it {target.stem}.mp4")
    if not target.parent.is_dir():
        raise ValueError(f"to must lie in a folder that exists, got {target}; make {target.parent} first")
    if target.exists() and any(target.samefile(source) for source in sources):
        raise ValueError(f"to must not be the video itself, got {target}; give it another name")
    with written_whole(target) as part:
        yield part


def _to_yuv(image: RGBArray) -> VideoFrame:
    return VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )
