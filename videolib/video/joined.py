"""Files that hold several recordings in a row, each with a clock of its own: they are laid one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from av.packet import Packet

from videolib.errors import VideoReadError
from videolib.video.demux import PacketTable
from videolib.video.unreadable import walk_boxes

_RUN = 8  # packets before and after that tell a new clock from a few damaged times
_SELF_CONTAINED = ("mpegts", "mpeg")  # each part brings its own codec headers
_HALF_TURN = 1 << 32  # of a 33-bit clock; FFmpeg takes one that begins anew for one that has gone round


def lay_in_a_row(table: PacketTable) -> PacketTable:
    """Move each recording after the one before it; those whose codec headers FFmpeg does not read are refused.

    What comes before the first keyframe of a later recording is left out, for it needs what the file lacks.
    """
    restarts = _find_restarts(table)
    if restarts and table.format_name not in _SELF_CONTAINED:
        raise VideoReadError(
            f"{table.path} holds several videos in a row, of which only the first can be read; join the videos by "
            "ffmpeg's concat demuxer instead"
        )
    if not restarts:
        return table
    times = np.array([o if t is None else t for t, o in zip(table.times, table.order, strict=True)])
    shifts, discarded = np.zeros(len(times), dtype=np.int64), table.discarded.copy()
    end = np.max(times[: restarts[0]] + table.lengths[: restarts[0]])
    for start, stop in zip(restarts, [*restarts[1:], len(times)], strict=True):
        key = start + int(np.argmax(table.keyframe[start:stop]))
        discarded[start:stop] |= times[start:stop] < times[key]
        discarded[start:key] = True
        shifts[start:stop] = end - times[start:stop].min()
        end = np.max((times + shifts + table.lengths)[start:stop])
    return replace(
        table,
        times=[None if t is None else t + s for t, s in zip(table.times, shifts.tolist(), strict=True)],
        order=table.order + shifts,
        discarded=discarded,
        shifts=shifts,
    )


def shifted(packets: Iterator[Packet[Any]], table: PacketTable) -> Iterator[Packet[Any]]:
    """Give a video's packets the times of its table."""
    return packets if table.shifts is None else _shift(packets, table.shifts.tolist())


def _shift(packets: Iterator[Packet[Any]], shifts: list[int]) -> Iterator[Packet[Any]]:
    for packet, shift in zip(packets, shifts, strict=False):
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift
        yield packet


def _find_restarts(table: PacketTable) -> list[int]:
    """Find the packets from which on the decode times, which never go back, are lower than before."""
    order = table.order
    if len(order) < 2 * _RUN or table.times.count(None) > len(order) // 2:
        return []
    runs = np.lib.stride_tricks.sliding_window_view(order, _RUN)  # (packets - 7, 8)
    before, after = runs[:-_RUN], runs[_RUN:]
    restarts = (_RUN + np.flatnonzero(before.min(axis=1) > after.max(axis=1))).tolist()
    if table.format_name in _SELF_CONTAINED:
        turns = after.min(axis=1) - before.max(axis=1) > _HALF_TURN
        return sorted([*restarts, *(_RUN + np.flatnonzero(turns)).tolist()])
    if table.format_name == "mov":  # an edit list may go back, too
        movies = sum(name == b"moov" for name, _, _ in walk_boxes(table.path)) if restarts else 0
        return restarts if movies > 1 else []
    # a Matroska cluster with a damaged time goes, and the next one returns
    steps, slack = np.diff(order), _RUN * table.frame_length
    return [one for one in restarts if not np.any(np.abs(steps + steps[one - 1]) <= slack)]
