"""What the demuxer says of a video: its packets, without decoding one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from videolib.errors import VideoReadError
from videolib.video.gaps import is_whole
from videolib.video.unreadable import ALLOWED_FORMATS
from videolib.video.wholeness import is_cut_short, proves_itself

_TRUNCATED_SECONDS = 0.25  # a Matroska or FLV file that ends this much before its declared duration was cut
_MOST_STREAMS = 1000  # FFmpeg's max_streams
UNTIMED_FORMATS = ("avi", "asf")  # they store decode times only; FFmpeg guesses when a picture is shown
_PROOFS = 8  # one of so many packets is sound
_TORN_AT_END = (
    "mpegts",
    "mjpeg",
    "gif",
)  # where FFmpeg gives out the beginning of a picture for the whole of it


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
    corrupt: np.ndarray  # (packets,) bool, by the demuxer's word
    unreferenced: np.ndarray  # (packets,) bool, True where no other picture is decoded from this one
    positions: np.ndarray  # (packets,) int64, where in the file each packet is, -1 if nobody knows
    gap_bytes: np.ndarray  # (packets,) int64, bytes of the file before each packet that belong to no other
    frame_length: int  # on screen, as the rate tells it
    reorders: bool
    declared: int  # the length that the file claims where its packets end before that, else 0
    claimed: int  # the length that the file claims, 0 where it claims none
    has_checksums: bool  # `proves_itself` tells which packets are sound
    is_cut: bool  # the file ends before its container says
    is_whole: bool  # Matroska and AVI: it is sound from the last picture on, and as long as it says
    shifts: np.ndarray | None = None  # (packets,) int64, by how much the times are moved in a joined file


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file at its video stream: the default one, never cover art."""
    try:
        # an absolute path, so that "talk: part 1.mp4" is no protocol; and nothing that opens other files or hosts
        container = av.open(
            str(path.absolute()),
            options={"protocol_whitelist": "file", "format_whitelist": ALLOWED_FORMATS},
            metadata_errors="replace",  # older programs write titles in the encoding of their country
        )
    except (av.FFmpegError, OSError) as error:
        if isinstance(error, MemoryError):
            raise VideoReadError(_too_many(path)) from error
        with path.open("rb") as file:
            is_mp4 = file.read(8)[4:] == b"ftyp"
        reason = "has no index (moov): it was cut short" if is_mp4 else "is not a video that FFmpeg can read"
        raise VideoReadError(f"{path} {reason}; download or export it again") from error
    with container:
        name = container.format.name
        if name == "tty":
            raise VideoReadError(f"{path} is a text, not a video; pass a video file")
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams and len(container.streams) >= _MOST_STREAMS:
            raise VideoReadError(_too_many(path))
        if not streams:
            raise VideoReadError(f"{path} has no video stream, such as an audio file; pass a video file")
        if name in ("image2", "ico") or name.endswith("_pipe") or all(map(_is_still, streams)):
            raise VideoReadError(_still_picture(path))
        # the still that an AVIF sequence begins with is a stream, too, of no length
        stream = max(streams, key=lambda s: (s.disposition & Disposition.default, not _is_still(s)))
        if cast(Any, stream.codec_context) is None:
            raise VideoReadError(f"{path} has a codec without a decoder here; convert it to H.264 first")
        yield container, stream


def _too_many(path: Path) -> str:
    return f"{path} has more streams than the {_MOST_STREAMS} that FFmpeg reads; copy its video alone to a new file"


def _still_picture(path: Path) -> str:
    return (
        f"{path} is a still picture, not a video; pass it to image_query to search with it, or to open_image"
    )


def _is_still(stream: VideoStream) -> bool:
    return stream.frames == 1 and stream.duration is None


def demux(container: InputContainer, *streams: Stream) -> Iterator["Packet[Any]"]:
    """Demux on through damage; the same packets in the same order at every call."""
    failures = 0
    is_guessed = container.format.name in UNTIMED_FORMATS
    while failures < 100:
        try:
            for packet in container.demux(*streams):
                if packet.size:
                    failures = 0
                    if is_guessed:
                        packet.pts = packet.dts  # it would be wrong where pictures are left out
                    yield packet
            return
        except av.FFmpegError:
            failures += 1
        except IndexError:  # PyAV's, at the end: damage made up a stream that its list does not have
            return


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
    """Demux a whole file, without decoding a frame."""
    with opened(path) as (container, stream):
        time_base = cast(Fraction, stream.time_base)
        index_length = len(stream.index_entries)
        times, orders, rows, reach, tail, has_checksums = _read_rows(container, stream)
        if not times:
            raise VideoReadError(f"{path} has a video stream without a picture; download or export it again")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        frame_length = max(round(1 / rate / time_base), 1)
        columns = np.array(rows, dtype=np.int64).T
        lengths, sizes, positions, gaps, keyframe, discarded, corrupt, layers, referenced = columns
        format_name = container.format.name.split(",")[0]
        is_cut = is_cut_short(path, format_name, tail=tail)
        if len(times) == 1 and format_name in ("gif", "apng") and not is_cut:
            raise VideoReadError(_still_picture(path))
        corrupt[-1] |= is_cut and format_name in _TORN_AT_END
        return PacketTable(
            path=path,
            format_name=format_name,
            codec=stream.codec_context.name,
            time_base=time_base,
            aspect=stream.sample_aspect_ratio or Fraction(1),
            times=times,
            order=np.array(
                [frame_length * i if o is None else o for i, o in enumerate(orders)], dtype=np.int64
            ),
            has_order=None not in orders,
            lengths=np.where(lengths == 0, frame_length, lengths),
            sizes=sizes,
            keyframe=keyframe.astype(bool),
            discarded=discarded.astype(bool),
            corrupt=corrupt.astype(bool),
            unreferenced=(referenced == 0) & (layers == layers.max()),
            positions=positions,
            gap_bytes=gaps,
            frame_length=frame_length,
            reorders=stream.codec_context.has_b_frames,
            declared=_declared_length(container, stream, len(times), index_length, frame_length, reach),
            claimed=int(_claimed_seconds(container) / time_base),
            has_checksums=has_checksums,
            is_cut=is_cut,
            is_whole=not is_cut and is_whole(path, format_name, int(positions.max())),
        )


def _read_rows(
    container: InputContainer, stream: VideoStream
) -> tuple[list[int | None], list[int | None], list[tuple[int, ...]], float, int, bool]:
    """Return presentation and decode times, the other columns, the last second and byte of all, has_checksums."""
    times: list[int | None] = []
    orders: list[int | None] = []
    rows: list[tuple[int, ...]] = []
    # over all streams: the last moment in seconds, and where the last packet is, from byte to byte
    reach, place, tail, gap_bytes = 0.0, 0, 0, 0
    reference = _reference_reader(stream)
    may_prove, has_checksums = stream.codec_context.name == "ffv1", False
    for packet in demux(container):
        moment = packet.dts if packet.pts is None else packet.pts
        if moment is not None:
            reach = max(reach, float((moment + (packet.duration or 0)) * packet.time_base))
        position = packet.pos
        if position is not None and position > place:
            gap_bytes += max(position - tail, 0)
            place = tail = position
        if position is None or position == place:
            tail += packet.size  # the packets of a lace have one position
        if packet.stream_index == stream.index:
            times.append(packet.pts)
            orders.append(packet.dts)
            if may_prove and len(times) < _PROOFS:
                has_checksums |= proves_itself(bytes(packet))
            flags = packet.is_keyframe, packet.is_discard, packet.is_corrupt
            where = -1 if position is None else position, gap_bytes
            rows.append((packet.duration or 0, packet.size, *where, *flags, *reference(packet)))
            gap_bytes = 0
    return times, orders, rows, reach, tail, has_checksums


def _declared_length(
    container: InputContainer,
    stream: VideoStream,
    packets: int,
    index_length: int,
    frame_length: int,
    reach: float,
) -> int:
    """Tell how long the file says that it is, where it ends before that; else 0."""
    format_name = container.format.name.split(",")[0]
    if format_name == "mov" and index_length > packets:
        return stream.duration or 0
    if format_name == "avi" and stream.frames > packets:
        return stream.frames * frame_length
    if format_name in ("matroska", "flv"):
        seconds = _claimed_seconds(container)
        if seconds > reach + _TRUNCATED_SECONDS:
            return int(seconds / cast(Fraction, stream.time_base))
    return 0


def _claimed_seconds(container: InputContainer) -> Fraction:
    """Return the length that the file's header claims, else 0; that of other formats is FFmpeg's own estimate."""
    if container.format.name.split(",")[0] not in ("mov", "matroska", "flv", "avi", "asf"):
        return Fraction(0)
    return Fraction(max(0, container.duration or 0), av.time_base)
