"""Makes HEIC files as phones do: tiles in a grid, turned by a property, with transparency beside them."""

import io
import struct
from collections.abc import Sequence

import av
import numpy as np


def box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


def full_box(name: bytes, *parts: bytes, version: int = 0) -> bytes:
    return box(name, struct.pack(">I", version << 24), *parts)


def encode_hevc(image: np.ndarray) -> tuple[bytes, bytes]:
    """Encode one picture: its hvcC, and its bytes as an mp4 holds them."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": "2", "preset": "ultrafast", "x265-params": "log-level=none:bframes=0"}
        stream = container.add_stream("libx265", rate=1, options=options)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv444p"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        (packet,) = (packet for packet in container.demux(video=0) if packet.size)
        return bytes(container.streams.video[0].codec_context.extradata), bytes(packet)


def write_heic(
    image: np.ndarray,
    *,
    tile: int | None = None,
    transforms: Sequence[bytes] = (),
    alpha: np.ndarray | None = None,
    grid_size: tuple[int, int] | None = None,
) -> bytes:
    """Make a HEIC file of an RGB image; `tile` is the side of the squares that it is cut into, as phones do."""
    height, width = image.shape[:2]
    size = full_box(b"ispe", struct.pack(">II", *(grid_size or (width, height))))
    parts, kinds, properties, references = [], [], [], []
    if tile is None:
        configuration, data = encode_hevc(image)
        parts, kinds = [data], [b"hvc1"]
        properties = [[box(b"hvcC", configuration), size, *transforms]]
    else:
        rows, columns = -(-height // tile), -(-width // tile)
        padded = np.pad(image, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)), mode="edge")
        parts = [struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *(grid_size or (width, height)))]
        kinds, properties = [b"grid"], [[size, *transforms]]
        for row in range(rows):
            for column in range(columns):
                square = padded[row * tile :, column * tile :][:tile, :tile]
                configuration, data = encode_hevc(square)
                parts.append(data)
                kinds.append(b"hvc1")
                tile_size = full_box(b"ispe", struct.pack(">II", tile, tile))
                properties.append([box(b"hvcC", configuration), tile_size])
        tiles = range(2, len(parts) + 1)
        references.append(box(b"dimg", struct.pack(f">HH{len(tiles)}H", 1, len(tiles), *tiles)))
    if alpha is not None:
        configuration, data = encode_hevc(np.repeat(alpha[..., None], 3, axis=2))
        kind = full_box(b"auxC", b"urn:mpeg:hevc:2015:auxid:1\0")
        parts.append(data)
        kinds.append(b"hvc1")
        properties.append([box(b"hvcC", configuration), size, kind, *transforms])
        references.append(box(b"auxl", struct.pack(">HHH", len(parts), 1, 1)))
    return _assemble(parts, kinds, properties, references)


def _assemble(
    parts: list[bytes], kinds: list[bytes], properties: list[list[bytes]], references: list[bytes]
) -> bytes:
    """Lay out a file whose items, numbered from 1 on, are these; the first is the primary one."""
    shared = [each for several in properties for each in several]
    places, count = [], 0
    for number, several in enumerate(properties, 1):
        marks = bytes(0x80 | count + place for place in range(1, len(several) + 1))
        places.append(struct.pack(">HB", number, len(several)) + marks)
        count += len(several)
    entries = [full_box(b"infe", struct.pack(">HH4sx", n, 0, k), version=2) for n, k in enumerate(kinds, 1)]

    def lay_out(start: int) -> bytes:
        where = []
        for number, part in enumerate(parts, 1):
            where.append(struct.pack(">HHHII", number, 0, 1, start, len(part)))
            start += len(part)
        return full_box(
            b"meta",
            full_box(b"hdlr", struct.pack(">I4s13x", 0, b"pict")),
            full_box(b"pitm", struct.pack(">H", 1)),
            full_box(b"iloc", struct.pack(">BBH", 0x44, 0, len(parts)), *where),
            full_box(b"iinf", struct.pack(">H", len(parts)), *entries),
            full_box(b"iref", *references) if references else b"",
            box(b"iprp", box(b"ipco", *shared), full_box(b"ipma", struct.pack(">I", len(places)), *places)),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    start = len(head) + len(lay_out(0)) + 8
    return head + lay_out(start) + box(b"mdat", *parts)
