"""`cut_clip`: a part of a video as a file of its own, with its sound."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from videolib.video.demux import UNTIMED_FORMATS, demux, opened
from videolib.video.films import Film, SoundTrack, check_part, find_span, letterbox, open_mp4, written
from videolib.video.frames import checked_path, read_timeline
from videolib.video.sound import find_sound, read_sound, sound_format, sound_packets
from videolib.video.timeline import Timeline

_PLAYED = {  # what browsers play in an mp4, by codec and pixel format
    "h264": ("yuv420p", "yuvj420p"),
    "vp9": ("yuv420p", "yuv420p10le"),
    "av1": ("yuv420p", "yuv420p10le"),
}
_HEARD = ("aac", "mp3", "opus")
_OWN_CLOCKS = ("mpegts", "mpeg")  # several recordings in one file, each with a clock of its own
_STEPS_BACK = (0, 10, 100, 1 << 20)  # seconds, until a keyframe is found
_HEAD_PACKETS = 33  # no picture is shown before one that is decoded this many packets earlier


@dataclass(frozen=True)
class Clip:
    """What `cut_clip` wrote: which part of the video, in seconds of it; copied, it begins at a keyframe."""

    start_seconds: float
    end_seconds: float
    has_sound: bool
    is_copied: bool


def cut_clip(
    path: str | os.PathLike[str],
    start_seconds: float,
    end_seconds: float,
    to: str | os.PathLike[str] | BinaryIO,
    *,
    exact: bool = True,
    long_side: int | None = 1280,
    frames_per_second: int | None = None,
) -> Clip:
    """Cut a part out of a video, with its sound, into an mp4 that browsers play.

    The sound is the file's default track; of a video without sound the clip has none. A file that cannot be written
    to its end leaves nothing behind.

    Parameters
    ----------
    path
        The video file.
    start_seconds, end_seconds
        Which part; up to the video's end if that comes before end_seconds.
    to
        The mp4 file to write, or a binary file that is open for writing, such as an `io.BytesIO`.
    exact
        Encode the part anew, as H.264 and AAC: every frame that is on screen in it, upright, at its own time, in the
        colours of `extract_frames`. If False, copy what is there from the keyframe before the start, in some tens
        of milliseconds; what browsers do not play (HEVC, MPEG-4 part 2, 10-bit H.264) is encoded all the same.
    long_side
        Pixels of the longer side at most, None for the video's own. Copied frames keep their size.
    frames_per_second
        Leave frames out where there are more, None for all. Copied clips keep all.

    Returns
    -------
    Which part of the video the clip shows.

    Raises
    ------
    ValueError
        If end_seconds is not after start_seconds, the video ends before it, or `to` is the video itself, no .mp4, or
        in a folder that does not exist.
    VideoReadError
        If the file is no readable video, or no frame of the part can be read.
    """
    _check(start_seconds, end_seconds, long_side, frames_per_second)
    file = checked_path(path)
    with written(to, sources=[file]) as target:
        clip = None if exact else _copy(file, start_seconds, end_seconds, target)
        if clip is None:
            timeline = read_timeline(file)
            width, height = _limit(timeline.width, timeline.height, long_side)
            clip = encode_clip(
                timeline,
                start_seconds,
                end_seconds,
                target,
                width=width,
                height=height,
                frames_per_second=frames_per_second,
            )
    return clip


def encode_clip(
    timeline: Timeline,
    start_seconds: float,
    end_seconds: float,
    to: Path,
    *,
    width: int,
    height: int,
    frames_per_second: int | None,
) -> Clip:
    """Encode a part of a video anew, in frames of this size, both sides even."""
    span = find_span(timeline, start_seconds, end_seconds, frames_per_second=frames_per_second)
    sound = sound_format(timeline.table.path)
    with Film(to, width, height, sound=sound) as film:
        film.add(span, lambda image: letterbox(image, width, height))
    return Clip(
        float(span.start_seconds), float(span.end_seconds), has_sound=sound is not None, is_copied=False
    )


def _check(
    start_seconds: float, end_seconds: float, long_side: int | None, frames_per_second: int | None
) -> None:
    check_part(start_seconds, end_seconds)
    for name, value in (("long_side", long_side), ("frames_per_second", frames_per_second)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}; pass None for the video's own")


def _limit(width: int, height: int, long_side: int | None) -> tuple[int, int]:
    """Shrink a size to a longer side, both sides even, as H.264 wants them."""
    scale = min(1.0, (long_side or math.inf) / max(width, height))
    return tuple(max(2, round(side * scale / 2) * 2) for side in (width, height))  # type: ignore[return-value]


class _NotCopiedError(Exception):
    """The file is one of those that are better encoded anew."""


_UNUSUAL = (_NotCopiedError, StopIteration, ValueError, av.FFmpegError)  # and what PyAV says of such files


class _TimedPacket(NamedTuple):
    """A packet with its times of presentation and decoding, in units of the stream's time_base."""

    packet: Packet[Any]
    pts: int
    dts: int


def _copy(file: Path, start_seconds: float, end_seconds: float, to: Path) -> Clip | None:
    """Copy a part's packets; None where browsers do not play them, or something about them is unusual."""
    with opened(file) as (container, stream), suppress(*_UNUSUAL):
        if not _is_played(container, stream):
            return None
        base, origin = cast(Fraction, stream.time_base), _find_origin(container, stream, file)
        start, stop = (origin + Fraction(seconds) / base for seconds in (start_seconds, end_seconds))
        packets = _pictures(container, stream, start, stop)
        first = next(packets)
        end = 0
        with open_mp4(to) as film:
            copy = film.add_stream_from_template(stream, opaque=True)
            sound: Iterator[Packet[Any]] = iter(())
            if find_sound(container) is not None:
                sound = _sounds(file, film, first.pts * base, stop * base)
            heard = next(sound, None)
            for packet, pts, dts in chain([first], packets):
                while heard is not None and _seconds(heard) <= (dts - first.pts) * base:
                    film.mux(heard)
                    heard = next(sound, None)
                end = max(end, pts + (packet.duration or 0))
                packet.pts, packet.dts, packet.stream = pts - first.pts, dts - first.pts, copy
                film.mux(packet)
            while heard is not None and _seconds(heard) < (end - first.pts) * base:
                film.mux(heard)
                heard = next(sound, None)
            has_sound = len(film.streams) > 1
        if end <= start:
            return None  # the video ends before
        begin_seconds, stop_seconds = (float((time - origin) * base) for time in (first.pts, end))
        return Clip(begin_seconds, stop_seconds, has_sound=has_sound, is_copied=True)
    return None


def _seconds(packet: Packet[Any]) -> Fraction:
    return cast(int, packet.dts) * packet.time_base


def _is_played(container: InputContainer, stream: VideoStream) -> bool:
    context = stream.codec_context
    played = _PLAYED.get(context.codec.canonical_name, ())
    return context.pix_fmt in played and container.format.name not in UNTIMED_FORMATS


def _find_origin(container: InputContainer, stream: VideoStream, file: Path) -> int:
    """Find when the first frame is shown, without reading the whole file where it is a usual one."""
    head = list(islice(demux(container, stream), _HEAD_PACKETS))
    times = [packet.pts for packet in head]
    stream.codec_context.thread_count = 1
    first = _decode_alone(stream, head[0])
    if first.side_data.get("DISPLAYMATRIX"):
        raise _NotCopiedError  # PyAV does not write it
    is_usual = container.format.name not in _OWN_CLOCKS
    is_usual &= head[0].is_keyframe and not any(packet.is_discard for packet in head)
    if is_usual and None not in times and first.pts == times[0] == min(cast(list[int], times)):
        return first.pts
    timeline = read_timeline(file)
    if timeline.table.shifts is not None or timeline.is_untimed:
        raise _NotCopiedError
    return timeline.start


def _decode_alone(stream: VideoStream, packet: Packet[Any]) -> VideoFrame:
    """Decode a keyframe that is one not by name alone, as those of an intra refresh are."""
    context = stream.codec_context
    frames = [*context.decode(packet), *context.decode(None)]
    context.flush_buffers()
    if not frames or frames[0].is_corrupt:
        raise _NotCopiedError
    return frames[0]


def _pictures(
    container: InputContainer, stream: VideoStream, start: Fraction, stop: Fraction
) -> Iterator[_TimedPacket]:
    """Yield the packets from the keyframe before `start` on up to those shown before `stop`."""
    held: list[_TimedPacket] = []
    packets: Iterator[_TimedPacket] = iter(())
    for back in _STEPS_BACK:
        container.seek(int(start - back / cast(Fraction, stream.time_base)), stream=stream)
        packets = _timed(demux(container, stream))
        for timed in packets:
            is_key = timed.packet.is_keyframe and timed.pts <= start
            if is_key:
                held.clear()
            if is_key or held:
                held.append(timed)
            if timed.dts > start:
                break  # no keyframe after it is shown before the start
        if held:
            break
    if not held:
        raise _NotCopiedError
    begin, late = held[0].pts, []
    _decode_alone(stream, held[0].packet)
    for timed in chain(held, packets):
        if timed.dts >= stop:
            break
        if timed.pts >= begin:  # others need what lies before the keyframe
            late.append(timed)
            if timed.pts < stop:
                stop = max(stop, Fraction(max(each.pts for each in late)))  # no gap before the last picture
                yield from late
                late.clear()


def _timed(packets: Iterator[Packet[Any]]) -> Iterator[_TimedPacket]:
    """Tell the times of packets; the first decode times, which Matroska does not store, from those that follow."""
    waiting: list[Packet[Any]] = []
    for packet in packets:
        if packet.pts is None or packet.is_discard or len(waiting) > _HEAD_PACKETS:
            raise _NotCopiedError
        waiting.append(packet)
        if packet.dts is not None:
            step = max(packet.duration or 0, 1)
            for ahead, one in zip(reversed(range(len(waiting))), waiting, strict=True):
                yield _TimedPacket(one, cast(int, one.pts), packet.dts - ahead * step)
            waiting.clear()


def _sounds(file: Path, film: OutputContainer, start: Fraction, stop: Fraction) -> Iterator[Packet[Any]]:
    """Add a sound track to a film, and yield its packets from `start` on: copied, or as AAC."""
    with opened(file) as (container, video):
        sound = cast(AudioStream, find_sound(container))
        if sound.codec_context.codec.canonical_name in _HEARD:
            copy = film.add_stream_from_template(sound, opaque=True)
            base = cast(Fraction, sound.time_base)
            first = round(start / base)
            for packet in sound_packets(container, video, sound, start=start):
                if packet.pts is not None and first <= packet.pts < stop / base:
                    packet.pts = packet.dts = packet.pts - first
                    packet.stream = copy
                    yield packet
            return
    rate, channels = cast(tuple[int, int], sound_format(file))
    track = SoundTrack(film, rate, channels)
    count = round((stop - start) * rate)
    for block in chain(read_sound(file, start=start, count=count, rate=rate, channels=channels), [None]):
        yield from track.encode(block)
