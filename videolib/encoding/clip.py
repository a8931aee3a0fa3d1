"""`ClipEncoder`: OpenAI's CLIP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from videolib.encoding.batches import (
    Precision,
    check_batch_size,
    check_choice,
    check_text,
    check_texts,
    embed_batches,
    embed_images,
    encoder_html,
    pick_device,
    pick_precision,
    rgb_array,
    too_long,
)
from videolib.encoding.towers import clip, embed_pixels, embed_tokens, is_quick, load_clip
from videolib.encoding.weights import find_weights, model_name
from videolib.images import ImageSource
from videolib.shown import shorten
from videolib.types import FloatArray, RGBArray

Preprocess = Literal["fast", "reference"]
Activation = Literal["auto", "quick_gelu", "gelu"]


class ClipEncoder:
    """OpenAI's CLIP (https://github.com/openai/CLIP, arXiv:2103.00020) as an `Encoder`.

    Parameters
    ----------
    model
        A name in `clip.available_models()`, such as "ViT-B/32"; the path of a checkpoint; or "demo", the
        small model that comes with videolib and knows only drawn scenes.
    device
        "auto" takes a CUDA GPU, else Apple's MPS, else the CPU; or any name that torch knows. On a CPU torch gets
        no more threads than this process has cores, for all that it does.
    batch_size
        How many images or texts go through the model at once.
    precision
        What the model computes in; embeddings are float32 always, and those of all precisions go together.
        "auto" takes bfloat16 on a CPU that has it in hardware, float16 on a CUDA GPU, else float32.
    preprocess
        "fast" resizes as clip does, several times faster and at most two grey levels apart (images about twice
        as high as wide, or higher, as fast as clip); "reference" is clip's own preprocessing, bit for bit.
    activation
        What the model was trained with, which its weights do not show: "quick_gelu", as all of OpenAI's, or "gelu",
        as most of open_clip's. "auto" is "quick_gelu", with a warning where the file is not known to be OpenAI's.

    Raises
    ------
    ValueError
        If the model's name or another argument is unknown, or batch_size is below 1.
    ModelError
        If the weights cannot be found, downloaded or read.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "ViT-B/32",
        *,
        device: str = "auto",
        batch_size: int = 32,
        precision: Precision = "auto",
        preprocess: Preprocess = "fast",
        activation: Activation = "auto",
    ):
        self._again = partial(type(self), model, device=device, batch_size=batch_size, precision=precision)
        self._again = partial(self._again, preprocess=preprocess, activation=activation)
        self.batch_size = check_batch_size(batch_size)
        check_choice("precision", precision, Precision)
        check_choice("preprocess", preprocess, Preprocess)
        check_choice("activation", activation, Activation)
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        path = find_weights(model)
        self._clip = load_clip(path, self.device, getattr(torch, self.precision), activation)
        # another activation gives other embeddings, which are not to be mixed with these
        self.model = model_name(path) + ("" if is_quick(self._clip.transformer) else "-gelu")
        self.dimension = int(self._clip.text_projection.shape[1])
        self._resolution = int(self._clip.visual.input_resolution)
        self._resize = _resize_fast if preprocess == "fast" else _resize_as_clip

    def __reduce__(self) -> tuple[Callable[[], ClipEncoder], tuple[()]]:
        """Go to another process as what it was made of: each machine finds the weights and its device itself."""
        return self._again, ()

    def __repr__(self) -> str:
        model = shorten(self.model, 60)
        return f"ClipEncoder({model!r}, device={str(self.device)!r}, dimension={self.dimension})"

    def _repr_html_(self) -> str:
        return encoder_html(self, self._resolution, self._resolution)

    def prepare(self, image: ImageSource) -> RGBArray:
        """Shrink and crop an image to what the model sees of it, (r, r, 3) uint8 RGB, on one thread.

        `encode_images` does so itself: call this to keep, of many images, no more than it needs. The embedding
        of a prepared image is that of the image. Any thread may call it.

        Raises
        ------
        ValueError
            If it is not an image.
        """
        pixels = rgb_array(image)
        size = self._resolution
        return pixels if pixels.shape == (size, size, 3) else self._resize(pixels, size)

    def encode_images(self, images: Iterable[ImageSource]) -> FloatArray:
        """Embed images, batch by batch. Any thread may call it.

        Parameters
        ----------
        images
            RGB arrays (height, width, 3) uint8, PIL images, `Frame`s, paths, or bytes of image files; a
            generator is consumed one batch at a time.

        Returns
        -------
        (n, d) float32, unit rows, in the order given.

        Raises
        ------
        ValueError
            If `images` is one image instead of several, or one of them is none.
        ModelError
            If the model's numbers outgrow its precision.
        """
        return embed_images(self, images, partial(embed_pixels, self._clip))

    def encode_texts(self, texts: Iterable[str], *, truncate: bool = False) -> FloatArray:
        """Embed texts, batch by batch.

        Parameters
        ----------
        texts
            Each at most 75 tokens (77 with CLIP's start and end tokens); English works best.
        truncate
            Cut longer texts instead of refusing them.

        Returns
        -------
        (n, d) float32, unit rows, in the order given.

        Raises
        ------
        ValueError
            If `texts` is one string, or a text is too long or not a string.
        """
        check_texts(texts)
        length = self._clip.context_length
        return embed_batches(
            self,
            texts,
            lambda batch: torch.cat([_tokenize(text, length, truncate) for text in batch]),
            partial(embed_tokens, self._clip),
        )


def _resize_fast(pixels: RGBArray, size: int) -> RGBArray:
    height, width = pixels.shape[:2]
    if height > 1.9 * width and width > size:
        # Pillow from 13 on shrinks tall pictures the other way first, and rounds in between
        return _resize_as_clip(pixels, size)
    pixels = np.require(pixels, requirements=["C", "W"])  # as torch demands of an array
    planes = torch.from_numpy(pixels).permute(2, 0, 1)  # (3, height, width)
    planes = v2.functional.resize(planes, [size], v2.InterpolationMode.BICUBIC, antialias=True)
    planes = v2.functional.center_crop(planes, [size, size])
    # Always a copy: a view would keep all of the image in memory, or change with it.
    square: RGBArray = planes.permute(1, 2, 0).clone(memory_format=torch.contiguous_format).numpy()
    return square


def _resize_as_clip(pixels: RGBArray, size: int) -> RGBArray:
    image = Image.fromarray(pixels)
    for step in clip.clip._transform(size).transforms[:2]:  # the next three make it a normalised tensor
        image = step(image)
    return np.asarray(image, dtype=np.uint8)


def _tokenize(text: str, context_length: int, truncate: bool) -> torch.Tensor:
    check_text(text)
    try:
        tokens: torch.Tensor = clip.tokenize(text, context_length, truncate)  # (1, context_length)
        return tokens
    except RuntimeError as error:
        raise too_long(text, len(clip.clip._tokenizer.encode(text)) + 2, context_length) from error
