"""Makes small videos that flash and beep at one time, and finds both again."""

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.media import SIZE, counter_picture

SAMPLE_RATE = 48_000
RATE = 30
LONG = 0.1  # seconds of a flash and a beep


def write_sounding(
    path: Path,
    codec: str = "libx264",
    sound: str = "aac",
    *,
    at: float = 1.5,
    seconds: float = 2.4,
    beeps: Sequence[float] | None = None,
    default: int = 0,
    heard: tuple[float, float] | None = None,
    times: Sequence[float] | None = None,
    options: Mapping[str, str] | None = None,
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    sample_rate: int = SAMPLE_RATE,
) -> Path:
    """Encode counter pictures that flash once, with tracks that beep once each; the sound lasts from `heard` to."""
    begin, end = heard or (0, seconds)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=RATE, options=dict(options or {"g": "15"}))
        video.width, video.height = SIZE
        video.pix_fmt = pixel_format
        video.codec_context.time_base = Fraction(1, 3000 if times else RATE)
        video.codec_context.thread_count = 1
        if rotation:
            video.set_display_rotation(rotation)
        tracks = [container.add_stream(sound, rate=sample_rate) for _ in (beeps or [at])]
        for place, track in enumerate(tracks):
            track.codec_context.layout = "mono"
            track.disposition = av.stream.Disposition.default if place == default else 0
        for number, time in enumerate(times or [n / RATE for n in range(round(seconds * RATE))]):
            image = counter_picture(number)
            image[SIZE[1] // 2 :] = 255 if at - 1e-6 <= time < at + LONG else 0
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = video.codec_context.time_base
            frame.pts = round(time / frame.time_base)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        seconds_of = np.arange(round(begin * sample_rate), round(end * sample_rate)) / sample_rate
        for track, beep in zip(tracks, beeps or [at], strict=True):
            is_loud = (seconds_of >= beep) & (seconds_of < beep + LONG)
            samples = (0.5 * np.sin(2 * np.pi * 1000 * seconds_of) * is_loud).astype(np.float32)[None]
            for place in range(0, samples.shape[1], 1024):
                piece = np.ascontiguousarray(samples[:, place : place + 1024])
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                frame.sample_rate, frame.time_base = sample_rate, Fraction(1, sample_rate)
                frame.pts = round(begin * sample_rate) + place
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return path


def find_flash(source: Path | bytes) -> float | None:
    """When the lower half turns white, in seconds from the first frame."""
    with _open(source) as container:
        first = None
        for frame in container.decode(video=0):
            first = frame.time if first is None else first
            image = frame.to_ndarray(format="rgb24")
            if image[image.shape[0] * 3 // 4 :].mean() > 128:
                return frame.time - first
    return None


def find_beep(source: Path | bytes) -> float | None:
    """When the sound begins to be loud, in seconds from the first frame of the video."""
    with _open(source) as container:
        first = next(container.decode(video=0)).time
    with _open(source) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(float)).max(axis=0)
            loud = np.flatnonzero(samples > 0.1 * (32767 if frame.format.name.startswith("s16") else 1))
            if len(loud):
                return frame.time + loud[0] / frame.sample_rate - first
    return None


def _open(source: Path | bytes) -> av.container.InputContainer:
    return av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source))
