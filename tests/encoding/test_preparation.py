"""The fast preprocessing against clip's own, on sources of all shapes."""

import numpy as np
import pytest
from clip.clip import _transform
from PIL import Image

from videolib import ClipEncoder
from videolib.encoding import clip as encoding

SHAPES = [  # height, width
    *(
        (520, 240),
        (1000, 230),
        (500, 100),
        (2000, 240),
        (480, 240),
        (482, 240),
        (479, 240),
        (470, 240),
        (1280, 720),
    ),
    *(
        (240, 520),
        (230, 1000),
        (100, 500),
        (240, 2000),
        (720, 1280),
        (300, 290),
        (290, 300),
        (400, 96),
        (96, 400),
    ),
    *(
        (20, 30),
        (70, 30),
        (30, 20),
        (3, 1),
        (1, 3),
        (500, 224),
        (224, 500),
        (409, 205),
        (395, 198),
        (1920, 886),
    ),
]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, size=(height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [96, 224, 336])
def test_fast_and_clip_s_own_are_two_grey_levels_apart_at_most(size):
    resize = _transform(size).transforms[:2]
    for shape in SHAPES:
        picture = Image.fromarray(noise(*shape))
        for step in resize:
            picture = step(picture)
        difference = encoding._resize_fast(noise(*shape), size).astype(int) - np.asarray(picture)
        assert np.abs(difference).max() <= 2, shape


def test_embeddings_of_both_go_together(encoder):
    exact = ClipEncoder("demo", device="cpu", precision="float32", preprocess="reference")
    fast = ClipEncoder("demo", device="cpu", precision="float32")
    images = [noise(*shape) for shape in SHAPES]
    cosines = np.sum(fast.encode_images(images) * exact.encode_images(images), axis=1)
    assert cosines.min() > 0.9995, SHAPES[int(cosines.argmin())]


@pytest.mark.parametrize("shape", [(520, 240), (360, 640)])
def test_the_result_owns_its_memory(shape):
    image = noise(*shape)
    prepared = encoding._resize_fast(image, 96)
    before = prepared.copy()
    image[:] = 0
    assert np.array_equal(prepared, before)
