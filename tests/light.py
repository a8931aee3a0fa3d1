"""An encoder that needs no model, for tests of everything but embeddings."""

from collections.abc import Iterable

import numpy as np

from videolib.images import ImageSource, resize
from videolib.search import normalize
from videolib.types import FloatArray, Frame, RGBArray


class LightEncoder:
    """Embeds an image as the colours of its 4 x 4 parts, and a text as noise of its own."""

    model, dimension = "light", 48

    def __init__(self) -> None:
        self.count = 0  # of images

    def prepare(self, image: ImageSource) -> RGBArray:
        return resize(image.image if isinstance(image, Frame) else image, 4, 4)

    def encode_images(self, images: Iterable[ImageSource]) -> FloatArray:
        small = [self.prepare(image) for image in images]
        self.count += len(small)
        return normalize(np.stack(small).reshape(-1, self.dimension) + 1.0)

    def encode_texts(self, texts: Iterable[str]) -> FloatArray:
        rows = [np.random.default_rng(list(text.encode())).normal(size=self.dimension) for text in texts]
        return normalize(np.stack(rows))
