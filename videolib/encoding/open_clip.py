"""`OpenClipEncoder`: any model of open_clip, such as SigLIP 2, MobileCLIP 2, PE or CoCa."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

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
from videolib.encoding.open_clip_files import find_files, import_open_clip, load_model, load_tokenizer
from videolib.errors import ModelError
from videolib.images import ImageSource
from videolib.types import FloatArray, RGBArray


class OpenClipEncoder:
    """A model of open_clip (https://github.com/mlfoundations/open_clip) as an `Encoder`; needs ``videolib[open-clip]``.

    Images are prepared as the model was trained, and texts cut into its own tokens.

    Parameters
    ----------
    architecture
        A name in `open_clip.list_models()`, such as "ViT-B-16-SigLIP2-256".
    pretrained
        The weights: a name in `open_clip.list_pretrained_tags_by_model(architecture)`, such as "webli", taken from the
        hub's cache or downloaded into it (the environment's `HF_HUB_CACHE`, else under `HF_HOME`, else in
        ``~/.cache/huggingface``); a folder as the hub has it, with tokenizer and ``open_clip_config.json``; or a file.
        A file does not tell how its images are prepared: as those of all published weights of the architecture.
    device, batch_size, precision
        As in `ClipEncoder`.

    Raises
    ------
    ValueError
        If an argument is unknown, or batch_size is below 1.
    ModelError
        If weights or tokenizer cannot be found, downloaded or read.
    ImportError
        If open_clip is not installed.
    """

    def __init__(
        self,
        architecture: str,
        pretrained: str | os.PathLike[str],
        *,
        device: str = "auto",
        batch_size: int = 32,
        precision: Precision = "auto",
    ):
        self._again = partial(type(self), architecture, pretrained, device=device, batch_size=batch_size)
        self._again = partial(self._again, precision=precision)
        self.batch_size = check_batch_size(batch_size)
        check_choice("precision", precision, Precision)
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        files = find_files(architecture, pretrained)
        self._tokenizer = load_tokenizer(files)
        self._dtype = getattr(torch, self.precision)
        self._model = load_model(files)
        try:
            self._model.to(self.device, self._dtype)
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                f"model must fit {device}, and {files.name!r} does not: try device='cpu'"
            ) from error
        self.model = files.name
        open_clip = import_open_clip()
        self.dimension = int(open_clip.get_model_config(files.source)["embed_dim"])
        settings = open_clip.transform.PreprocessCfg(**self._model.visual.preprocess_cfg)
        *self._resize, _, _, scale = open_clip.transform.image_transform_v2(
            settings, is_train=False
        ).transforms
        self._mean = torch.tensor(scale.mean, device=self.device)
        self._std = torch.tensor(scale.std, device=self.device)
        size = settings.size
        self._shape = (size, size, 3) if isinstance(size, int) else (*size, 3)

    def __reduce__(self) -> tuple[Callable[[], OpenClipEncoder], tuple[()]]:
        """Go to another process as what it was made of: each machine finds the weights and its device itself."""
        return self._again, ()

    def __repr__(self) -> str:
        return f"OpenClipEncoder({self.model!r}, device={str(self.device)!r}, dimension={self.dimension})"

    def _repr_html_(self) -> str:
        return encoder_html(self, *self._shape[:2])

    def prepare(self, image: ImageSource) -> RGBArray:
        """Shrink and crop an image to what the model sees of it, (height, width, 3) uint8 RGB, on one thread.

        `encode_images` does so itself: call this to keep, of many images, no more than it needs. The embedding
        of a prepared image is that of the image. Any thread may call it.

        Raises
        ------
        ValueError
            If it is not an image.
        """
        pixels = rgb_array(image)
        if pixels.shape == self._shape:
            return pixels
        picture = Image.fromarray(pixels)
        for step in self._resize:
            picture = step(picture)
        return np.asarray(picture, dtype=np.uint8)

    def encode_images(self, images: Iterable[ImageSource]) -> FloatArray:
        """Embed images, batch by batch, as `ClipEncoder.encode_images` does. Any thread may call it.

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
        return embed_images(self, images, self._embed_pixels)

    def encode_texts(self, texts: Iterable[str], *, truncate: bool = False) -> FloatArray:
        """Embed texts, batch by batch, as `ClipEncoder.encode_texts` does.

        How many tokens a text may have is the model's: 77 for most, 64 for SigLIP 2, 32 for PE.

        Returns
        -------
        (n, d) float32, unit rows, in the order given.

        Raises
        ------
        ValueError
            If `texts` is one string, or a text is too long or not a string.
        """
        check_texts(texts)
        return embed_batches(self, texts, lambda batch: self._tokenize(batch, truncate), self._embed_tokens)

    def _embed_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        scaled = pixels.permute(0, 3, 1, 2).float().div_(255)  # (n, 3, height, width)
        scaled = scaled.sub_(self._mean[:, None, None]).div_(self._std[:, None, None])
        rows: torch.Tensor = self._model.encode_image(scaled.to(self._dtype), normalize=False)
        return rows

    def _embed_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self._model.encode_text(tokens, normalize=False)
        return rows

    def _tokenize(self, texts: list[str], truncate: bool) -> torch.Tensor:
        for text in texts:
            check_text(text)
            limit = self._tokenizer.context_length
            if not truncate and (count := _count_tokens(self._tokenizer, text)) > limit:
                raise too_long(text, count, limit)
        tokens: torch.Tensor = self._tokenizer(texts)  # (n, context_length)
        return tokens


def _count_tokens(tokenizer: Any, text: str) -> int:
    """How many tokens a text has with those at its ends, of which the tokenizer itself cuts what is too much."""
    if hasattr(tokenizer, "encode"):  # CLIP's own
        return len(tokenizer.encode(text)) + 2
    return len(tokenizer.tokenizer(tokenizer.clean_fn(text)).input_ids)
