"""What the demuxer says of a video: its packets, and the timeline that they make, without decoding one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .errors import VideoReadError

_SPARE_BYTES = 100  # what may lie between two packets in Matroska and AVI: their own headers
_REORDER_PACKETS = 32  # no frame is shown after one that is decoded this many packets later
_TRUNCATED_SECONDS = 0.25  # a Matroska file that ends this much before its declared duration was cut


@dataclass(frozen=True)
class PacketTable:
    """What the demuxer tells of the video stream's packets, in decode order; times in units of time_base."""

    path: Path
    format_name: str
    codec: str
    time_base: Fraction
    aspect: Fraction  # width of a stored pixel by its height
    times: list[int | None]  # (packets,) presentation
    order: np.ndarray  # (packets,) int64, decode time
    has_order: bool
    lengths: np.ndarray  # (packets,) int64, on screen
    sizes: np.ndarray  # (packets,) int64, bytes
    keyframe: np.ndarray  # (packets,) bool
    discarded: np.ndarray  # (packets,) bool
    unreferenced: np.ndarray  # (packets,) bool, True where no other picture is decoded from this one
    spare: np.ndarray  # (packets,) int64, bytes of the file before each packet that belong to no other
    usual: int  # length of a frame
    reorders: bool
    declared: int  # the length that the file claims where its packets end before that, else 0


@dataclass(frozen=True)
class Plan:
    """The packets laid out in time; times are integers in units of the table's time_base."""

    table: PacketTable
    times: np.ndarray  # (packets,) int64, presentation
    shown: np.ndarray  # (packets,) bool, False for edit-list pre-roll and before the first frame
    starts: np.ndarray  # (starts,) int64, packet 0 and the keyframes to begin at, ascending in time too
    holes: np.ndarray  # (packets,) bool, True where packets before this one are missing from the file
    counted: bool  # no presentation timestamps: the n-th picture out of the decoder has the n-th time
    in_fields: bool  # a frame may take two packets, one for each field
    width: int  # as displayed, of the first frame
    height: int
    start: int  # of the first shown frame
    read_end: int  # what is on screen is known before this time
    end: int  # when the last frame goes, by the file's own word where the file was cut

    @property
    def duration(self) -> Fraction:
        return (self.end - self.start) * self.table.time_base

    @property
    def picture_bytes(self) -> int:
        return self.width * self.height * 3

    @property
    def frames_per_second(self) -> float:
        last = np.flatnonzero(self.shown)[np.argmax(self.times[self.shown])]
        seconds = (self.times[last] + self.table.lengths[last] - self.start) * self.table.time_base
        return float(self.shown.sum() / seconds)

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
        if self.counted:
            return count if count < len(self.times) else None
        return self._packet_at.get(cast(int, frame.pts))

    @cached_property
    def _packet_at(self) -> dict[int, int]:
        return {int(self.times[packet]): packet for packet in np.flatnonzero(self.shown).tolist()}


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file at its video stream: the default one, never cover art."""
    try:
        # an absolute path, so that "talk: part 1.mp4" is no protocol; a playlist may name no other host
        container = av.open(str(path.absolute()), options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError) as error:
        with path.open("rb") as file:
            is_mp4 = file.read(8)[4:] == b"ftyp"
        reason = "has no index (moov): it was cut short" if is_mp4 else "is not a video that FFmpeg can read"
        raise VideoReadError(f"{path} {reason}; download or export it again") from error
    with container:
        name = container.format.name
        if name in ("tty", "image2") or name.endswith("_pipe"):
            raise VideoReadError(f"{path} is a text or a still picture, not a video; pass a video file")
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise VideoReadError(f"{path} has no video stream, such as an audio file; pass a video file")
        stream = max(streams, key=lambda s: bool(s.disposition & Disposition.default))
        if cast(Any, stream.codec_context) is None:
            raise VideoReadError(f"{path} has a codec without a decoder here; convert it to H.264 first")
        yield container, stream


def demux(container: InputContainer, *streams: Stream) -> Iterator["Packet[Any]"]:
    """Demux on through damage; the same packets in the same order at every call."""
    failures = 0
    while failures < 100:
        try:
            for packet in container.demux(*streams):
                if packet.size:
                    failures = 0
                    yield packet
            return
        except av.FFmpegError:
            failures += 1


def _reference_reader(stream: VideoStream) -> Callable[["Packet[Any]"], tuple[int, bool]]:
    """Make a function that tells a packet's temporal layer, and whether others of that layer may need it.

    Only H.264 and HEVC say so in their NAL headers (ITU-T H.264, 7.4.1; H.265, 7.4.2.2). FFmpeg's own
    skip_frame knows more codecs, but with it the loss of a damaged reference passes without an error.
    """
    codec = stream.codec_context.name
    head = stream.codec_context.extradata or b""
    if codec not in ("h264", "hevc"):
        return lambda packet: (0, True)
    place = 4 if codec == "h264" else 21
    # mp4 and Matroska store the length before each NAL unit, streams a start code
    width = (head[place] & 3) + 1 if len(head) > place and head[:3] not in (b"\0\0\0", b"\0\0\1") else 0

    def reference(packet: "Packet[Any]") -> tuple[int, bool]:
        layer, pictures = 0, 0
        for header in _nal_headers(bytes(packet), width):
            if len(header) < 2:
                return layer, True
            if codec == "h264":
                kind, is_plain = header[0] & 31, header[0] >> 5 == 0
                is_picture, is_aside = kind == 1 and is_plain, kind in (6, 9, 12)
            else:
                kind, in_base = header[0] >> 1, not (header[0] & 1 or header[1] >> 3)
                is_picture, is_aside = kind < 15 and kind % 2 == 0 and in_base, kind in (35, 38, 39, 40)
                layer = max(layer, (header[1] & 7) - 1)
            if not (is_picture or is_aside):
                return layer, True
            pictures += is_picture
        return layer, not pictures

    return reference


def _nal_headers(data: bytes, width: int) -> Iterator[bytes]:
    """Yield the first two bytes of each NAL unit, whose lengths take `width` bytes, 0 for start codes."""
    place = 0
    while width and place < len(data):
        length = int.from_bytes(data[place : place + width], "big")
        place += width
        yield data[place : place + 2] if place + length <= len(data) else b""
        place += length
    place = data.find(b"\0\0\1")
    while not width and place >= 0:
        yield data[place + 3 : place + 5]
        place = data.find(b"\0\0\1", place + 3)


def read_packets(path: Path) -> PacketTable:
    times: list[int | None] = []
    orders: list[int | None] = []
    rows: list[tuple[int, ...]] = []
    reach, tail = 0.0, 0  # over all streams: the last moment in seconds, the end of the last packet in bytes
    with opened(path) as (container, stream):
        time_base = cast(Fraction, stream.time_base)
        index_length = len(stream.index_entries)
        reference = _reference_reader(stream)
        for packet in demux(container):
            moment = packet.dts if packet.pts is None else packet.pts
            if moment is not None:
                reach = max(reach, float((moment + (packet.duration or 0)) * packet.time_base))
            spare = (packet.pos or tail) - tail
            tail = max(tail, (packet.pos or tail) + packet.size)
            if packet.stream_index == stream.index:
                times.append(packet.pts)
                orders.append(packet.dts)
                flags = packet.is_keyframe, packet.is_discard
                rows.append((packet.duration or 0, packet.size, *flags, spare, *reference(packet)))
        if not times:
            raise VideoReadError(f"{path} has a video stream without a picture; download or export it again")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        usual = max(round(1 / rate / time_base), 1)
        format_name = container.format.name.split(",")[0]
        declared = 0
        if format_name == "mov" and index_length > len(times):
            declared = stream.duration or 0
        elif format_name == "avi" and stream.frames > len(times):
            declared = stream.frames * usual
        elif format_name == "matroska" and container.duration:
            seconds = Fraction(container.duration, av.time_base)
            declared = int(seconds / time_base) if seconds > reach + _TRUNCATED_SECONDS else 0
        lengths, sizes, keyframe, discarded, spares, layers, referenced = np.array(rows, dtype=np.int64).T
        return PacketTable(
            path=path,
            format_name=format_name,
            codec=stream.codec_context.name,
            time_base=time_base,
            aspect=stream.sample_aspect_ratio or Fraction(1),
            times=times,
            order=np.array([usual * i if o is None else o for i, o in enumerate(orders)], dtype=np.int64),
            has_order=None not in orders,
            lengths=np.where(lengths == 0, usual, lengths),
            sizes=sizes,
            keyframe=keyframe.astype(bool),
            discarded=discarded.astype(bool),
            unreferenced=(referenced == 0) & (layers == layers.max()),
            spare=spares,
            usual=usual,
            reorders=stream.codec_context.has_b_frames,
            declared=declared,
        )


def _find_holes(table: PacketTable, times: np.ndarray) -> np.ndarray:
    """Tell before which packets others are missing, lost to damage before the decoder saw them; (packets,) bool.

    A gap in time alone may be meant, so a second sign is asked for: in Matroska bytes between two packets that
    belong to neither, in a transport stream that the others come evenly. The index of an mp4 knows every packet.
    """
    holes = np.zeros(len(times), dtype=bool)
    if table.format_name == "matroska" and np.any(np.diff(np.sort(times)) > 1.5 * table.usual):
        holes[1:] = table.spare[1:] > _SPARE_BYTES
    elif table.format_name == "mpegts" and table.has_order and len(times) > 2:
        steps = np.diff(table.order)
        usual = np.median(steps)
        if np.mean(np.abs(steps - usual) <= 0.1 * usual) > 0.9:
            holes[1:] = steps > 1.5 * usual
    elif table.format_name == "avi" and table.declared:
        holes[1:] = table.spare[1:] > _SPARE_BYTES
    return holes


def make_plan(table: PacketTable, first: VideoFrame, *, width: int, height: int) -> Plan:
    """Lay the packets out in time; `first` is the first picture that the decoder gives, and displayed so large."""
    # AVI and raw streams store no presentation timestamps: what stands there is guessed from the order
    guessed = table.format_name == "avi" and table.reorders
    counted = guessed or table.times.count(None) > len(table.times) // 2
    if counted:
        times = np.sort(table.order) if table.has_order else np.cumsum(table.lengths) - table.lengths
        starts = np.zeros(1, dtype=np.int64)
        shown = ~table.discarded
    else:
        known = np.array([t is not None for t in table.times])
        times = np.where(known, np.array([t or 0 for t in table.times], dtype=np.int64), table.order)
        if table.format_name == "matroska" and len(times) > _REORDER_PACKETS:
            # a damaged cluster header moves its packets in time
            later = np.minimum.accumulate(times[::-1])[::-1][_REORDER_PACKETS:]
            moved = np.flatnonzero(times[: len(later)] > later)
            known[moved], times[moved] = False, later[moved]
        shown = known & ~table.discarded
        # a recording may begin with pictures whose references it does not hold: they were never on screen
        key = int(np.argmax(table.keyframe))
        shown[:key] = False
        shown &= times >= min(times[key], times[key] if first.pts is None else first.pts)
        # nothing up to such a keyframe is shown after it
        can_start = table.keyframe & known
        can_start[1:] &= np.maximum.accumulate(times)[:-1] < times[1:]
        can_start[0] = True
        starts = np.flatnonzero(can_start)
    if not shown.any():
        raise VideoReadError(f"{table.path} shows no frame: its edit list cuts all away; export it again")
    last = int(np.flatnonzero(shown)[np.argmax(times[shown])])
    start, end = int(times[shown].min()), int(times[last] + table.lengths[last])
    read_end = end
    holes = _find_holes(table, times)
    if not counted:
        holes |= ~known & (table.format_name == "matroska")
    if table.declared > end - start:
        # frames after the cut may be due before the last that are there, but never before their decode time
        read_end = int(times[max(0, len(times) - 17)] if counted else table.order[-1] + 1)
        if table.format_name == "avi" and holes.any():
            read_end = int(times[np.argmax(holes)])  # AVI times count the packets: wrong from here on
        end = start + table.declared
    return Plan(
        table=table,
        times=times,
        shown=shown,
        starts=starts,
        holes=holes,
        counted=counted,
        in_fields=table.codec == "h264" and bool(first.interlaced_frame),
        width=width,
        height=height,
        start=start,
        read_end=read_end,
        end=end,
    )
