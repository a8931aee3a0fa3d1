"""What a file says of its own length, and a packet of its own bytes, beside what FFmpeg makes of it."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

# What FFmpeg's decoders tell only when asked to; for other codecs it is nothing more. HEVC may carry checksums, too
# ("crccheck"), but to check them costs a third of the decoding.
ERROR_CHECKS = {
    "hevc": "explode",
    "mjpeg": "explode",
    "png": "crccheck+explode",
    "apng": "crccheck+explode",
    **dict.fromkeys(("flv", "wmv1", "wmv2", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "msmpeg4"), "buffer"),
}

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def proves_itself(packet: bytes) -> bool:
    """Tell whether a packet of FFV1 is slices with the right CRC throughout; FFmpeg only logs it (RFC 9043, 4.9)."""
    end = len(packet)
    while end >= 8:
        begin = end - 8 - int.from_bytes(packet[end - 8 : end - 5], "big")
        # this CRC takes the high bit first, zlib's the low one; of data and CRC together both leave 0
        reversed_slice = packet[max(begin, 0) : end].translate(_REVERSED_BITS)
        if begin < 0 or zlib.crc32(reversed_slice, 0xFFFFFFFF) != 0xFFFFFFFF:
            return False
        end = begin
    return end == 0


def tells_its_end(format_name: str) -> bool:
    """Tell whether a format says in some way where a file of it ends."""
    return format_name in _CHECKS or format_name == "avi"


def is_cut_short(path: Path, format_name: str, *, tail: int) -> bool:
    """Tell whether a file ends before the place, or in another way, than its container says.

    `tail` is where the last packet ends.
    """
    check = _CHECKS.get(format_name)
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        stops_early = format_name == "gif" and tail + 2 < size
        return stops_early or (check is not None and check(file, size))


def _tail(file: BinaryIO, size: int, count: int) -> bytes:
    file.seek(max(0, size - count))
    return file.read(count)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Yield name and end of each box at the top of an mp4 (ISO/IEC 14496-12, 4.2)."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        end = size if length == 0 else place + length
        yield head[4:8], end
        place = max(end, place + 8)


def _is_mp4_cut(file: BinaryIO, size: int) -> bool:
    """Look for a box that ends after the file; in a file of fragments, whose boxes are its index, for any garbage."""
    has_fragments = False
    for name, end in _boxes(file, size):
        has_fragments |= name == b"moof"
        is_known = name in (b"mdat", b"moof", b"moov")
        if (end > size and is_known) or (has_fragments and not name.isalnum()):
            return True
    return False


def _is_matroska_cut(file: BinaryIO, size: int) -> bool:
    """Hold the length of the segment, if it is known, against the file's (RFC 8794, 6)."""
    head = file.read(256)
    place = head.find(b"\x18\x53\x80\x67") + 4
    if place < 4 or place >= len(head) or head[place] == 0:
        return False
    width = 9 - head[place].bit_length()
    length = int.from_bytes(head[place : place + width], "big") & ~(1 << 7 * width)
    is_known = length != (1 << 7 * width) - 1
    return is_known and place + width + length > size


def _is_transport_cut(file: BinaryIO, size: int) -> bool:
    head = file.read(197)
    # on discs four bytes with a time stand before each packet
    step, before = (188, 0) if head[:1] == head[188:189] == b"G" else (192, 4)
    return size % step > 0 and head[before] == head[before + step] == 0x47


def _is_flv_cut(file: BinaryIO, size: int) -> bool:
    """Look for the tag that the last four bytes tell the length of."""
    length = int.from_bytes(_tail(file, size, 4), "big")
    tag = _tail(file, size, length + 4)[:4] if 11 <= length < size else b""
    return not tag or tag[0] & 31 not in (8, 9, 18) or int.from_bytes(tag[1:], "big") != length - 11


def _is_asf_cut(file: BinaryIO, size: int) -> bool:
    """Read the file's size in its File Properties Object."""
    head = file.read(1 << 16)
    place = head.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    return place >= 0 and int.from_bytes(head[place + 40 : place + 48], "little") > size


def _is_jpeg_cut(file: BinaryIO, size: int) -> bool:
    return not _tail(file, size, 4096).rstrip(b"\0").endswith(b"\xff\xd9")


def _is_gif_cut(file: BinaryIO, size: int) -> bool:
    return not _tail(file, size, 4096).rstrip(b"\0").endswith(b";")


_CHECKS: dict[str, Callable[[BinaryIO, int], bool]] = {
    "mov": _is_mp4_cut,
    "matroska": _is_matroska_cut,
    "mpegts": _is_transport_cut,
    "flv": _is_flv_cut,
    "asf": _is_asf_cut,
    "mjpeg": _is_jpeg_cut,
    "gif": _is_gif_cut,
}
