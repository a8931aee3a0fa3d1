"""Which frames are taken from a video: at even intervals, its keyframes, or one of each shot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from typing import get_args

import numpy as np

from videolib.errors import VideoReadError
from videolib.types import Sampling
from videolib.video.decoder import decode_all
from videolib.video.shots import find_cuts
from videolib.video.timeline import Timeline
from videolib.video.wholeness import tells_its_end

_FEW = 12  # frames that are decoded to see whether all are keyframes, as a file says


@dataclass(frozen=True)
class SamplePlan:
    """The samples of a video, known before one is decoded; its length is their number."""

    timeline: Timeline
    by_packet: dict[int, range]  # frame_numbers of each packet's samples
    count: int  # with those that cannot be read
    step: Fraction | None = None  # seconds between even samples; others lie at their frame's own time
    done: frozenset[int] = frozenset()  # frame_numbers that are left out
    doubt: str = ""  # what nobody knows of further samples

    def __len__(self) -> int:
        return self.count

    def samples_of(self, packet: int) -> Iterator[tuple[int, float]]:
        """Yield frame_number and timestamp_seconds of each sample that shows this packet's frame."""
        for number in self.by_packet[packet]:
            if number not in self.done:
                yield (
                    number,
                    _seconds(self.timeline, packet) if self.step is None else float((number - 1) * self.step),
                )

    def without(self, frame_numbers: Iterable[int]) -> SamplePlan:
        """Leave these samples out."""
        left_out = set(frame_numbers)
        done = self.done | left_out
        by_packet = {
            packet: numbers
            for packet, numbers in self.by_packet.items()
            if not (numbers and all(number in done for number in numbers))
        }
        return replace(self, by_packet=by_packet, count=max(0, self.count - len(left_out)), done=done)

    def middle(self, count: int) -> SamplePlan:
        """Keep about this many samples, in a row from the middle of the video."""
        packets = list(self.by_packet)
        first = max(0, (len(packets) - count) // 2)
        by_packet = {packet: self.by_packet[packet][:count] for packet in packets[first : first + count]}
        return replace(self, by_packet=by_packet, count=sum(map(len, by_packet.values())), doubt="")


def plan_samples(
    timeline: Timeline,
    *,
    every_seconds: float = 1.0,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    sampling: Sampling = "interval",
) -> SamplePlan:
    """Find the samples that `extract_frames` would give; with "shots" it decodes every frame.

    Parameters and errors are those of `extract_frames`.
    """
    _check(every_seconds, start_seconds, end_seconds, sampling)
    if sampling == "interval":
        step = _exact(every_seconds)
        stop = timeline.duration if end_seconds is None else min(timeline.duration, _exact(end_seconds))
        selected = range(math.ceil(_exact(start_seconds) / step), math.ceil(stop / step))
        doubt = _cut_short(timeline) if stop == timeline.duration == timeline.readable else ""
        return _with_end(replace(_even_samples(timeline, step, selected), doubt=doubt), float(stop))
    chosen = (
        _keyframes(timeline, every_seconds) if sampling == "keyframes" else _shots(timeline, every_seconds)
    )
    stop_seconds = math.inf if end_seconds is None else end_seconds
    by_packet = {
        packet: range(number, number + 1)
        for number, packet in enumerate(chosen, start=1)
        if start_seconds <= _seconds(timeline, packet) < stop_seconds
    }
    doubt = _cut_short(timeline) if timeline.readable < stop_seconds else ""
    doubt = doubt or _damaged(timeline, start_seconds, stop_seconds)
    return _with_end(SamplePlan(timeline, by_packet, len(by_packet), doubt=doubt), stop_seconds)


def _with_end(plan: SamplePlan, stop_seconds: float) -> SamplePlan:
    """Have the last picture decoded, too, without a sample: where no container tells its end, a torn one is all."""
    timeline = plan.timeline
    if stop_seconds < timeline.duration or tells_its_end(timeline.table.format_name):
        return plan
    last = int(timeline.displayed()[0][-1])
    return replace(plan, by_packet=plan.by_packet | {last: plan.by_packet.get(last, range(0))})


def _seconds(timeline: Timeline, packet: int) -> float:
    return float((int(timeline.times[packet]) - timeline.start) * timeline.table.time_base)


def _cut_short(timeline: Timeline) -> str:
    """Say that the file ends too early, if it does."""
    if not (timeline.table.is_cut or timeline.readable < timeline.duration):
        return ""
    whole = f" of {float(timeline.duration):.1f}" if timeline.readable < timeline.duration else ""
    return (
        f"was cut short after {float(timeline.readable):.1f}{whole} seconds; what came then cannot be sampled"
    )


def _damaged(timeline: Timeline, start_seconds: float, stop_seconds: float) -> str:
    """Say that packets are missing or damaged in a part of the file, if it is so: keyframes may be among them."""
    places = np.flatnonzero(timeline.holes | timeline.table.corrupt)
    if any(start_seconds <= _seconds(timeline, place) <= stop_seconds for place in places.tolist()):
        return "is damaged; keyframes or shots may be missing where it is"
    return ""


def _check(every_seconds: float, start_seconds: float, end_seconds: float | None, sampling: str) -> None:
    if not (math.isfinite(every_seconds) and every_seconds > 0):
        raise ValueError(
            f"every_seconds must be positive and finite, got {every_seconds}; pass 1.0 for one frame a second"
        )
    if not (math.isfinite(start_seconds) and start_seconds >= 0):
        raise ValueError(
            f"start_seconds must be finite and not negative, got {start_seconds}; pass 0 for the beginning"
        )
    if end_seconds is not None and not (math.isfinite(end_seconds) and end_seconds > start_seconds):
        raise ValueError(
            f"end_seconds must be finite and greater than start_seconds={start_seconds}, got {end_seconds}; "
            "pass None for the end of the video"
        )
    if sampling not in get_args(Sampling):
        raise ValueError(
            f"sampling must be one of {', '.join(get_args(Sampling))}, got {sampling!r}; pick one"
        )


def _even_samples(timeline: Timeline, step: Fraction, selected: range) -> SamplePlan:
    """Find the frame on screen at each selected sample, counted from 0."""
    pace = timeline.table.time_base / step
    by_packet = {}
    for packet, begin, end in zip(*(column.tolist() for column in timeline.displayed()), strict=True):
        first = math.ceil((begin - timeline.start) * pace)
        if end - begin > timeline.longest:
            end = begin + Fraction(timeline.longest)
        stop = math.ceil((min(end, timeline.read_end) - timeline.start) * pace)
        numbers = range(max(first, selected.start), min(stop, selected.stop))
        if numbers:
            by_packet[packet] = range(numbers.start + 1, numbers.stop + 1)
    return SamplePlan(timeline, by_packet, len(selected), step)


def _keyframes(timeline: Timeline, every_seconds: float) -> list[int]:
    """Choose the packets of keyframes that lie far enough apart, in order of time."""
    is_key = timeline.table.keyframe
    few = islice(decode_all(timeline), _FEW) if is_key.all() else ()
    # which of untimed frames comes out n-th, the decoder alone knows; and some files call every frame a keyframe
    if timeline.is_untimed or not all(frame.key_frame for _, frame in few):
        is_key = np.zeros(len(timeline.times), dtype=bool)
        is_key[[packet for packet, frame in decode_all(timeline) if frame.key_frame]] = True
        is_key[0] |= not is_key.any()
    chosen: list[int] = []
    next_time = Fraction(timeline.start)
    packets, begins, ends = timeline.displayed()
    for packet in packets[is_key[packets] & (begins < ends) & (begins < timeline.read_end)].tolist():
        if timeline.times[packet] >= next_time:
            chosen.append(packet)
            next_time = int(timeline.times[packet]) + _exact(every_seconds) / timeline.table.time_base
    if not chosen:
        raise VideoReadError(f'{timeline.table.path} shows none of its keyframes; pass sampling="interval"')
    return chosen


def _shots(timeline: Timeline, every_seconds: float) -> list[int]:
    """Choose the packet on screen in the middle of each shot, in order of time."""
    edges = [
        timeline.start,
        *find_cuts(timeline, shortest_seconds=every_seconds),
        min(timeline.end, timeline.read_end),
    ]
    middles = [(begin + end) // 2 for begin, end in pairwise(edges)]
    packets, begins, _ = timeline.displayed()
    return [int(packet) for packet in packets[np.searchsorted(begins, middles, "right") - 1]]


def _exact(seconds: float) -> Fraction:
    """Return the simple fraction that a float stands for, else the float's own value."""
    simple = Fraction(seconds).limit_denominator(1_000_000)
    return simple if float(simple) == seconds else Fraction(seconds)
