"""How images and texts become unit vectors of one common space."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from PIL import Image

from videolib.demo import DEMO_MODEL_PATH
from videolib.downloads import clip_weights_path
from videolib.errors import ModelError
from videolib.frames import Frame
from videolib.images import ImageSource, open_image
from videolib.similarity import FloatArray, normalize

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import clip

T = TypeVar("T")


@runtime_checkable
class Encoder(Protocol):
    """What the rest of videolib needs of a model: anything with these four members will do."""

    model: str
    """Name that is stored beside the embeddings, so that those of two models are never mixed."""
    dimension: int
    """Length d of an embedding."""

    def encode_images(self, images: Iterable[ImageSource]) -> FloatArray:
        """Embed images: (n, d) float32 unit rows."""

    def encode_texts(self, texts: Iterable[str]) -> FloatArray:
        """Embed texts: (n, d) float32 unit rows."""


class ClipEncoder:
    """OpenAI's CLIP (https://github.com/openai/CLIP, arXiv:2103.00020) as an `Encoder`.

    Parameters
    ----------
    model
        A name in `clip.available_models()`, such as "ViT-B/32"; the path of a checkpoint; or "demo", the
        small model that comes with videolib and knows only drawn scenes.
    device
        "auto" takes a CUDA GPU, else Apple's MPS, else the CPU; or any name that torch knows.
    batch_size
        How many images or texts go through the model at once.

    Raises
    ------
    ValueError
        If the model's name or the device is unknown, or batch_size is below 1.
    ModelError
        If the weights cannot be found, downloaded or read.
    """

    def __init__(
        self, model: str | os.PathLike[str] = "ViT-B/32", *, device: str = "auto", batch_size: int = 32
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.batch_size = batch_size
        self.device = _pick_device(device)
        path = DEMO_MODEL_PATH if model == "demo" else clip_weights_path(os.fspath(model))
        self.model = _model_name(path)
        self._clip, self._preprocess = _load(path, self.device)
        self.dimension = int(self._clip.text_projection.shape[1])

    def __repr__(self) -> str:
        return f"ClipEncoder({self.model!r}, device={str(self.device)!r}, dimension={self.dimension})"

    def encode_images(self, images: Iterable[ImageSource]) -> FloatArray:
        """Embed images, batch by batch.

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
            If `images` is one picture instead of several, or one of them is not a picture.
        """
        single = isinstance(images, str | bytes | os.PathLike | Image.Image | Frame)
        if single or (isinstance(images, np.ndarray) and images.ndim < 4):
            raise ValueError(
                f"images must be several pictures, got one {type(images).__name__}: wrap it in a list"
            )
        return self._encode(
            images,
            lambda batch: torch.stack([self._preprocess(open_image(image)) for image in batch]),
            lambda batch: self._clip.encode_image(batch.to(self._clip.dtype)),
        )

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
        if isinstance(texts, str):
            raise ValueError(f"texts must be several strings, got one: pass [{texts!r}]")
        return self._encode(
            texts,
            lambda batch: torch.cat([_tokenize(text, self._clip.context_length, truncate) for text in batch]),
            self._clip.encode_text,
        )

    def _encode(
        self,
        items: Iterable[T],
        prepare: Callable[[list[T]], torch.Tensor],
        embed: Callable[[torch.Tensor], torch.Tensor],
    ) -> FloatArray:
        iterator = iter(items)
        rows = [np.zeros((0, self.dimension), dtype=np.float32)]
        with torch.inference_mode():
            for batch in iter(lambda: list(islice(iterator, self.batch_size)), []):
                embedding = embed(prepare(batch).to(self.device))  # (b, d)
                rows.append(normalize(embedding.float().cpu().numpy()))
        return np.concatenate(rows)


def _pick_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without CUDA
        raise ValueError(
            f"device must be one that torch can use here, got {name!r}: try 'auto' or 'cpu'"
        ) from error


def _model_name(path: Path) -> str:
    """OpenAI's name where the file is one of theirs, else the file's stem and the start of its SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # OpenAI's addresses carry the digest as their last folder.
    official: dict[str, str] = {url.split("/")[-2]: name for name, url in clip.clip._MODELS.items()}
    return official.get(digest, f"{path.stem}-{digest[:8]}")


def _load(path: Path, device: torch.device) -> tuple[clip.model.CLIP, Callable[..., torch.Tensor]]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`torch.jit.load` is deprecated")
            model, preprocess = clip.load(str(path), device=device)
    except Exception as error:  # torch raises nearly anything on a damaged file
        raise ModelError(
            f"model must be a CLIP checkpoint, got {str(path)!r}, which cannot be read: {error}"
        ) from error
    if device.type == "mps":  # clip loads half precision on every device but the CPU
        model.float()
    return model.eval(), preprocess


def _tokenize(text: str, context_length: int, truncate: bool) -> torch.Tensor:
    if not isinstance(text, str):
        raise ValueError(f"texts must be strings, got {type(text).__name__}")
    try:
        tokens: torch.Tensor = clip.tokenize(text, context_length, truncate)  # (1, context_length)
        return tokens
    except RuntimeError as error:
        raise ValueError(
            f"texts must have at most {context_length} tokens each, got {text[:60]!r}… with "
            f"{len(clip.clip._tokenizer.encode(text)) + 2}: shorten it, or pass truncate=True"
        ) from error
