"""The sound of a part of a video, laid out in time: blocks of samples without a gap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from videolib.video.demux import PacketTable, demux, opened

_SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # of AAC, up to what is heard
_JITTER_SECONDS = Fraction(1, 50)  # Matroska stores milliseconds, FLV too; more is a gap
_BEFORE_SECONDS = 2  # sound may stand so much earlier in the file than the picture of its time
_WARM_SECONDS = Fraction(1, 2)  # some codecs need what comes before
_BEGINNING = -(1 << 20)  # seconds


def find_sound(container: InputContainer) -> AudioStream | None:
    """Find the default sound track, else the first, among those that can be decoded."""
    streams = [stream for stream in container.streams.audio if cast(Any, stream.codec_context) is not None]
    return max(streams, key=lambda s: bool(s.disposition & Disposition.default), default=None)


def sound_format(path: Path) -> tuple[int, int] | None:
    """Tell the samples a second and the channels, 1 or 2, of AAC as good as a video's sound; None without sound."""
    with opened(path) as (container, _):
        stream = find_sound(container)
        if stream is None or not stream.codec_context.sample_rate:
            return None
        rate = stream.codec_context.sample_rate
        return rate if rate in _SAMPLE_RATES else 48_000, min(stream.codec_context.channels, 2)


def sound_packets(
    container: InputContainer,
    video: VideoStream,
    sound: AudioStream,
    *,
    start: Fraction,
    table: PacketTable | None = None,
) -> Iterator[Packet[Any]]:
    """Yield the packets of a sound track from about `start` on, in seconds of the container's clock.

    Those of a file that holds several recordings, as its table of packets tells, are laid in a row as the pictures are.
    """
    if table is not None and table.shifts is not None:
        yield from _in_a_row(container, video, sound, table)
        return
    packets: Iterator[Packet[Any]] = iter(())
    for seconds in (start - _BEFORE_SECONDS, start - 15 * _BEFORE_SECONDS, Fraction(_BEGINNING)):
        with suppress(av.FFmpegError):  # what cannot be sought is read from its beginning
            container.seek(int(seconds / cast(Fraction, video.time_base)), stream=video)
        packets = demux(container, sound)
        first = next(packets, None)
        if first is not None:
            packets = chain([first], packets)
            if first.pts is not None and first.pts * first.time_base <= start:
                break
    yield from packets


def _in_a_row(
    container: InputContainer, video: VideoStream, sound: AudioStream, table: PacketTable
) -> Iterator[Packet[Any]]:
    shifts, count, last = cast(np.ndarray, table.shifts).tolist(), 0, Fraction(0)
    for packet in demux(container, video, sound):
        if packet.stream_index == video.index:
            count += 1
        elif packet.pts is not None:
            # the first sound of a recording may stand before its first picture
            time = packet.pts * packet.time_base
            near = shifts[max(count - 1, 0) : count + 1]
            moved = min(near, key=lambda shift: abs(time + shift * table.time_base - last))
            last = time + moved * table.time_base
            packet.pts = round(last / packet.time_base)
            packet.dts = packet.pts
            yield packet


def read_sound(
    path: Path, *, start: Fraction, count: int, rate: int, channels: int, table: PacketTable | None = None
) -> Iterator[np.ndarray]:
    """Yield `count` samples of a video's sound from `start` on, in seconds of the container's clock.

    They come as (channels, n) float32, one after the other. Where there is no sound, or it is damaged, there is
    silence.
    """
    given = 0
    with opened(path) as (container, video):
        sound = find_sound(container)
        pieces: Iterator[AudioFrame] = iter(())
        if sound is not None:
            packets = sound_packets(container, video, sound, start=start, table=table)
            pieces = _decode(sound, packets, start - _WARM_SECONDS, rate, channels)
        for piece in pieces:
            first = given
            if piece.pts is not None:
                first = round((piece.pts * cast(Fraction, piece.time_base) - start) * rate)
            if given and abs(first - given) <= _JITTER_SECONDS * rate:
                first = given
            yield from _silence(channels, min(first, count) - given, rate)
            given = max(given, min(first, count))
            samples = piece.to_ndarray()[:, given - first :][:, : count - given]
            if samples.shape[1]:
                yield samples
            given += samples.shape[1]
            if given == count:
                return
    yield from _silence(channels, count - given, rate)


def _silence(channels: int, count: int, rate: int) -> Iterator[np.ndarray]:
    for place in range(0, count, rate):
        yield np.zeros((channels, min(rate, count - place)), dtype=np.float32)


def _decode(
    sound: AudioStream, packets: Iterator[Packet[Any]], start: Fraction, rate: int, channels: int
) -> Iterator[AudioFrame]:
    """Decode what does not end before `start`; in planar float32 of this rate and so many channels."""
    layout = ("mono", "stereo")[channels - 1]
    kind, resampler = None, AudioResampler("fltp", layout, rate)
    for packet in chain(packets, [None]):
        if packet is not None and packet.pts is not None and packet.pts * packet.time_base < start:
            continue
        try:
            frames = sound.codec_context.decode(packet)
        except av.FFmpegError:
            continue
        for frame in frames:
            if kind not in (None, (frame.format.name, frame.layout.name, frame.sample_rate)):
                yield from resampler.resample(None)
                resampler = AudioResampler("fltp", layout, rate)
            kind = frame.format.name, frame.layout.name, frame.sample_rate
            yield from resampler.resample(frame)
    if kind is not None:
        yield from resampler.resample(None)
