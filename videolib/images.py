"""How an image becomes RGB, and how it becomes a JPEG and back."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from videolib.addresses import hide_secrets, is_address, local_path
from videolib.heif import decode_heif, is_heif
from videolib.types import Frame, RGBArray

ImageSource: TypeAlias = RGBArray | Image.Image | Frame | bytes | str | os.PathLike[str]
MAX_IMAGE_BYTES = 50_000_000  # of a download
MAX_PIXELS = 100_000_000  # of a file, by its header: 300 MB as RGB


def open_image(image: ImageSource) -> Image.Image:
    """Open an image as an upright RGB PIL image.

    Transparency is laid over white, EXIF orientation is applied, 16-bit greys are scaled to 8 bits. It takes all
    that Pillow reads, and HEIC, as phones take it.

    Parameters
    ----------
    image
        An RGB array (height, width, 3), a grey one (height, width) or one with alpha (height, width, 4),
        each uint8; a PIL image of any mode; a `Frame`; the bytes of an image file, such as a match's
        frame_data; a path; or an http(s) address, which is fetched.

    Raises
    ------
    ValueError
        If it is none of these, empty, not readable, or a file of over 100 million pixels.
    DownloadError
        If an address does not answer, or with more than 50 MB.
    """
    if isinstance(image, str) and is_address(image):
        return _fetch_image(image)
    if isinstance(image, Frame):
        image = image.image
    if isinstance(image, np.ndarray):
        return _convert(_from_array(image))
    if not isinstance(image, Image.Image | bytes | str | os.PathLike):
        raise ValueError(
            "image must be an array, a PIL image, a Frame, the bytes of an image file or a path, "
            f"got {type(image).__name__}"
        )
    if isinstance(image, Image.Image):
        name = f"a PIL image of {image.width} x {image.height}"
    else:
        name = f"{len(image)} bytes" if isinstance(image, bytes) else repr(hide_secrets(image))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is another one
            if isinstance(image, Image.Image):
                return _convert(image)  # it may be a file that is not decoded yet
            with _open_file(io.BytesIO(image) if isinstance(image, bytes) else local_path(image)) as opened:
                size = f"{opened.width:,} x {opened.height:,}"
                if opened.width * opened.height <= MAX_PIXELS:
                    return _convert(opened)
    except FileNotFoundError:
        raise ValueError(f"image must be an existing file, got {name}: check the path") from None
    except Image.DecompressionBombError:  # twice Pillow's own limit, which the program may have set
        size = "even more"
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise ValueError(f"image must be a readable picture, got {name}: {error}") from error
    raise ValueError(
        f"image must have at most {MAX_PIXELS:,} pixels, got {name} of {size}: make it smaller first"
    )


def _open_file(source: io.BytesIO | Path) -> Image.Image:
    try:
        return Image.open(source)
    except UnidentifiedImageError:
        with source.open("rb") if isinstance(source, Path) else source as file:
            file.seek(0)
            if not is_heif(file.read(512)):
                raise
            file.seek(0)
            return decode_heif(file.read(), max_pixels=MAX_PIXELS)


def _fetch_image(address: str) -> Image.Image:
    from videolib.downloads import download_file  # what is not fetched needs no client

    with tempfile.TemporaryDirectory() as folder:
        path = download_file(address, Path(folder) / "image", max_bytes=MAX_IMAGE_BYTES, progress=False)
        return open_image(path)


def resize(image: RGBArray, width: int, height: int) -> RGBArray:
    """Shrink an RGB image to (height, width, 3), each pixel the mean of those it covers."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def make_thumbnail(image: RGBArray, *, long_side: int = 480) -> RGBArray:
    """Shrink an RGB image (height, width, 3) to `long_side` pixels where it is larger."""
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return image
    return resize(image, max(1, round(width * scale)), max(1, round(height * scale)))


def encode_jpeg(image: RGBArray, *, long_side: int = 480, quality: int = 85) -> bytes:
    """Encode an RGB image (height, width, 3) as JPEG, shrunk to `long_side` pixels where it is larger."""
    image = make_thumbnail(image, long_side=long_side)
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])  # OpenCV wants BGR
    return data.tobytes()


def decode_jpeg(data: bytes) -> RGBArray:
    """Decode the JPEG of a frame_data cell to RGB (height, width, 3); ValueError if it is none."""
    return np.asarray(open_image(data), dtype=np.uint8)


def _from_array(array: npt.NDArray[np.uint8]) -> Image.Image:
    grey = array.ndim == 2
    if (
        array.dtype != np.uint8
        or not (grey or (array.ndim == 3 and array.shape[2] in (3, 4)))
        or not array.size
    ):
        raise ValueError(
            "image must be a uint8 array of shape (height, width, 3), RGB, "
            f"got {array.dtype} of shape {array.shape}"
        )
    return Image.fromarray(array)


def _convert(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.getextrema()[1] > 255):  # type: ignore[operator]
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return image.convert("RGB")
