"""Which frames are taken from a video: at even intervals, its keyframes, or one of each shot."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import get_args

import numpy as np

from videolib.errors import VideoReadError
from videolib.types import Sampling
from videolib.video.decoder import decode_all
from videolib.video.shots import find_cuts
from videolib.video.timeline import Timeline


@dataclass(frozen=True)
class SamplePlan:
    """The samples of a video, known before one is decoded; its length is their number."""

    timeline: Timeline
    by_packet: dict[
        int, list[tuple[int, float]]
    ]  # frame_number and timestamp_seconds of each packet's samples
    count: int  # with those that cannot be read
    is_open: bool  # the file was cut short, and nobody knows how many samples that took

    def __len__(self) -> int:
        return self.count

    def without(self, frame_numbers: Iterable[int]) -> SamplePlan:
        """Leave these samples out."""
        done = set(frame_numbers)
        rest = {packet: [one for one in its if one[0] not in done] for packet, its in self.by_packet.items()}
        by_packet = {packet: its for packet, its in rest.items() if its}
        return replace(self, by_packet=by_packet, count=max(0, self.count - len(done)))

    def middle(self, count: int) -> SamplePlan:
        """Keep about this many samples, in a row from the middle of the video."""
        packets = list(self.by_packet)
        first = max(0, (len(packets) - count) // 2)
        by_packet = {packet: self.by_packet[packet] for packet in packets[first : first + count]}
        return replace(self, by_packet=by_packet, count=sum(map(len, by_packet.values())), is_open=False)


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
        return _even_samples(
            timeline, step, range(math.ceil(_exact(start_seconds) / step), math.ceil(stop / step))
        )
    chosen = (
        _keyframes(timeline, every_seconds) if sampling == "keyframes" else _shots(timeline, every_seconds)
    )
    stop_seconds = math.inf if end_seconds is None else end_seconds
    by_packet = {}
    for number, packet in enumerate(chosen, start=1):
        seconds = float((int(timeline.times[packet]) - timeline.start) * timeline.table.time_base)
        if start_seconds <= seconds < stop_seconds:
            by_packet[packet] = [(number, seconds)]
    is_open = timeline.read_end < timeline.end and timeline.readable_seconds < stop_seconds
    return SamplePlan(timeline, by_packet, len(by_packet), is_open)


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
    """Find the frame on screen at each selected sample, is_untimed from 0."""
    pace = timeline.table.time_base / step
    by_packet = {}
    for packet, begin, end in zip(*(column.tolist() for column in timeline.displayed()), strict=True):
        first = math.ceil((begin - timeline.start) * pace)
        stop = math.ceil((min(end, timeline.read_end) - timeline.start) * pace)
        numbers = range(max(first, selected.start), min(stop, selected.stop))
        if numbers:
            by_packet[packet] = [(number + 1, float(number * step)) for number in numbers]
    return SamplePlan(timeline, by_packet, len(selected), is_open=False)


def _keyframes(timeline: Timeline, every_seconds: float) -> list[int]:
    """Choose the packets of keyframes that lie far enough apart, in order of time."""
    is_key = timeline.table.keyframe
    if timeline.is_untimed:
        # which of these frames comes out n-th, the decoder alone knows
        is_key = np.zeros(len(timeline.times), dtype=bool)
        is_key[[packet for packet, frame in decode_all(timeline) if frame.key_frame]] = True
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
