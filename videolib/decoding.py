"""From a plan to pictures: what is decoded, in which threads, and which of it can be trusted.

There are three ways. Whole groups of pictures, each from a keyframe to the last wanted one, go to decoders of
one thread each, several at once; nothing else uses the cores as well. Few or huge groups are streamed through
one decoder with FFmpeg's own threads. Both give up at the first picture that is not beyond doubt, and the
careful way takes over: it decodes everything in one thread, and tells what was damaged.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, islice, takewhile
from operator import itemgetter
from pathlib import Path
from threading import Event
from typing import Any, TypeVar, cast

import av
import numpy as np
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from .errors import VideoReadError
from .packets import Plan, demux, opened

T = TypeVar("T")

_GROUP_PACKETS = 1000  # a longer group would keep one core busy for many seconds before its first picture
_GROUP_BYTES = 100 << 20  # of the packets and the pictures that a group may hold
_CGROUP = Path("/sys/fs/cgroup")
# The files that hold quota and period, in version 2 and 1.
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))


def available_cores() -> int:
    """Count the cores that this process may use: its affinity, and the quota of its container, rounded up.

    With a quota of 1.75 cores an ingest took 5.6 s with two workers, and 8.8 s with one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in _QUOTAS:
        try:
            quota, period = (int(word) for name in names for word in (_CGROUP / name).read_text().split())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if quota > 0:
            cores = min(cores, -(-quota // period))
    return cores


def frame_threads() -> int:
    """Count the threads for one decoder that has the machine to itself: FFmpeg's choice, in containers too."""
    return min(available_cores() + 1, 16)


class Decoder:
    """One codec context that goes on after errors."""

    def __init__(self, context: VideoCodecContext, *, threads: int) -> None:
        self.context = context
        self.context.thread_count = threads
        self.context.thread_type = cast(Any, "NONE" if threads == 1 else "AUTO")
        self.failure: Exception | None = None
        self.failed_at = -1  # the last packet that was damaged or could not be decoded

    def feed(self, index: int, packet: "Packet[Any]") -> list[VideoFrame]:
        if packet.is_corrupt:
            self.failed_at = index
        try:
            return self.context.decode(packet)
        except av.FFmpegError as error:
            self.failure, self.failed_at = error, index
            return []

    def run(self, packets: Iterable[tuple[int, "Packet[Any]"]]) -> Iterator[VideoFrame]:
        for index, packet in packets:
            yield from self.feed(index, packet)
        yield from self.drain()

    def drain(self) -> list[VideoFrame]:
        """Give out what is still inside, and be ready for a keyframe."""
        try:
            return self.context.decode(None)
        except av.FFmpegError as error:
            self.failure = error
            return []
        finally:
            self.context.flush_buffers()


def to_rgb(frame: VideoFrame, aspect: Fraction) -> np.ndarray:
    """Return the picture as displayed: square pixels, upright; (height, width, 3) uint8."""
    width, height = frame.width, frame.height
    if 1 < aspect <= 4:
        width = round(width * aspect)
    elif Fraction(1, 4) <= aspect < 1:
        height = round(height / aspect)
    image = frame.to_ndarray(format="rgb24", width=width, height=height, threads=1)
    # frame.side_data would make a cycle, and pictures stay in memory until the garbage collector comes
    matrix = cast(Any, SideDataContainer)(frame).get("DISPLAYMATRIX")
    if matrix is not None:
        # x' = a x + c y, y' = b x + d y: https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html
        a, b, _, c, d = (int(value) for value in np.frombuffer(matrix, np.int32)[:5])
        if abs(b) > abs(a):
            image, a, d = image.transpose(1, 0, 2), c, b
        image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(image, dtype=np.uint8)


def first_picture(path: Path) -> VideoFrame:
    """Decode up to the first sound picture."""
    with opened(path) as (container, stream):
        decoder = Decoder(stream.codec_context, threads=1)
        for frame in decoder.run(enumerate(demux(container, stream))):
            if not frame.is_corrupt:
                return frame
    raise VideoReadError(
        f"{path} has no frame that can be decoded; download or export it again"
    ) from decoder.failure


def decode_all(plan: Plan) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (packet, frame) for every picture that is shown and not marked as damaged."""
    with opened(plan.table.path) as (container, stream):
        decoder = Decoder(stream.codec_context, threads=1 if plan.counted else frame_threads())
        for count, frame in enumerate(decoder.run(enumerate(demux(container, stream)))):
            packet = plan.packet_of(frame, count)
            if packet is not None and not frame.is_corrupt:
                yield packet, frame


def decode(
    plan: Plan,
    wanted: list[int],
    convert: Callable[[np.ndarray], T],
    *,
    converted_bytes: int,
    pool: Executor | None,
) -> Iterator[tuple[int, T | None]]:
    """Yield (packet, convert(picture)) for the wanted packets, in order of time; None for a picture that was lost.

    `converted_bytes` says how much memory one converted picture takes. Without a `pool` it makes its own.
    """
    done = 0
    if wanted and not plan.counted:
        groups = _make_groups(plan, wanted)
        if len(groups) < available_cores() or any(group.is_huge(plan, converted_bytes) for group in groups):
            quick = _stream(plan, wanted, convert, careful=False)
        else:
            quick = _decode_groups(plan, groups, convert, pool)
        for packet, converted in quick:
            done += 1
            yield packet, converted
    if done < len(wanted):
        yield from _stream(plan, wanted[done:], convert, careful=True)


@dataclass(frozen=True)
class _Group:
    """The packets [start, stop) of a plan, and those of them whose pictures are wanted, in order of time."""

    start: int
    stop: int
    wanted: list[int]

    def is_huge(self, plan: Plan, converted_bytes: int) -> bool:
        count = self.stop - self.start
        held = plan.table.sizes[self.start : self.stop].sum() + converted_bytes * len(self.wanted)
        is_dense = len(self.wanted) > max(8, count // 4)  # nothing to gain, and much to hold
        return bool(is_dense or count > _GROUP_PACKETS or held > _GROUP_BYTES)


def _make_groups(plan: Plan, wanted: list[int]) -> list[_Group]:
    starts = plan.starts_of(np.array(wanted, dtype=np.int64)).tolist()
    groups = []
    for start, members in groupby(zip(starts, wanted, strict=True), key=itemgetter(0)):
        packets = [packet for _, packet in members]
        stop = min(max(packets) + (2 if plan.in_fields else 1), len(plan.times))
        groups.append(_Group(start, stop, packets))
    return groups


def _find_skipped(plan: Plan, wanted: list[int]) -> np.ndarray:
    """Tell which packets need not be decoded, for nobody wants or needs their pictures; (packets,) bool."""
    skipped = plan.table.unreferenced & plan.shown & (not plan.in_fields)
    skipped[wanted] = False
    return cast(np.ndarray, skipped)


def _decode_groups(
    plan: Plan, groups: list[_Group], convert: Callable[[np.ndarray], T], pool: Executor | None
) -> Iterator[tuple[int, T | None]]:
    """Decode whole groups, several at once; stop before the first with a picture that is not beyond doubt."""
    skipped = _find_skipped(plan, [packet for group in groups for packet in group.wanted])
    idle: list[Decoder] = []
    stopped = Event()

    def decode_group(group: _Group, packets: list[tuple[int, "Packet[Any]"]]) -> dict[int, T] | None:
        if plan.holes[group.start + 1 : group.stop].any():
            return None
        try:
            decoder = idle.pop()
        except IndexError:
            with opened(plan.table.path) as (_, stream):
                decoder = Decoder(stream.codec_context, threads=1)
        missing = {int(plan.times[index]) for index, _ in packets if plan.must_show(index, group.start)}
        wanted = {int(plan.times[index]): index for index in group.wanted}
        converted = {}
        fed = takewhile(lambda _: not stopped.is_set(), packets)
        for frame in decoder.run(fed):
            time = cast(int, frame.pts)
            if time in missing and not frame.is_corrupt:
                missing.remove(time)
                if time in wanted:
                    converted[wanted[time]] = convert(to_rgb(frame, plan.table.aspect))
        idle.append(decoder)
        return None if missing else converted

    with ExitStack() as stack:
        workers = available_cores()
        if pool is None:
            pool = stack.enter_context(ThreadPoolExecutor(workers))
        container, stream = stack.enter_context(opened(plan.table.path))
        pending: deque[tuple[_Group, Future[dict[int, T] | None]]] = deque()
        jobs = (
            (group, pool.submit(decode_group, group, packets))
            for group, packets in _cut(groups, skipped, demux(container, stream))
        )
        try:
            while True:
                pending.extend(islice(jobs, workers + 1 - len(pending)))
                if not pending:
                    return
                group, future = pending[0]
                converted = future.result()
                if converted is None:
                    return
                pending.popleft()
                for packet in group.wanted:
                    yield packet, converted.pop(packet)
        finally:
            stopped.set()
            wait([future for _, future in pending if not future.cancel()])


def _cut(
    groups: list[_Group], skipped: np.ndarray, packets: Iterable["Packet[Any]"]
) -> Iterator[tuple[_Group, list[tuple[int, "Packet[Any]"]]]]:
    """Yield each group with its packets; groups may overlap where pictures are shown before their keyframe."""
    waiting = deque(groups)
    begun: deque[tuple[_Group, list[tuple[int, Packet[Any]]]]] = deque()
    for index, packet in enumerate(packets):
        while waiting and waiting[0].start <= index:
            begun.append((waiting.popleft(), []))
        for group, fed in begun:
            if index < group.stop and not skipped[index]:
                fed.append((index, packet))
        while begun and begun[0][0].stop <= index + 1:
            yield begun.popleft()
        if not (begun or waiting):
            return


class _Screen:
    """Holds the decoder's output against the plan, and gives each wanted frame out once it is beyond doubt.

    A frame is sound if it and every frame decoded before it, from its keyframe on, came out without a complaint:
    damage spreads along the references up to the next keyframe, and error concealment hides it.
    """

    def __init__(self, plan: Plan, wanted: list[int], *, careful: bool) -> None:
        self.plan, self.careful = plan, careful
        self.waiting = deque(wanted)  # packets, in the order of their times
        self.wanted = set(wanted)
        self.held: dict[int, VideoFrame] = {}
        self.seen = bytearray(len(plan.times))  # 1 where no more is asked of a packet
        self.sound = 0  # every needed packet before this one was seen
        self.last: VideoFrame | None = None
        self.latest = -1 << 63
        self.count = 0  # of pictures that came out
        # once a frame of this time is out, all that were decoded before the packet are out or lost
        self.horizon = np.maximum.accumulate(np.where(plan.shown, plan.times, plan.times.min()))

    def take(self, frames: list[VideoFrame], failed_at: int) -> None:
        for frame in frames:
            packet = self.plan.packet_of(frame, self.count)
            self.count += 1
            if packet is None:
                continue
            time = int(self.plan.times[packet])
            for other in self.waiting:
                if self.plan.times[other] >= time:
                    break
                if self.last is not None:
                    self.held.setdefault(other, self.last)
            self.last, self.latest = frame, max(self.latest, time)
            self.seen[packet] = not (frame.is_corrupt or (self.plan.counted and failed_at >= 0))
            if packet in self.wanted:
                self.held[packet] = frame

    def settle(self, fed: int, failed_at: int, *, drained: bool) -> Iterator[tuple[int, VideoFrame | None]]:
        """Yield (packet, frame) in order of time; None stands for a frame that was lost."""
        while self.waiting:
            packet = self.waiting[0]
            if packet > fed or not (drained or self.horizon[packet] <= self.latest):
                return
            start = int(self.plan.starts_of(np.array(packet)))
            self.sound = max(self.sound, start)
            # a packet without a picture and without an error is one that shows nothing, as VP8 has them
            no_errors = self.careful and failed_at < start
            while self.sound <= packet and not (self.plan.holes[self.sound] and self.sound > start):
                if not (self.seen[self.sound] or not self.plan.must_show(self.sound, start) or no_errors):
                    break
                self.sound += 1
            self.waiting.popleft()
            frame = self.held.pop(packet, self.last)
            yield packet, frame if self.sound > packet else None


def _stream(
    plan: Plan, wanted: list[int], convert: Callable[[np.ndarray], T], *, careful: bool
) -> Iterator[tuple[int, T | None]]:
    """Decode in one decoder: all with one thread if careful, else what is needed with FFmpeg's own threads.

    Without care it stops at the first frame that does not come out sound: a keyframe may need what lies before
    it in spite of its name, and FFmpeg's threads blur which packet an error belongs to.
    """
    screen = _Screen(plan, wanted, careful=careful)
    is_fed = np.full(len(plan.times), careful)
    skipped = np.zeros(len(plan.times), dtype=bool)
    if not careful:
        skipped = _find_skipped(plan, wanted)
        screen.seen = bytearray(skipped.tobytes())
        for group in _make_groups(plan, wanted):
            is_fed[group.start : group.stop] = True

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
            yield from screen.settle(fed, decoder.failed_at, drained=idle)
            if not screen.waiting:
                return
        screen.take(decoder.drain(), decoder.failed_at)
        yield from screen.settle(len(plan.times), decoder.failed_at, drained=True)

    with opened(plan.table.path) as (container, stream):
        decoder = Decoder(stream.codec_context, threads=1 if careful else frame_threads())
        for packet, frame in settled(decoder, demux(container, stream)):
            if frame is None and not careful:
                return
            yield packet, None if frame is None else convert(to_rgb(frame, plan.table.aspect))
