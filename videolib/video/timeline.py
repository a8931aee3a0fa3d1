"""When each packet's frame is on screen, and from which keyframe on it can be decoded: known before one is."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import cast

import numpy as np
from av.video.frame import VideoFrame

from videolib.errors import VideoReadError
from videolib.video.demux import UNTIMED_FORMATS, PacketTable
from videolib.video.gaps import find_missing
from videolib.video.numbering import find_incomplete

_HEADER_BYTES = 100  # what may lie between two packets in Matroska and AVI: their own headers
_REORDER_PACKETS = 32  # no frame is shown after one that is decoded this many packets later
_MOVED_SHARE = 0.1  # more packets that go back in time are no damage, but a recording that begins anew
_HOLD_SECONDS = 10  # a frame that stays no longer is never doubted, ...
_SHORT_SECONDS, _BYTES_PER_SECOND = (
    3600,
    100,
)  # ... nor a file that is no longer, or has so many bytes for its length


@dataclass(frozen=True)
class Timeline:
    """The packets laid out in time; times are integers in units of the table's time_base."""

    table: PacketTable
    times: np.ndarray  # (packets,) int64, presentation
    shown: np.ndarray  # (packets,) bool, False for edit-list pre-roll and before the first frame
    starts: np.ndarray  # (starts,) int64, packet 0 and the keyframes to begin at, ascending in time too
    holes: np.ndarray  # (packets,) bool, True where packets before this one are missing from the file
    is_untimed: bool  # no presentation timestamps: the n-th picture out of the decoder has the n-th time
    error_checks: str  # of the decoder, beyond those that it always makes
    in_fields: bool  # a frame may take two packets, one for each field
    tells_keys: bool  # the decoder says of a frame whether it is a keyframe
    width: int  # as displayed, of the first frame
    height: int
    start: int  # of the first shown frame
    longest: float  # no frame is on screen for longer, by what the file says of its length
    read_end: int  # what is on screen is known before this time
    end: int  # when the last frame goes, by the file's own word where the file was cut

    @property
    def duration(self) -> Fraction:
        return (self.end - self.start) * self.table.time_base

    @property
    def readable(self) -> Fraction:
        return (self.read_end - self.start) * self.table.time_base

    @property
    def image_bytes(self) -> int:
        return self.width * self.height * 3

    @property
    def frames_per_second(self) -> float:
        last = np.flatnonzero(self.shown)[np.argmax(self.times[self.shown])]
        seconds = (self.times[last] + self.table.lengths[last] - self.start) * self.table.time_base
        return float(self.shown.sum() / seconds)

    @property
    def counts_packets(self) -> bool:
        """Tell whether nothing but their number gives the frames their times: one that is lost moves all others."""
        return self.is_untimed and not self.in_fields and self.table.codec in ("h264", "hevc", "mjpeg")

    def displayed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the shown packets in order of time, and when each comes on screen and goes; 3 times (shown,)."""
        packets = np.flatnonzero(self.shown)
        packets = packets[np.argsort(self.times[packets], kind="stable")]
        begins = self.times[packets]
        ends = np.append(begins[1:], self.end)
        if self.holes.any():
            # where packets are missing, a frame is known to be on screen for its own length only
            own = self.table.lengths[packets]
            ends = np.where(ends - begins > 1.5 * own, begins + own, ends)
        return packets, begins, ends

    def starts_of(self, packets: np.ndarray) -> np.ndarray:
        """Tell from which packet on each of `packets` can be decoded; (n,) int64.

        The pictures that follow a keyframe in the file but are shown before it, as an open GOP has them, need
        the keyframe before.
        """
        places = np.searchsorted(self.times[self.starts[1:]], self.times[packets], "right")
        return cast(np.ndarray, self.starts[places])

    def must_show(self, packet: int, start: int) -> bool:
        """Tell whether decoding from `start` on gives this packet's picture, if all is sound."""
        return bool(self.shown[packet] and (start == 0 or self.times[packet] >= self.times[start]))

    def packet_of(self, frame: VideoFrame, count: int) -> int | None:
        """Find the packet of a frame that came out of the decoder after `count` others; None if it is not shown."""
        if self.is_untimed:
            return count if count < len(self.times) else None
        return self._packet_at.get(cast(int, frame.pts))

    @cached_property
    def _packet_at(self) -> dict[int, int]:
        return {int(self.times[packet]): packet for packet in np.flatnonzero(self.shown).tolist()}


def lay_out(table: PacketTable, first: VideoFrame, *, width: int, height: int, error_checks: str) -> Timeline:
    """Lay the packets out in time; `first` is the first frame that the decoder gives, and displayed so large."""
    # raw streams, too, store no presentation timestamps: what stands there is guessed from the order
    is_guessed = table.format_name in UNTIMED_FORMATS and table.reorders
    is_guessed |= table.format_name == "mpegvideo" and table.codec == "mpeg1video"
    is_untimed = is_guessed or table.times.count(None) > len(table.times) // 2
    times, shown, starts, holes = _place_untimed(table) if is_untimed else _place(table, first)
    if not shown.any():
        raise VideoReadError(f"{table.path} shows no frame: its edit list cuts all away; export it again")
    last = int(np.flatnonzero(shown)[np.argmax(times[shown])])
    start = int(times[shown].min())
    longest = _longest_hold(table, np.diff(np.sort(times[shown]), append=times[last] + table.lengths[last]))
    end = int(times[last]) + math.ceil(min(int(table.lengths[last]), longest))
    if table.is_cut and not is_untimed:
        # frames after the cut may be due before the last that are there, but never before their decode time
        end = max(start + 1, min(end, int(table.order[-1]) + 1))
    read_end = end
    if holes[0]:
        # both formats begin at 0, FLV by decode time
        start = min(start, int(times[0] - table.order[0]) if table.format_name == "flv" else 0)
    # one flipped bit of a header declares any length: it needs another sign
    declared = table.declared if holes.any() or not table.is_whole else 0
    if declared > end - start:
        read_end = int(times[max(0, len(times) - 17)] if is_untimed else table.order[-1] + 1)
        if table.format_name == "avi" and holes.any():
            read_end = int(times[np.argmax(holes)])  # AVI times count the packets: wrong from here on
        end = start + declared
    return Timeline(
        table=table,
        times=times,
        shown=shown,
        starts=starts,
        holes=holes,
        is_untimed=is_untimed,
        error_checks=error_checks,
        tells_keys=first.key_frame,
        in_fields=table.codec == "h264" and bool(first.interlaced_frame),
        width=width,
        height=height,
        start=start,
        longest=longest,
        read_end=read_end,
        end=end,
    )


def _longest_hold(table: PacketTable, holds: np.ndarray) -> float:
    """Return how long a frame may stay on screen, that all fit into the length that the file claims and has bytes for.

    A damaged time stamp else makes a still of days. `holds` are the times on screen by the time stamps; (shown,).
    """
    second = 1 / table.time_base
    holds = np.sort(holds)
    seconds = max(_SHORT_SECONDS, table.path.stat().st_size / _BYTES_PER_SECOND)
    whole = int(seconds * second)
    if table.claimed:
        whole = min(whole, table.claimed)
    if holds[-1] <= _HOLD_SECONDS * second or int(holds.sum()) <= 1.01 * whole + second:
        return float(holds[-1])
    levels = (whole - (np.cumsum(holds) - holds)) / np.arange(len(holds), 0, -1)
    level = float(
        levels[np.argmax(levels <= holds)]
    )  # what each of the longest gets of what the shorter leave
    usual = 1.5 * float(np.median(holds))
    return max(level, usual if usual <= _HOLD_SECONDS * second else 0)


def _place(table: PacketTable, first: VideoFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return times, shown, starts and holes of a `Timeline`, by the presentation timestamps."""
    known = np.array([t is not None for t in table.times])
    times = np.where(known, np.array([t or 0 for t in table.times], dtype=np.int64), table.order)
    moved = np.zeros(len(times), dtype=bool)
    if len(times) > _REORDER_PACKETS:
        # damage moves a few packets, or those of a Matroska cluster, to a later time
        later = np.minimum.accumulate(times[::-1])[::-1][_REORDER_PACKETS:]
        least = 0 if table.format_name == "matroska" else int(_HOLD_SECONDS / table.time_base)
        moved[: len(later)] = times[: len(later)] > later + least
        if table.format_name == "matroska" or moved.mean() < _MOVED_SHARE:
            known &= ~moved
            times[moved] = later[moved[: len(later)]]
    shown = known & ~table.discarded
    begin, given = _find_first(table, times, first)
    shown[:begin] = False
    shown &= times >= given
    # nothing up to such a keyframe is shown after it
    can_start = table.keyframe & known
    can_start[1:] &= np.maximum.accumulate(times)[:-1] < times[1:]
    if table.keyframe.all() and not first.key_frame:
        can_start[:] = False  # neither the file nor the decoder tells keyframes
    can_start[0] = True
    holes = _find_holes(table, times) | (~known & (moved | (table.format_name == "matroska")))
    return times, shown, np.flatnonzero(can_start), holes


def _find_first(table: PacketTable, times: np.ndarray, first: VideoFrame) -> tuple[int, int]:
    """Return the packet and the time that the pictures begin with.

    A recording may begin with frames whose references it does not hold: they were never on screen. Some
    decoders make up what is missing, so that of those before the first keyframe only keyframes are trusted;
    that of H.264 gives none until an intra refresh is through. Another one that comes late tells of damage.
    """
    key = int(np.argmax(table.keyframe))
    place = int(np.argmax(times == first.pts))
    is_late = times[place] > times[key]
    if times[place] != first.pts or (is_late and (first.key_frame or table.codec != "h264")):
        return key, int(times[key])
    is_trusted = is_late or place >= key or first.key_frame
    return (min(key, place), int(times[place])) if is_trusted else (key, int(times[key]))


def _place_untimed(table: PacketTable) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the same where no frame has a timestamp: the n-th to come out has the n-th time."""
    times = np.sort(table.order) if table.has_order else np.cumsum(table.lengths) - table.lengths
    return times, ~table.discarded, np.zeros(1, dtype=np.int64), _find_holes(table, times)


def _find_holes(table: PacketTable, times: np.ndarray) -> np.ndarray:
    """Tell before which packets others are missing, lost to damage before the decoder saw them; (packets,) bool.

    A gap in time alone may be meant, so a second sign is asked for: bytes before the packet that are no sound
    part of the file, a packet that the demuxer marks as corrupt, or a number that the codec's own numbering of
    pictures leaves out. The index of an mp4 knows every packet.
    """
    holes = np.zeros(len(times), dtype=bool)
    if table.format_name in ("matroska", "flv"):
        suspects = _near_gaps(times, table.frame_length)
        suspects[0] = times.min() > 1.5 * table.frame_length
        suspects &= table.gap_bytes > _HEADER_BYTES
    elif table.format_name == "mpegts" and table.has_order and len(times) > 2:
        steps = np.diff(table.order)
        step = np.median(steps)
        suspects = np.append(False, steps > 1.5 * step)
        holes = suspects & np.append(False, table.corrupt[1:] | table.corrupt[:-1])
        suspects &= ~holes & bool(np.mean(np.abs(steps - step) <= 0.1 * step) > 0.9)
        if suspects.any():
            holes |= suspects & (_is_out_of_step(table, times) | find_incomplete(table))
            suspects &= ~holes
    elif table.format_name == "avi" and table.declared:
        suspects = table.gap_bytes > _HEADER_BYTES
        suspects[0] = False
    else:
        return holes
    holes[find_missing(table, np.flatnonzero(suspects).tolist())] = True
    return holes


def _near_gaps(times: np.ndarray, frame_length: int) -> np.ndarray:
    """Tell which packets may lie before a gap in time, in whatever order they are decoded; (packets,) bool."""
    in_time = np.argsort(times, kind="stable")
    near = np.zeros(len(times) + 1, dtype=np.int64)
    for packet in in_time[1:][np.diff(times[in_time]) > 1.5 * frame_length]:
        near[max(0, packet - _REORDER_PACKETS)] += 1
        near[min(packet + _REORDER_PACKETS, len(times))] -= 1
    return cast(np.ndarray, np.cumsum(near[:-1]) > 0)


def _is_out_of_step(table: PacketTable, times: np.ndarray) -> np.ndarray:
    """Tell before which packets decode times are left out that other pictures are shown at; (packets,) bool.

    Where a picture is held on purpose, nothing is shown at that time and nothing decoded.
    """
    in_time = np.sort(times)
    inside = np.searchsorted(in_time, table.order[1:]) - np.searchsorted(in_time, table.order[:-1], "right")
    return np.append(False, inside > 0)
