"""How H.264 and MPEG-1/2 number their pictures: where a number is left out, a picture is missing.

Their decoders go on without a word when a picture that they need was taken out of a stream.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from videolib.video.demux import PacketTable, demux, opened

_HEADER_BYTES = 64  # of a unit, enough for the numbers that are read here
_WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}  # H.264 profiles

# of a picture: whether the numbers begin anew, its place in the order of time, where that starts from 0 again,
# and whether the numbers in the order of decoding leave one out
_Number = tuple[bool, int, int, bool]


def find_incomplete(table: PacketTable) -> np.ndarray:
    """Tell of each packet whether a number is left out in its group, up to where the numbers begin anew.

    False for other codecs, and where no number can be read; (packets,) bool.
    """
    if table.codec not in _READERS:
        return np.zeros(len(table.times), dtype=bool)
    with opened(table.path) as (container, stream):
        return _find_incomplete(map(bytes, demux(container, stream)), _READERS[table.codec]())


def _find_incomplete(packets: Iterable[bytes], read: Callable[[bytes], _Number | None]) -> np.ndarray:
    groups: list[tuple[int, list[int], bool]] = []  # packets, numbers, whether one was left out
    for data in packets:
        number = read(data)
        begins = number is not None and number[0]
        length, numbers, left_out = groups.pop() if groups and not begins else (0, [], False)
        if number is not None:
            _, place, period, skips = number
            near = numbers[-1] if numbers else place
            numbers.append(near + (place - near + period // 2) % period - period // 2)
            left_out = left_out or skips
        groups.append((length + 1, numbers, left_out))
    incomplete = [left_out or _is_uneven(numbers) for _, numbers, left_out in groups]
    return np.repeat(np.array(incomplete, dtype=bool), [length for length, _, _ in groups])


def _is_uneven(numbers: list[int]) -> bool:
    steps = np.diff(np.unique(numbers))
    return bool(len(steps) and steps.max() > 1.5 * np.median(steps))


def _units(data: bytes) -> Iterator[bytes]:
    """Yield the beginning of each unit after a start code."""
    place = data.find(b"\0\0\1")
    while place >= 0:
        yield data[place + 3 : place + 3 + _HEADER_BYTES]
        place = data.find(b"\0\0\1", place + 3)


class _Bits:
    """Reads the syntax elements of ITU-T H.264, 7.2: u(n) of a fixed length, and ue(v)."""

    def __init__(self, unit: bytes) -> None:
        plain = unit.replace(b"\0\0\3", b"\0\0")
        self.bits = "".join(format(byte, "08b") for byte in plain)
        self.place = 0

    def u(self, length: int) -> int:
        self.place += length
        return int(self.bits[self.place - length : self.place] or "0", 2)

    def ue(self) -> int:
        zeros = max(self.bits.find("1", self.place) - self.place, 0)
        self.place += zeros
        return self.u(zeros + 1) - 1


def _read_mpeg2() -> Callable[[bytes], _Number | None]:
    """Read temporal_reference, which starts from 0 in each group (ISO/IEC 13818-2, 6.2.2.6 and 6.2.3)."""

    def read(data: bytes) -> _Number | None:
        begins = False
        for unit in _units(data):
            begins = begins or unit[:1] == b"\xb8"
            if unit[:1] == b"\0":
                return begins, int.from_bytes(unit[1:3], "big") >> 6, 1 << 10, False
        return None

    return read


def _read_h264() -> Callable[[bytes], _Number | None]:
    """Read pic_order_cnt and frame_num (ITU-T H.264, 7.3.2.1 and 7.3.3)."""
    sequence: tuple[int, int, int, bool, int] | None = None
    before = 0  # frame_num of the last picture that others refer to

    def read(data: bytes) -> _Number | None:
        nonlocal sequence, before
        for unit in _units(data):
            kind, is_referred = unit[0] & 31 if unit else 0, bool(unit and unit[0] >> 5)
            if kind == 7:
                sequence = _read_sequence(_Bits(unit[1:]))
            if kind not in (1, 5) or sequence is None:
                continue
            number_bits, order_bits, has_planes, in_frames, may_skip = sequence
            bits = _Bits(unit[1:])
            bits.ue(), bits.ue(), bits.ue()
            bits.u(2 * has_planes)
            number = bits.u(number_bits)
            if not in_frames and bits.u(1):
                bits.u(1)
            if kind == 5:
                bits.ue()
                before = 0
            step = (number - before) % (1 << number_bits)
            before = number if is_referred else before
            skips = step > 1 and not may_skip
            if order_bits:
                return kind == 5, bits.u(order_bits), 1 << order_bits, skips
            return kind == 5, 2 * number - (not is_referred), 2 << number_bits, skips
        return None

    return read


def _read_sequence(bits: _Bits) -> tuple[int, int, int, bool, int] | None:
    """Return the bits of frame_num and of pic_order_cnt (0: it follows frame_num), and three flags.

    The flags: separate colour planes, frames only, and whether numbers may be left out on purpose.
    """
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    has_planes = 0
    if profile in _WITH_CHROMA:
        has_planes = bits.u(1) if bits.ue() == 3 else 0
        bits.ue(), bits.ue()
        if bits.u(2) & 1:
            return None  # scaling lists: rare, and long to skip
    number_bits = bits.ue() + 4
    kind = bits.ue()
    if kind == 1:
        return None
    order_bits = bits.ue() + 4 if kind == 0 else 0
    bits.ue()
    may_skip = bits.u(1)
    bits.ue(), bits.ue()
    return number_bits, order_bits, has_planes, bool(bits.u(1)), may_skip


_READERS = {"h264": _read_h264, "mpeg1video": _read_mpeg2, "mpeg2video": _read_mpeg2}
