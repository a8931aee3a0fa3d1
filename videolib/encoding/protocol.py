"""What the rest of videolib needs of a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from videolib.images import ImageSource
from videolib.types import FloatArray


@runtime_checkable
class Encoder(Protocol):
    """What the rest of videolib needs of a model: anything with these five members will do."""

    model: str
    """Name that is stored beside the embeddings, so that those of two models are never mixed."""
    dimension: int
    """Length d of an embedding."""

    def prepare(self, image: ImageSource) -> ImageSource:
        """Make of an image what is kept until `encode_images` gets it, as small as the model allows.

        It is called from several threads at once. The embedding must not change by it; returning the image
        itself is right.
        """

    def encode_images(self, images: Iterable[ImageSource]) -> FloatArray:
        """Embed images: (n, d) float32 unit rows."""

    def encode_texts(self, texts: Iterable[str]) -> FloatArray:
        """Embed texts: (n, d) float32 unit rows."""
