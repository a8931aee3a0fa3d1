"""Pictures of phones that Pillow cannot read: HEIC, and AVIF before Pillow 11.3. The boxes are those of
ISO/IEC 14496-12 and 23008-12; FFmpeg decodes what is in them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, cast

import numpy as np
from PIL import Image

from videolib.types import RGBArray

BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"avci"}
_CODECS = {b"hvc1": ("hevc", b"hvcC"), b"av01": ("libdav1d", b"av1C"), b"avc1": ("h264", b"avcC")}
_ALPHA = (b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")


def is_heif(head: bytes) -> bool:
    """Tell by a file's first bytes whether it says that it holds pictures in this way."""
    if head[4:8] != b"ftyp":
        return False
    brands = head[8 : int.from_bytes(head[:4], "big")]
    return any(brands[place : place + 4] in BRANDS for place in range(0, len(brands), 4))


def decode_heif(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode the primary picture, upright; RGBA where it has transparency, else RGB.

    Raises
    ------
    ValueError, av.FFmpegError
        If there is none, or it is damaged, or of a kind that is not decoded here.
    PIL.Image.DecompressionBombError
        If it has more than max_pixels.
    """
    items = _read_items(data)
    image = Image.fromarray(_decode(items, items.primary, max_pixels))
    for source, targets in items.references.get(b"auxl", []):
        kind = items.property_of(source, b"auxC")[4:].partition(b"\0")[0]
        if items.primary in targets and kind in _ALPHA:
            alpha = Image.fromarray(_decode(items, source, max_pixels)[..., 0])
            image.putalpha(alpha.resize(image.size))
    return image


@dataclass
class _Items:
    """What the meta box tells of a file's items, by their numbers."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    data: dict[int, bytes] = field(default_factory=dict)
    properties: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    references: dict[bytes, list[tuple[int, list[int]]]] = field(default_factory=dict)

    def property_of(self, item: int, name: bytes) -> bytes:
        return next((value for each, value in self.properties.get(item, []) if each == name), b"")


def _decode(items: _Items, item: int, max_pixels: int) -> RGBArray:
    """Decode an item, with its own crop, rotation and mirroring; (height, width, 3)."""
    size = items.property_of(item, b"ispe")
    _check_size(int.from_bytes(size[4:8], "big"), int.from_bytes(size[8:12], "big"), max_pixels)
    is_grid = items.kinds.get(item) == b"grid"
    image = (_join_tiles if is_grid else _decode_coded)(items, item, max_pixels)
    for name, value in items.properties.get(item, []):  # in the order in which they are to be applied
        if name == b"clap":
            image = _crop(image, value)
        elif name == b"irot":
            image = np.rot90(image, value[0] & 3)
        elif name == b"imir":
            image = image[:, ::-1] if value[0] & 1 else image[::-1]
    return np.ascontiguousarray(image)


def _join_tiles(items: _Items, item: int, max_pixels: int) -> RGBArray:
    """Lay a grid's tiles side by side: ISO/IEC 23008-12, 6.6.2.3."""
    file = io.BytesIO(items.data[item])
    is_long = _uint(file, 2) & 1  # after the version
    rows, columns = _uint(file, 1) + 1, _uint(file, 1) + 1
    width, height = (_uint(file, 4 if is_long else 2) for _ in range(2))
    _check_size(width, height, max_pixels)
    tiles = next((targets for source, targets in items.references.get(b"dimg", []) if source == item), [])
    if len(tiles) != rows * columns:
        raise ValueError(f"its grid has {len(tiles)} tiles of {rows * columns}")
    first = _decode_coded(items, tiles[0], max_pixels)
    tile_height, tile_width = first.shape[:2]
    if not (tile_height * (rows - 1) < height <= tile_height * rows):
        raise ValueError("its tiles do not fill its height")
    if not (tile_width * (columns - 1) < width <= tile_width * columns):
        raise ValueError("its tiles do not fill its width")
    image = np.empty((height, width, 3), dtype=np.uint8)
    for place, tile in enumerate(tiles):
        shown = first if place == 0 else _decode_coded(items, tile, max_pixels)
        if shown.shape != first.shape:
            raise ValueError("its tiles have several sizes")
        top, left = place // columns * tile_height, place % columns * tile_width
        part = image[top : top + tile_height, left : left + tile_width]
        part[:] = shown[: part.shape[0], : part.shape[1]]
    return image


def _decode_coded(items: _Items, item: int, max_pixels: int) -> RGBArray:
    import av  # takes a moment, and few pictures need it

    kind = items.kinds.get(item, b"")
    if kind not in _CODECS:
        raise ValueError(f"it holds a picture of the kind {kind.decode('latin1')!r}, which is not read")
    codec, configuration = _CODECS[kind]
    context: Any = av.CodecContext.create(cast(Any, codec), "r")
    context.extradata = items.property_of(item, configuration)
    context.options = {"max_pixels": str(2 * max_pixels), "err_detect": "crccheck+explode"}
    frames = [*context.decode(av.Packet(items.data[item])), *context.decode(None)]
    if not frames or frames[0].is_corrupt:
        raise ValueError("it is damaged")
    frame = frames[0]
    colour = items.property_of(item, b"colr")
    if colour[:4] == b"nclx":  # it goes before what the picture says itself
        frame.colorspace = int.from_bytes(colour[8:10], "big")
        frame.color_range = 2 if colour[10] & 128 else 1
    return cast(RGBArray, frame.to_ndarray(format="rgb24", threads=1))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if not width * height:
        raise ValueError("it tells no size")
    if width * height > max_pixels:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")


def _crop(image: RGBArray, clap: bytes) -> RGBArray:
    """Cut out the clean aperture, which is told from the centre: ISO/IEC 14496-12, 12.1.4."""
    values = [int.from_bytes(clap[place : place + 4], "big", signed=place >= 16) for place in range(0, 32, 4)]
    width, height, right, down = (Fraction(*values[place : place + 2]) for place in range(0, 8, 2))
    left = round(right + (image.shape[1] - width) / 2)
    top = round(down + (image.shape[0] - height) / 2)
    cropped = image[max(0, top) : top + int(height), max(0, left) : left + int(width)]
    if not cropped.size:
        raise ValueError("its crop leaves nothing")
    return cropped


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each box that stands in no other."""
    place = 0
    while place + 8 <= len(data):
        size, name, head = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        stop = place + size if size else len(data)
        if stop < place + head:
            raise ValueError("its boxes are damaged")
        yield name, data[place + head : stop]
        place = stop


def _uint(file: io.BytesIO, size: int) -> int:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("its boxes are cut short")
    return int.from_bytes(data, "big")


def _read_items(data: bytes) -> _Items:
    meta = dict(_boxes(next((content for name, content in _boxes(data) if name == b"meta"), b"")[4:]))
    if b"pitm" not in meta or b"iloc" not in meta or b"iinf" not in meta:
        raise ValueError("it has no primary picture")
    items = _Items()
    pitm = io.BytesIO(meta[b"pitm"])
    items.primary = _uint(pitm, 4 if _uint(pitm, 4) >> 24 else 2)
    file = io.BytesIO(meta[b"iinf"])
    _uint(file, 4 if _uint(file, 4) >> 24 else 2)  # how many there are
    for _, content in _boxes(file.read()):  # version 2 or 3: number, protection, kind
        width = 2 if content[:1] == b"\x02" else 4
        number = int.from_bytes(content[4 : 4 + width], "big")
        items.kinds[number] = content[6 + width : 10 + width]
    _read_places(items, meta[b"iloc"], data, meta.get(b"idat", b""))
    references = meta.get(b"iref", b"\0" * 4)
    width = 4 if references[0] else 2
    for name, content in _boxes(references[4:]):
        file = io.BytesIO(content)
        source = _uint(file, width)
        targets = [_uint(file, width) for _ in range(_uint(file, 2))]
        items.references.setdefault(name, []).append((source, targets))
    _read_properties(items, meta.get(b"iprp", b""))
    return items


def _read_places(items: _Items, iloc: bytes, data: bytes, idat: bytes) -> None:
    """Take each item's bytes from where iloc says that they are: ISO/IEC 14496-12, 8.11.3."""
    file = io.BytesIO(iloc)
    version, sizes = _uint(file, 4) >> 24, _uint(file, 2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(_uint(file, 4 if version == 2 else 2)):
        number = _uint(file, 4 if version == 2 else 2)
        source = idat if version and _uint(file, 2) & 15 == 1 else data
        _uint(file, 2)  # the file that it is in: this one
        base = _uint(file, base_size)
        parts = []
        for _ in range(_uint(file, 2)):
            _uint(file, index_size if version else 0)
            place = base + _uint(file, offset_size)
            length = _uint(file, length_size)
            parts.append(source[place : place + length] if length else source[place:])
            if len(parts[-1]) < length:
                parts.clear()  # it is cut off; it may be one that nobody needs
                break
        if parts and len(items.data) < 100_000:
            items.data[number] = b"".join(parts)


def _read_properties(items: _Items, iprp: bytes) -> None:
    boxes = dict(_boxes(iprp))
    shared = list(_boxes(boxes.get(b"ipco", b"")))
    for name, content in _boxes(iprp):
        if name != b"ipma":
            continue
        file = io.BytesIO(content)
        head = _uint(file, 4)
        for _ in range(_uint(file, 4)):
            number = _uint(file, 4 if head >> 24 else 2)
            places = [
                _uint(file, 2) & 0x7FFF if head & 1 else _uint(file, 1) & 0x7F for _ in range(_uint(file, 1))
            ]
            items.properties[number] = [shared[place - 1] for place in places if 0 < place <= len(shared)]
