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
    shift_seconds: Fraction = Fraction(0),
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Copy the packets from `first_packet` on, `shift_seconds` later; what falls before 0 becomes an edit list."""
    with (
        av.open(str(source)) as reader,
        av.open(str(target), "w", container_options=dict(container_options or {})) as writer,
    ):
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        shift = int(shift_seconds / stream.time_base)
        for number, packet in enumerate(reader.demux(stream)):
            if packet.size and number >= first_packet:
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
