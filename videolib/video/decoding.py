"""From a timeline to images: what is decoded, in which threads, and which of it can be trusted.

There are three ways. Whole GOPs, each from a keyframe to the last wanted frame, go to decoders of one thread
each, several at once; nothing else uses the cores as well. Few or huge GOPs are streamed through one decoder
with FFmpeg's own threads. Both give up at the first frame that is not beyond doubt, and the careful way takes
over: it decodes everything in one thread, and tells what was damaged.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, islice, takewhile
from operator import itemgetter
from threading import Event
from typing import Any, Generic, TypeVar, cast

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from videolib.cores import available_cores
from videolib.types import RGBArray
from videolib.video.decoder import Decoder, decoder_for, frame_threads, to_rgb
from videolib.video.demux import demux, opened
from videolib.video.joined import shifted
from videolib.video.timeline import Timeline

T = TypeVar("T")
NumberedPackets = list[tuple[int, "Packet[Any]"]]

_GOP_PACKETS = 1000  # a longer GOP would keep one core busy for many seconds before its first frame
_GOP_BYTES = 100 << 20  # of the packets and the images that a GOP may hold


def decode(
    timeline: Timeline,
    wanted: list[int],
    convert: Callable[[RGBArray], T],
    *,
    converted_bytes: int,
    pool: Executor | None,
) -> Iterator[tuple[int, T | None]]:
    """Yield (packet, convert(image)) for the wanted packets, in order of time; None for a frame that was lost.

    `converted_bytes` says how much memory one converted image takes. Without a `pool` it makes its own.
    """
    done = 0
    if wanted and not timeline.is_untimed:
        gops = _make_gops(timeline, wanted)
        if len(gops) < available_cores() or any(gop.is_huge(timeline, converted_bytes) for gop in gops):
            quick = _stream(timeline, wanted, convert, careful=False)
        else:
            quick = _decode_gops(timeline, gops, convert, pool)
        for packet, converted in quick:
            done += 1
            yield packet, converted
    if done < len(wanted):
        yield from _stream(timeline, wanted[done:], convert, careful=True)


@dataclass(frozen=True)
class _Gop:
    """The packets [start, stop) of a timeline, and those of them whose frames are wanted, in order of time."""

    start: int
    stop: int
    wanted: list[int]

    def is_huge(self, timeline: Timeline, converted_bytes: int) -> bool:
        count = self.stop - self.start
        held = timeline.table.sizes[self.start : self.stop].sum() + converted_bytes * len(self.wanted)
        is_dense = len(self.wanted) > max(8, count // 4)  # nothing to gain, and much to hold
        return bool(is_dense or count > _GOP_PACKETS or held > _GOP_BYTES)


def _make_gops(timeline: Timeline, wanted: list[int]) -> list[_Gop]:
    starts = timeline.starts_of(np.array(wanted, dtype=np.int64)).tolist()
    gops = []
    for start, members in groupby(zip(starts, wanted, strict=True), key=itemgetter(0)):
        packets = [packet for _, packet in members]
        stop = min(max(packets) + (2 if timeline.in_fields else 1), len(timeline.times))
        gops.append(_Gop(start, stop, packets))
    return gops


def _find_skipped(timeline: Timeline, wanted: list[int]) -> np.ndarray:
    """Tell which packets need not be decoded, for nobody wants or needs their frames; (packets,) bool."""
    skipped = timeline.table.unreferenced & timeline.shown & (not timeline.in_fields)
    skipped[wanted] = False
    return cast(np.ndarray, skipped)


class _GopDecoder(Generic[T]):
    """Decodes whole GOPs, each in the thread that asks, with a decoder of one thread that serves the next, too."""

    def __init__(self, timeline: Timeline, convert: Callable[[RGBArray], T]) -> None:
        self.timeline, self.convert = timeline, convert
        self.idle: list[Decoder] = []
        self.stopped = Event()

    def decode(self, gop: _Gop, packets: NumberedPackets) -> dict[int, T] | None:
        """Return what the wanted packets' images were converted to; None if a frame is not beyond doubt."""
        timeline = self.timeline
        if (
            timeline.holes[gop.start + 1 : gop.stop].any()
            or timeline.table.corrupt[gop.start : gop.stop].any()
        ):
            return None
        decoder = self._take_decoder()
        decoder.failed_at = -1
        missing = {int(timeline.times[index]) for index, _ in packets if timeline.must_show(index, gop.start)}
        wanted = {int(timeline.times[index]): index for index in gop.wanted}
        converted = {}
        claimed = int(timeline.times[gop.start]) if gop.start and timeline.tells_keys else None
        fed = takewhile(lambda _: not self.stopped.is_set(), packets)
        for frame in decoder.run(fed):
            time = cast(int, frame.pts)
            if time == claimed and not frame.key_frame:
                return None  # a keyframe by the container's word alone
            if time in missing and not frame.is_corrupt:
                missing.remove(time)
                if time in wanted:
                    converted[wanted[time]] = self.convert(to_rgb(frame, timeline.table.aspect))
        self.idle.append(decoder)
        return None if missing or decoder.failed_at >= 0 else converted

    def _take_decoder(self) -> Decoder:
        try:
            return self.idle.pop()
        except IndexError:
            with opened(self.timeline.table.path) as (_, stream):
                return decoder_for(self.timeline, stream.codec_context, threads=1)


def _decode_gops(
    timeline: Timeline, gops: list[_Gop], convert: Callable[[RGBArray], T], pool: Executor | None
) -> Iterator[tuple[int, T | None]]:
    """Decode whole GOPs, several at once; stop before the first with a frame that is not beyond doubt."""
    skipped = _find_skipped(timeline, [packet for gop in gops for packet in gop.wanted])
    decoder = _GopDecoder(timeline, convert)
    with ExitStack() as stack:
        workers = available_cores()
        if pool is None:
            pool = stack.enter_context(ThreadPoolExecutor(workers))
        container, stream = stack.enter_context(opened(timeline.table.path))
        pending: deque[tuple[_Gop, Future[dict[int, T] | None]]] = deque()
        jobs = (
            (gop, pool.submit(decoder.decode, gop, packets))
            for gop, packets in _cut(gops, skipped, shifted(demux(container, stream), timeline.table))
        )
        try:
            while True:
                pending.extend(islice(jobs, workers + 1 - len(pending)))
                if not pending:
                    return
                gop, future = pending[0]
                converted = future.result()
                if converted is None:
                    return
                pending.popleft()
                for packet in gop.wanted:
                    yield packet, converted.pop(packet)
        finally:
            decoder.stopped.set()
            wait([future for _, future in pending if not future.cancel()])


def _cut(
    gops: list[_Gop], skipped: np.ndarray, packets: Iterable["Packet[Any]"]
) -> Iterator[tuple[_Gop, NumberedPackets]]:
    """Yield each GOP with its packets; GOPs may overlap where frames are shown before their keyframe."""
    waiting = deque(gops)
    begun: deque[tuple[_Gop, NumberedPackets]] = deque()
    for index, packet in enumerate(packets):
        while waiting and waiting[0].start <= index:
            begun.append((waiting.popleft(), []))
        for gop, fed in begun:
            if index < gop.stop and not skipped[index]:
                fed.append((index, packet))
        while begun and begun[0][0].stop <= index + 1:
            yield begun.popleft()
        if not (begun or waiting):
            return


class _Screen:
    """Holds the decoder's output against the timeline, and gives each wanted frame out once it is beyond doubt.

    A frame is sound if it and every frame decoded before it, from its keyframe on, came out without a complaint:
    damage spreads along the references up to the next keyframe, and error concealment hides it.
    """

    def __init__(self, timeline: Timeline, wanted: list[int], *, careful: bool) -> None:
        self.timeline, self.careful = timeline, careful
        self.waiting = deque(wanted)  # packets, in the order of their times
        self.wanted = set(wanted)
        self.held: dict[int, VideoFrame] = {}
        self.seen = bytearray(len(timeline.times))  # 1 where no more is asked of a packet
        self.damaged = bytearray(
            timeline.table.corrupt.tobytes()
        )  # 1 where the demuxer or the decoder complained
        self.sound = 0  # every needed packet before this one was seen
        self.false_starts: set[int] = set()  # keyframes by the container's word, but not by the decoder's
        self.claimed = set(timeline.starts.tolist() if timeline.tells_keys else [])
        self.last: VideoFrame | None = None
        self.latest = -1 << 63
        self.key = 0  # the last keyframe that came out
        self.starts: dict[int, int] = {}  # of wanted packets, where they have no timestamps
        self.failed_at = -1
        self.count = 0  # of frames that came out
        # once a frame of this time is out, all that were decoded before the packet are out or lost
        self.horizon = np.maximum.accumulate(np.where(timeline.shown, timeline.times, timeline.times.min()))

    def take(self, frames: list[VideoFrame], failed_at: int) -> None:
        """Take the frames of a packet; `failed_at` is the last packet that was damaged or could not be decoded."""
        if failed_at > self.failed_at:
            self.failed_at = failed_at
            # threads tell of a failure late, and without timestamps a lost frame moves all others
            place, stop = (failed_at, failed_at + 1) if self.careful else (self.sound, len(self.damaged))
            if self.timeline.is_untimed:
                place, stop = self.count, len(self.damaged)
            self.damaged[place:stop] = b"\1" * max(0, stop - place)
        for frame in frames:
            packet = self.timeline.packet_of(frame, self.count)
            self.count += 1
            if packet is None:
                continue
            time = int(self.timeline.times[packet])
            if packet in self.claimed and not frame.key_frame:
                self.false_starts.add(packet)
            for other in self.waiting:
                if self.timeline.times[other] >= time:
                    break
                if self.last is not None:
                    self.held.setdefault(other, self.last)
            self.last, self.latest = frame, max(self.latest, time)
            self.seen[packet] = True
            self.damaged[packet] |= frame.is_corrupt
            if frame.key_frame:
                self.key = packet
            if packet in self.wanted:
                self.held[packet] = frame
                self.starts[packet] = self.key

    def settle(self, fed: int, *, drained: bool) -> Iterator[tuple[int, VideoFrame | None]]:
        """Yield (packet, frame) in order of time; None stands for a frame that was lost."""
        while self.waiting:
            packet = self.waiting[0]
            if packet > fed or not (drained or self.horizon[packet] <= self.latest):
                return
            start = self.starts.pop(packet, 0)
            if not self.timeline.is_untimed:
                start = self._start_of(packet)
            self.sound = max(self.sound, start)
            # careful, a packet without a frame and without a complaint is one that shows nothing, as VP8 has them
            may_hide = self.careful and not (self.timeline.counts_packets and drained)
            may_hide &= not self.timeline.holes[start + 1 : min(fed + 1, self._stop_of(packet))].any()
            while self.sound <= packet and not (self.timeline.holes[self.sound] and self.sound > start):
                must_show = not may_hide and self.timeline.must_show(self.sound, start)
                if self.damaged[self.sound] or not (self.seen[self.sound] or not must_show):
                    break
                self.sound += 1
            self.waiting.popleft()
            frame = self.held.pop(packet, self.last)
            yield packet, frame if self.sound > packet else None

    def _stop_of(self, packet: int) -> int:
        """Return the start after this packet."""
        starts = self.timeline.starts
        place = int(np.searchsorted(starts, packet, "right"))
        return int(starts[place]) if place < len(starts) else len(self.seen)

    def _start_of(self, packet: int) -> int:
        starts = self.timeline.starts
        place = int(np.searchsorted(starts, self.timeline.starts_of(np.array(packet))))
        while place and int(starts[place]) in self.false_starts:
            place -= 1
        return int(starts[place])


def _stream(
    timeline: Timeline, wanted: list[int], convert: Callable[[RGBArray], T], *, careful: bool
) -> Iterator[tuple[int, T | None]]:
    """Decode in one decoder: all with one thread if careful, else what is needed with FFmpeg's own threads.

    Without care it stops at the first frame that does not come out sound: a keyframe may need what lies before
    it in spite of its name, and FFmpeg's threads blur which packet an error belongs to.
    """
    screen = _Screen(timeline, wanted, careful=careful)
    is_fed = np.full(len(timeline.times), careful)
    skipped = np.zeros(len(timeline.times), dtype=bool)
    if not careful:
        skipped = _find_skipped(timeline, wanted)
        screen.seen = bytearray(skipped.tobytes())
        for gop in _make_gops(timeline, wanted):
            is_fed[gop.start : gop.stop] = True

    def settled(
        decoder: Decoder, packets: Iterable["Packet[Any]"]
    ) -> Iterator[tuple[int, VideoFrame | None]]:
        fed, idle = -1, True
        for index, packet in enumerate(packets):
            if is_fed[index]:
                fed, idle = index, False
                if not skipped[index]:
                    screen.take(decoder.feed(index, packet), decoder.failed_at)
            elif not idle:
                idle = True
                screen.take(decoder.drain(), decoder.failed_at)
            else:
                continue
            yield from screen.settle(fed, drained=idle)
            if not screen.waiting:
                return
        screen.take(decoder.drain(), decoder.failed_at)
        yield from screen.settle(len(timeline.times), drained=True)

    with opened(timeline.table.path) as (container, stream):
        decoder = decoder_for(timeline, stream.codec_context, threads=1 if careful else frame_threads())
        for packet, frame in settled(decoder, shifted(demux(container, stream), timeline.table)):
            if frame is None and not careful:
                return
            yield packet, None if frame is None else convert(to_rgb(frame, timeline.table.aspect))
