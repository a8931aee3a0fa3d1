"""Makes the small videos that the tests read: every picture carries its own number."""

import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

COUNTER_BITS = 12
SIZE = (96, 64)  # width, height


def counter_picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Draw a moving pattern with `number` in white and black blocks along the top; (height, width, 3) RGB."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack(
        [(3 * x + 5 * number) % 256, (4 * y + 3 * number) % 256, (2 * (x + y) + 7 * number) % 256], axis=-1
    ).astype(np.uint8)
    block = width // COUNTER_BITS
    for bit in range(COUNTER_BITS):
        image[: height // 4, bit * block : (bit + 1) * block] = 255 * (number >> bit & 1)
    return image


def read_counter(image: np.ndarray) -> int:
    """Read back the number that `counter_picture` drew."""
    height, width = image.shape[:2]
    block = width // COUNTER_BITS
    top = image[2 : height // 4 - 2, : block * COUNTER_BITS].mean(axis=(0, 2))  # (12 * block,)
    bright = top.reshape(COUNTER_BITS, block)[:, 1:-1].mean(axis=1) > 127
    return int(sum(1 << bit for bit in range(COUNTER_BITS) if bright[bit]))


def can_encode(codec: str) -> bool:
    """Tell whether this PyAV build has the encoder `codec`."""
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def write_video(
    path: Path,
    codec: str = "libx264",
    *,
    count: int = 60,
    rate: Fraction | int = 30,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    size: tuple[int, int] = SIZE,
    pictures: Sequence[np.ndarray] | None = None,
    pixel_format: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    rotation: int | None = None,
    mirrored: bool = False,
    aspect: Fraction | None = None,
    color: Mapping[str, int] | None = None,
) -> Path:
    """Encode `count` counter pictures, or `pictures`, at `rate` or at `times` in units of `time_base`."""
    with av.open(str(path), "w", container_options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.time_base = time_base or 1 / Fraction(rate)
        context.thread_count = 1
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        for name, value in (color or {}).items():
            setattr(context, name, value)
        if rotation is not None or mirrored:
            stream.set_display_rotation(rotation or 0, hflip=mirrored)
        for number in range(len(pictures) if pictures is not None else count):
            image = pictures[number] if pictures is not None else counter_picture(number, size)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if color:
                frame = frame.reformat(
                    format=pixel_format,
                    dst_colorspace=color.get("colorspace"),
                    dst_color_range=color.get("color_range"),
                )
            frame.pts = times[number] if times is not None else number
            frame.time_base = context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def remux(
    source: Path,
    target: Path,
    *,
    first_packet: int = 0,
    without: int | None = None,
    shift_seconds: Fraction = Fraction(0),
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Copy the packets from `first_packet` on, `shift_seconds` later; what falls before 0 becomes an edit list.

    The packet `without` is left out.
    """
    with (
        av.open(str(source)) as reader,
        av.open(str(target), "w", container_options=dict(container_options or {})) as writer,
    ):
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        shift = int(shift_seconds / stream.time_base)
        for number, packet in enumerate(reader.demux(stream)):
            if packet.size and number >= first_packet and number != without:
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = copy
                writer.mux(packet)
    return target


def set_edits(source: Path, target: Path, edits: Sequence[tuple[Fraction, Fraction]]) -> Path:
    """Copy an mp4 with its moov at the end, and show only `edits` of it, each (start, duration) in seconds."""
    content = source.read_bytes()

    def box(name: bytes) -> int:
        return content.index(name) - 4

    def scale(name: bytes, place: int) -> int:
        return int.from_bytes(content[box(name) + place :][:4], "big")

    movie, media = scale(b"mvhd", 20), scale(b"mdhd", 20)  # ticks a second
    first = scale(b"elst", 20)  # where the pictures begin in the media's own time
    entries = [(int(length * movie), first + int(start * media), 0x10000) for start, length in edits]
    elst = struct.pack(">4sII", b"elst", 0, len(entries)) + b"".join(struct.pack(">IiI", *e) for e in entries)
    old = content[box(b"elst") :][: scale(b"elst", 0)]
    new = (len(elst) + 4).to_bytes(4, "big") + elst
    grown = {name: scale(name, 0) + len(new) - len(old) for name in (b"moov", b"trak", b"edts")}
    for name, size in grown.items():
        content = content[: box(name)] + size.to_bytes(4, "big") + content[box(name) + 4 :]
    target.write_bytes(content.replace(old, new))
    return target


class _Bits:
    """Writes the syntax elements of ITU-T H.264, 7.2: u(n) of a fixed length, and ue(v)."""

    def __init__(self) -> None:
        self.bits = ""

    def u(self, value: int, length: int) -> "_Bits":
        self.bits += format(value, f"0{length}b")
        return self

    def ue(self, *values: int) -> "_Bits":
        for value in values:
            self.bits += "0" * ((value + 1).bit_length() - 1) + format(value + 1, "b")
        return self

    def align(self) -> "_Bits":
        self.bits += "0" * (-len(self.bits) % 8)
        return self

    def unit(self, header: int) -> bytes:
        self.u(1, 1).align()
        return b"\0\0\0\1" + bytes([header]) + int(self.bits, 2).to_bytes(len(self.bits) // 8, "big")


def write_fields(path: Path, *, count: int = 60, mixed: bool = False, joined: bool = True) -> Path:
    """Write H.264 with two fields for each counter picture, as television does and no encoder at hand.

    Every 15th is a keyframe, two of three are referred to by no other; macroblocks are stored raw (I_PCM). With
    mixed only those two are pairs of fields; with joined both fields share one time in the container.
    """
    columns, rows = SIZE[0] // 16, SIZE[1] // 32  # macroblocks of a field
    sequence = (
        _Bits().u(77, 8).u(0, 8).u(30, 8).ue(0, 0, 0, 0, 2).u(0, 1).ue(columns - 1, rows - 1).u(0b001000, 6)
    )
    picture_set = _Bits().ue(0, 0).u(0, 2).ue(0, 0, 0).u(0, 3).ue(0, 0, 0).u(0, 3)
    sets = sequence.unit(0x67) + picture_set.unit(0x68)

    def slice_of(number: int, field: int | None, order: int) -> bytes:
        is_key, is_referred = number % 15 == 0 and field != 1, number % 3 == 0
        bits = _Bits().ue(0, 7, 0).u((number % 15 + 2) // 3 % 16, 4)
        bits.u(0, 1) if field is None else bits.u(2 + field, 2)
        if is_key:
            bits.ue(0)
        bits.u(order % 16, 4)
        if is_referred:
            bits.u(0, 2 if is_key else 1)
        bits.ue(0)
        luma = (16 + counter_picture(number).mean(axis=-1) * 219 / 255).astype(np.uint8)
        luma = luma if field is None else luma[field::2]
        for y in range(0, len(luma), 16):
            for x in range(0, SIZE[0], 16):
                bits.ue(25).align()
                bits.bits += "".join(format(v, "08b") for v in luma[y : y + 16, x : x + 16].ravel())
                bits.bits += format(128, "08b") * 128
        return bits.unit((0x65 if is_key else 0x61) if is_referred else 0x01)

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height = SIZE
        for number in range(count):
            order = 2 * (number % 15)
            if mixed and number % 3 == 0:
                units = [slice_of(number, None, order)]
            else:
                units = [slice_of(number, field, order + field) for field in (0, 1)]
            units[0] = sets * (number % 15 == 0) + units[0]
            for half, data in enumerate([b"".join(units)] if joined else units):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, 60)
                packet.pts = packet.dts = 2 * number + half
                packet.is_keyframe = number % 15 == 0 and half == 0
                container.mux(packet)
    return path
