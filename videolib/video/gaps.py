"""What the bytes between two packets and after the last one tell: that others are missing, or of other things."""

from __future__ import annotations

from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videolib.video.demux import PacketTable

# Matroska (RFC 9559): masters whose children are looked at one by one, and what may stand between two blocks
_EBML_OPENED = {0x18538067, 0x1F43B675, 0xA0}  # Segment, Cluster, BlockGroup
_EBML_BLOCKS = {0xA3, 0xA1}  # SimpleBlock, Block
_EBML_SKIPPED = {
    *(0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469),
    *(0xE7, 0xAB, 0xA7, 0x5854, 0xEC, 0xBF),  # of a cluster: time, sizes, Void, CRC-32
    *(
        0x9B,
        0xFB,
        0x75A1,
        0x75A2,
        0xA4,
        0xFA,
        0x8E,
        0xA2,
        0xFD,
    ),  # of a block group: additions, references, lengths
}
# bytes from packet to packet, and before each: broadcast, disc with a time before each, with error correction
_TRANSPORT_STEPS = ((188, 0), (192, 4), (204, 0))
_MOST_TAIL = 16 << 20  # bytes after the last picture that are looked at
_UNKNOWN = -1  # the size of a master that a live recording leaves open


def find_missing(table: PacketTable, packets: Iterable[int]) -> list[int]:
    """Return those of the packets before which the file holds bytes that are no sound part of its format.

    Laced blocks, additions to a block, indexes, empty chunks and other tracks are sound; what the demuxer
    skipped to find its way again is not.
    """
    walk = {"matroska": _walk_matroska, "avi": _walk_avi, "flv": _walk_flv, "mpegts": _walk_transport}
    is_sound = walk[table.format_name]
    missing = []
    with table.path.open("rb") as file:
        for packet in packets:
            end = int(table.positions[packet])
            begin = int(table.positions[packet - 1]) if packet else -1
            if begin < end and not is_sound(file, begin, end):
                missing.append(packet)
    return missing


def is_whole(path: Path, format_name: str, position: int) -> bool:
    """Tell whether a Matroska or AVI file is sound from its last picture on, and as long as it says."""
    size = path.stat().st_size
    if format_name not in ("matroska", "avi") or _end(path, format_name, position) != size:
        return False
    place = 0
    with path.open("rb") as file:
        if format_name == "matroska":
            _, length, inside = _element(file, 0)
            _, length, inside = _element(file, inside + length)
            return length != _UNKNOWN and inside + length <= size
        while place < size and _read(file, place, 4) == b"RIFF":
            length = int.from_bytes(_read(file, place + 4, 4), "little")
            place += (8 + length + length % 2) if length else size + 1
    return place <= size


def _end(path: Path, format_name: str, position: int) -> int:
    """Return where the last element ends, -1 where that is no sound element."""
    size = path.stat().st_size
    if not 0 <= position < size or size - position > _MOST_TAIL:
        return -1
    with path.open("rb") as file:
        return (_end_of_avi if format_name == "avi" else _end_of_matroska)(file, position, size)


def _read(file: BufferedReader, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _ebml_number(data: bytes, *, with_marker: bool) -> tuple[int, int]:
    """Return an EBML number and how many bytes it takes, 0 where there is none."""
    width = 9 - data[0].bit_length() if data else 9
    if width > 8 or width > len(data):
        return 0, 0
    value = int.from_bytes(data[:width], "big")
    if with_marker:
        return value, width
    value ^= 1 << 7 * width
    return (_UNKNOWN if value == (1 << 7 * width) - 1 else value), width


def _after_block(file: BufferedReader, inside: int) -> int:
    """Return where a Matroska block ends, told by where its content begins; -1 if there is none."""
    head = _read(file, inside - 9, 9)
    for width in range(1, 9):
        size, found = _ebml_number(head[-width:], with_marker=False)
        if found == width and head[-width - 1] in _EBML_BLOCKS:
            return inside + size
    return -1


def _element(file: BufferedReader, place: int) -> tuple[int, int, int]:
    """Return name, size and the beginning of the content of a Matroska element; the name is 0 if there is none."""
    data = _read(file, place, 12)
    name, name_width = _ebml_number(data[:4], with_marker=True)
    size, size_width = _ebml_number(data[name_width:], with_marker=False)
    return name if size_width else 0, size, place + name_width + size_width


def _walk_matroska(file: BufferedReader, begin: int, end: int) -> bool:
    place = _after_block(file, begin) if begin >= 0 else 0
    track = _read(file, end, 1)
    while 0 <= place < end:
        name, size, inside = _element(file, place)
        if name in _EBML_BLOCKS and inside == end:
            return True
        if name in _EBML_BLOCKS and size > 4 and _read(file, inside, 1) == track:
            return False  # a picture that was not handed out
        if name in _EBML_OPENED:
            place = inside
        elif name in _EBML_BLOCKS | _EBML_SKIPPED and size != _UNKNOWN:
            place = inside + size
        else:
            return False
    return False


def _end_of_matroska(file: BufferedReader, begin: int, size: int) -> int:
    place = _after_block(file, begin)
    while 0 <= place < size:
        name, length, inside = _element(file, place)
        if name in _EBML_OPENED:
            place = inside
        elif name in _EBML_BLOCKS | _EBML_SKIPPED and length != _UNKNOWN:
            place = inside + length
        else:
            return -1
    return place


def _chunk(file: BufferedReader, place: int) -> tuple[bytes, int, int]:
    """Return name, size and next place of a RIFF chunk, where a list's next place is its first member."""
    head = _read(file, place, 8)
    name, size = head[:4], int.from_bytes(head[4:], "little")
    is_name = len(head) == 8 and name.isascii() and name.decode().isprintable()
    return name if is_name else b"", size, place + (12 if name in (b"RIFF", b"LIST") else 8 + size + size % 2)


def _walk_avi(file: BufferedReader, begin: int, end: int) -> bool:
    place = begin - 8 if begin >= 0 else 0
    pictures = [_read(file, end - 8, 2) + kind for kind in (b"dc", b"db")]
    while place < end - 8:
        name, size, after = _chunk(file, place)
        if not name or (name in pictures and size and place != begin - 8):
            return False  # no chunk, or a picture that was not handed out
        place = after
    return place == end - 8


def _end_of_avi(file: BufferedReader, begin: int, size: int) -> int:
    place = begin - 8
    while place < size:
        name, _, after = _chunk(file, place)
        if not name:
            return -1
        place = after
    return place if place - size != 1 else size  # the last byte may be the padding that is left out


def _walk_flv(file: BufferedReader, begin: int, end: int) -> bool:
    place = begin if begin >= 0 else int.from_bytes(_read(file, 5, 4), "big") + 4
    while place < end:
        head = _read(file, place, 4)
        if head[0] & 0x1F not in (8, 9, 18):  # sound, pictures, a script
            return False
        place += 11 + int.from_bytes(head[1:], "big") + 4
    return place == end


def _walk_transport(file: BufferedReader, begin: int, end: int) -> bool:
    data = _read(file, begin, end - begin + 5)
    steps = [step for step in _TRANSPORT_STEPS if (end - begin) % step[0] == 0]
    return any(set(data[before : end - begin + before + 1 : step]) == {0x47} for step, before in steps)
