"""What every encoder does alike: checked arguments, device and precision, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from PIL import Image

from videolib.cores import available_cores
from videolib.errors import ModelError
from videolib.images import ImageSource, open_image
from videolib.search import normalize
from videolib.shown import facts_html
from videolib.types import FloatArray, Frame, RGBArray

Precision = Literal["auto", "float32", "bfloat16", "float16"]
T = TypeVar("T")


def encoder_html(encoder: Any, height: int, width: int) -> str:
    """What a notebook shows of an encoder; height and width of the images that its model sees."""
    facts = {
        "model": encoder.model,
        "embedding": f"{encoder.dimension} numbers of an image of {width} x {height} pixels, or of a text",
        "computes": f"on {encoder.device} in {encoder.precision}, {encoder.batch_size} at a time",
    }
    return facts_html(type(encoder).__name__, facts)


def check_batch_size(size: int) -> int:
    """Give `size` back; ValueError if it is below 1."""
    if size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {size}")
    return size


def check_choice(name: str, value: str, kind: Any) -> None:
    """Raise ValueError unless `value` is one of those of a Literal."""
    if value not in get_args(kind):
        raise ValueError(f"{name} must be one of {get_args(kind)}, got {value!r}")


def check_texts(texts: Iterable[str]) -> None:
    """Raise ValueError where one text came instead of several."""
    if isinstance(texts, str):
        raise ValueError(f"texts must be several strings, got one: pass [{texts!r}]")


def check_text(text: object) -> None:
    """Raise ValueError where a text is something else."""
    if not isinstance(text, str):
        raise ValueError(f"texts must be strings, got {type(text).__name__}")


def too_long(text: str, count: int, limit: int) -> ValueError:
    """What to raise for a text of `count` tokens where a model reads `limit`."""
    return ValueError(
        f"texts must have at most {limit} tokens each, got {text[:60]!r}… with {count}: "
        "shorten it, or pass truncate=True"
    )


def pick_device(name: str) -> torch.device:
    """The device of that name, or the best for "auto"; on a CPU, torch gets no more threads than there are cores."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without CUDA
        raise ValueError(
            f"device must be one that torch can use here, got {name!r}: try 'auto' or 'cpu'"
        ) from error
    if device.type == "cpu":  # in a container torch counts the cores of the whole machine
        torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
    return device


def pick_precision(precision: str, device: torch.device) -> str:
    """The precision of that name, or the fastest there for "auto"."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "float16"  # as OpenAI's weights are published
    # A CPU without bfloat16 instructions takes it too, 4 to 9 times slower than float32. Before 2.5, torch
    # cannot tell.
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bfloat16" if device.type == "cpu" and native() else "float32"


def rgb_array(image: ImageSource) -> RGBArray:
    """An image as an RGB array (height, width, 3) uint8; ValueError if it is none."""
    if isinstance(image, Frame):
        image = image.image
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,) and image.size:
        return image  # by way of PIL it would be copied three times
    return np.asarray(open_image(image), dtype=np.uint8)


def embed_images(
    encoder: Any, images: Iterable[ImageSource], embed: Callable[[torch.Tensor], torch.Tensor]
) -> FloatArray:
    """Embed images by what an encoder makes of them, (b, height, width, 3) uint8 at a time: see `embed_batches`."""
    single = isinstance(images, str | bytes | os.PathLike | Image.Image | Frame)
    if single or (isinstance(images, np.ndarray) and images.ndim < 4):
        raise ValueError(
            f"images must be several pictures, got one {type(images).__name__}: wrap it in a list"
        )

    def stack(batch: list[ImageSource]) -> torch.Tensor:
        return torch.from_numpy(np.stack([encoder.prepare(image) for image in batch]))

    return embed_batches(encoder, images, stack, embed)


def embed_batches(
    encoder: Any,
    items: Iterable[T],
    prepare: Callable[[list[T]], torch.Tensor],
    embed: Callable[[torch.Tensor], torch.Tensor],
) -> FloatArray:
    """Embed items in an encoder's batches: (n, d) float32 unit rows; ModelError where they overflow the precision."""
    device: torch.device = encoder.device
    iterator = iter(items)
    rows = [torch.zeros((0, encoder.dimension), device=device)]
    cuda = device.type == "cuda"
    with torch.inference_mode():
        for batch in iter(lambda: list(islice(iterator, encoder.batch_size)), []):
            inputs = prepare(batch).pin_memory() if cuda else prepare(batch)
            embeddings = embed(inputs.to(device, non_blocking=cuda))  # (b, d)
            rows.append(embeddings.float())  # a GPU goes on with it while the next batch is prepared
    embedded = torch.cat(rows).cpu().numpy()
    if not np.isfinite(embedded).all():
        raise ModelError(
            "the model's embeddings must be finite, got NaN or infinity, as where its numbers outgrow "
            "float16: pass precision='bfloat16' or 'float32'"
        )
    return normalize(embedded)
