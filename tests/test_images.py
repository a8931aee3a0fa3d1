import contextlib
import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError, features

from tests.file_server import Reply, refusing_url
from tests.heif_files import box, write_heic
from tests.media import can_encode
from videolib import DownloadError, Frame
from videolib.demo import SAMPLE_VIDEO_PATH
from videolib.images import decode_jpeg, encode_jpeg, make_thumbnail, open_image

RED = (250, 10, 5)


def as_bytes(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def center(image: Image.Image) -> tuple[int, ...]:
    return image.getpixel((image.width // 2, image.height // 2))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_colour_mode_keeps_its_colour(mode):
    if mode == "LAB":
        image = Image.new("LAB", (8, 8), (136, 208, 195))  # CIE L*a*b* of the same red, offset by 128
        assert open_image(image).mode == "RGB"
        return
    opened = open_image(Image.new("RGB", (8, 8), RED).convert(mode))
    assert opened.mode == "RGB"
    np.testing.assert_allclose(center(opened), RED, atol=12)


@pytest.mark.parametrize(
    "image",
    [
        Image.new("L", (4, 4), 128),
        Image.new("LA", (4, 4), (128, 255)),
        Image.fromarray(np.full((4, 4), 128 * 257, dtype=np.uint16)),
        Image.fromarray(np.full((4, 4), 128 * 257, dtype=np.int32)),
        Image.fromarray(np.full((4, 4), 128, dtype=np.int32)),
    ],
    ids=["L", "LA", "I;16", "I of 16 bits", "I of 8 bits"],
)
def test_every_grey_mode_keeps_its_grey(image):
    assert center(open_image(image)) == (128, 128, 128)


def test_bilevel_is_black_and_white():
    assert center(open_image(Image.new("1", (4, 4), 1))) == (255, 255, 255)


def test_transparency_is_laid_over_white():
    assert center(open_image(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))) == (255, 255, 255)


def test_a_transparent_palette_entry_is_laid_over_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0])
    image.info["transparency"] = 0
    assert center(open_image(image)) == (255, 255, 255)


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert open_image(as_bytes(image, "JPEG", exif=exif)).size == (10, 20)


def test_a_path_bytes_an_array_and_a_frame_are_the_same_picture(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, size=(6, 9, 3), dtype=np.uint8)
    data = as_bytes(Image.fromarray(array), "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    for source in (path, str(path), data, array, Image.fromarray(array), Frame(1, 0.0, array)):
        np.testing.assert_array_equal(np.asarray(open_image(source)), array)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"not a picture", "readable picture, got 13 bytes"),
        (b"", "readable picture, got 0 bytes"),
        ("no/such.png", r"existing file, got 'no/such.png': check the path"),
        (3, "got int"),
        (None, "got NoneType"),
        (np.zeros((4, 4, 3)), r"uint8 array.*got float64 of shape \(4, 4, 3\)"),
        (np.zeros((4, 4, 2), np.uint8), r"got uint8 of shape \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"got uint8 of shape \(0, 4, 3\)"),
    ],
)
def test_what_is_no_picture_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        open_image(source)


def png_header(width: int, height: int) -> bytes:
    """A PNG of this size, whose pixels are a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("width", "height"), [(10_001, 10_000), (12_000, 14_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)]
)
@pytest.mark.filterwarnings("error")
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, width, height, monkeypatch):
    data = png_header(width, height)
    assert len(data) < 100
    path = tmp_path / "huge.png"
    path.write_bytes(data)

    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    for source in (data, path):
        with pytest.raises(ValueError, match=r"image must have .*pixels, got .*: make it smaller first"):
            open_image(source)


@pytest.mark.filterwarnings("error")
def test_a_large_picture_is_taken_without_a_warning():
    data = as_bytes(Image.new("L", (10_000, 9_500)), "PNG")  # Pillow warns from 90 million on
    assert open_image(data).size == (10_000, 9_500)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_a_damaged_avif_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    data = bytearray(as_bytes(Image.fromarray(noise), "AVIF"))
    raised = 0
    for place in range(20, len(data) - 20, 23):
        damaged = data.copy()
        damaged[place : place + 20] = bytes(20)
        try:
            open_image(bytes(damaged))
        except ValueError as error:
            assert str(error).startswith("image must be a readable picture, got ")  # noqa: PT017
            raised += 1
    assert raised > 10


FORMATS = ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "ICO", "TGA", "JPEG2000", "PCX", "DDS", "ICNS"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_picture_is_a_picture_or_refused(kind):
    """Pillow raises many kinds of errors."""
    dice = random.Random(0)
    noise = np.random.default_rng(0).integers(0, 256, size=(32, 32, 3), dtype=np.uint8)
    data = as_bytes(Image.fromarray(noise), kind)
    for _ in range(150):
        damaged = bytearray(data[: dice.choice([len(data), dice.randrange(len(data))])])
        for _ in range(dice.randrange(1, 8)):
            if damaged:
                damaged[dice.randrange(min(len(damaged), dice.choice([64, 10_000])))] = dice.randrange(256)
        try:
            assert open_image(bytes(damaged)).mode == "RGB"
            with contextlib.suppress(OSError, SyntaxError):  # where Pillow itself tells it at opening
                assert open_image(Image.open(io.BytesIO(damaged))).mode == "RGB"
        except ValueError as error:
            assert str(error).startswith("image must ")  # noqa: PT017


def test_an_address_is_shown_without_its_secrets():
    with pytest.raises(ValueError, match=r"got 'https://host/a.png'") as caught:
        open_image(Path("https://me:hush@host/a.png"))
    assert "hush" not in str(caught.value)
    address = refusing_url("/a.png?sig=hush").replace("http://", "http://me:hush@")
    with pytest.raises(DownloadError, match=r"download of http://127.0.0.1:\d+/a.png failed") as failed:
        open_image(address)
    assert "hush" not in str(failed.value)


def test_a_picture_at_an_address_is_fetched_once(server):
    url = server.add("/red.png", Reply(as_bytes(Image.new("RGB", (8, 8), RED), "PNG")))
    assert center(open_image(url)) == RED
    assert len(server.requests) == 1


def test_a_cut_jpeg_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    data = as_bytes(Image.fromarray(noise), "JPEG")
    with pytest.raises(ValueError, match="readable picture"):
        open_image(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1080, 1920), (270, 480)), ((1920, 1080), (480, 270)), ((100, 200), (100, 200)), ((1, 4000), (1, 480))],
)
def test_jpeg_is_shrunk_by_its_long_side_and_never_enlarged(shape, expected):
    image = np.full((*shape, 3), 100, dtype=np.uint8)
    assert decode_jpeg(encode_jpeg(image)).shape == (*expected, 3)


def test_jpeg_keeps_red_red():
    image = np.full((64, 64, 3), RED, dtype=np.uint8)
    np.testing.assert_allclose(decode_jpeg(encode_jpeg(image))[32, 32], RED, atol=4)


@pytest.mark.parametrize(("value", "grey"), [(0, 0), (200, 200), (255, 255), (256, 0), (65535, 255)])
def test_greys_have_16_bits_where_one_is_above_255(value, grey):
    array = np.zeros((4, 4), dtype=np.int32)
    array[2, 2] = value
    assert center(open_image(Image.fromarray(array))) == (grey, grey, grey)


def test_a_thumbnail_is_the_mean_of_what_it_covers():
    board = np.indices((960, 960)).sum(axis=0) % 2 * 255  # black and white in turn
    thumbnail = make_thumbnail(np.stack([board.astype(np.uint8)] * 3, axis=-1))
    assert thumbnail.shape == (480, 480, 3)
    np.testing.assert_allclose(thumbnail, 127.5, atol=1)


HEVC = pytest.mark.skipif(not can_encode("libx265"), reason="this PyAV has no encoder libx265")
CORNERS = {"red": RED, "green": (5, 200, 10), "blue": (5, 10, 220), "white": (255, 255, 255)}


def corners(width: int = 180, height: int = 110) -> np.ndarray:
    """Red and green above, blue and white below."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    for place, colour in enumerate(CORNERS.values()):
        top, left = place // 2 * height // 2, place % 2 * width // 2
        image[top:, left:] = colour
    return image


def read_corners(image: Image.Image) -> str:
    width, height = image.size
    names = []
    for x, y in [(5, 5), (width - 6, 5), (5, height - 6), (width - 6, height - 6)]:
        found = np.array(image.getpixel((x, y)), dtype=int)
        name, colour = min(CORNERS.items(), key=lambda each: np.abs(found - each[1]).sum())
        assert np.abs(found - colour).max() < 8
        names.append(name)
    return " ".join(names)


def irot(quarters: int) -> bytes:
    return box(b"irot", bytes([quarters]))


def imir(axis: int) -> bytes:
    return box(b"imir", bytes([axis]))


@HEVC
@pytest.mark.parametrize("tile", [None, 64])
@pytest.mark.parametrize(
    ("transforms", "size", "expected"),
    [
        ([], (180, 110), "red green blue white"),
        ([irot(1)], (110, 180), "green white red blue"),  # to the left
        ([irot(2)], (180, 110), "white blue green red"),
        ([irot(3)], (110, 180), "blue red white green"),
        ([imir(0)], (180, 110), "blue white red green"),
        ([imir(1)], (180, 110), "green red white blue"),
        ([imir(1), irot(1)], (110, 180), "red blue green white"),
        ([irot(1), imir(1)], (110, 180), "white green blue red"),
    ],
)
def test_heic_is_read_upright(tile, transforms, size, expected, tmp_path):
    """Sizes and corners are those that libheif shows."""
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(write_heic(corners(), tile=tile, transforms=transforms))
    for source in (path, str(path), path.read_bytes()):
        image = open_image(source)
        assert image.mode == "RGB"
        assert image.size == size
        assert read_corners(image) == expected


@HEVC
def test_heic_has_the_same_colours_as_png():
    noise = np.random.default_rng(0).integers(0, 256, size=(6, 9, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(noise).resize((180, 110), Image.Resampling.BICUBIC))
    shown = np.asarray(open_image(write_heic(image, tile=64)), dtype=int)
    assert np.abs(shown - image).max() <= 4


@HEVC
def test_heic_transparency_is_laid_over_white():
    alpha = np.full((110, 180), 255, dtype=np.uint8)
    alpha[:55, :90] = 0
    image = open_image(write_heic(corners(), alpha=alpha, transforms=[irot(2)]))
    assert read_corners(image) == "white blue green white"


@HEVC
def test_heic_is_cropped_to_its_clean_aperture():
    clap = struct.pack(">8i", 100, 1, 60, 1, 0, 1, 0, 1)
    image = open_image(write_heic(corners(), transforms=[box(b"clap", clap)]))
    assert image.size == (100, 60)
    assert read_corners(image) == "red green blue white"


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_avif_without_pillow_s_help(monkeypatch):
    data = as_bytes(Image.fromarray(corners()), "AVIF", quality=95)

    def refuse(*_):
        raise UnidentifiedImageError("no plugin")

    monkeypatch.setattr(Image, "open", refuse)
    assert read_corners(open_image(data)) == "red green blue white"


@HEVC
@pytest.mark.parametrize("tile", [None, 64])
def test_heic_of_too_many_pixels_is_refused(tile):
    data = write_heic(corners(), tile=tile, grid_size=(60_000, 60_000))
    with pytest.raises(
        ValueError, match=r"image must have at most 100,000,000 pixels, got .*: make it smaller"
    ):
        open_image(data)


@HEVC
def test_heic_whose_tiles_do_not_fill_it_is_refused():
    with pytest.raises(
        ValueError, match=r"image must be a readable picture, got .* tiles do not fill its width"
    ):
        open_image(write_heic(corners(), tile=64, grid_size=(600, 110)))


@HEVC
def test_a_damaged_heic_is_a_picture_or_refused():
    dice = random.Random(0)
    data = write_heic(
        corners(), tile=64, alpha=np.full((110, 180), 200, dtype=np.uint8), transforms=[irot(1)]
    )
    refused = 0
    for _ in range(300):
        damaged = bytearray(data[: dice.choice([len(data), dice.randrange(len(data))])])
        for _ in range(dice.randrange(1, 8)):
            damaged[dice.randrange(min(len(damaged), dice.choice([900, 100_000])))] = dice.randrange(256)
        try:
            assert open_image(bytes(damaged)).mode == "RGB"
        except ValueError as error:
            refused += 1
            assert str(error).startswith("image must ")  # noqa: PT017
    assert 50 < refused < 300


def test_a_video_is_no_picture():
    with pytest.raises(ValueError, match="image must be a readable picture"):
        open_image(SAMPLE_VIDEO_PATH)
