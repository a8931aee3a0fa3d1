"""Both encoders on a CUDA GPU beside float32 on the CPU; skipped where torch finds none.

It needs no fixture of the other tests, so that it also runs where less is installed:
`pytest --noconftest tests/encoding/test_cuda.py`.
"""

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from videolib.encoding import ClipEncoder, OpenClipEncoder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU"),
]

FAMILIES = ["clip", "siglip2", "mobileclip2", "pe", "coca"]
PRECISIONS = ["float32", "float16", "bfloat16"]
TEXTS = ["a red car", "a blue boat on the sea", "", "ein rotes Auto", "two trees"]


@pytest.fixture(scope="module", params=["demo", *FAMILIES])
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Make an encoder of the demo model, or of a small random one of open_clip."""
    if request.param == "demo":
        yield lambda **options: ClipEncoder("demo", **options)
        return
    for library in ("open_clip", "transformers"):
        pytest.importorskip(library, reason="needs videolib[open-clip]")
    from tests.encoding.open_clip_models import TAG, small_models

    with small_models(tmp_path_factory.mktemp("open_clip")):
        yield lambda **options: OpenClipEncoder(f"small-{request.param}", TAG, **options)


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, size=(90 + number, 160, 3), dtype=np.uint8) for number in range(count)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_precision_gives_what_the_cpu_gives(make, precision):
    exact = make(device="cpu", precision="float32")
    encoder = make(device="cuda", precision=precision)
    assert encoder.model == exact.model
    for one, other in (
        (encoder.encode_images(pictures(6)), exact.encode_images(pictures(6))),
        (encoder.encode_texts(TEXTS), exact.encode_texts(TEXTS)),
    ):
        assert one.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-6)
        cosines = np.sum(one * other, axis=1)
        print(f"{encoder.model} {precision}: {1 - cosines.min():.1e} below 1 at most")  # with pytest -s
        assert cosines.min() > (0.99999 if precision == "float32" else 0.999)


def test_the_gpu_is_taken_by_itself_with_half_the_bits(make):
    encoder = make()
    assert (encoder.device.type, encoder.precision) == ("cuda", "float16")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_batches_come_back_in_their_order(make, precision):
    """Each is transferred while the one before is embedded: none may write over another."""
    small = make(device="cuda", precision=precision, batch_size=3)
    whole = make(device="cuda", precision=precision, batch_size=64)
    images = pictures(20)
    rows = small.encode_images(iter(images))
    off = 1e-5 if precision == "float32" else 2e-2  # another batch size takes other kernels
    np.testing.assert_allclose(rows, whole.encode_images(images), atol=off)
    np.testing.assert_allclose(small.encode_images(images[::-1]), rows[::-1], atol=off)
    texts = [f"{number} cars" for number in range(20)]
    np.testing.assert_allclose(small.encode_texts(texts), whole.encode_texts(texts), atol=off)
    np.testing.assert_allclose(small.encode_images(small.prepare(image) for image in images), rows, atol=1e-6)


def test_memory_does_not_grow_with_the_number_of_images(make):
    encoder = make(device="cuda", batch_size=4)
    few, many = pictures(8), pictures(64)

    def peak(images: list[np.ndarray]) -> int:
        encoder.encode_images(images)  # what libraries keep for good
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        encoder.encode_images(images)
        return torch.cuda.max_memory_allocated()

    kept = (len(many) - len(few)) * encoder.dimension * 4 * 4  # float32 rows, the list's and the joined ones
    assert peak(many) <= peak(few) + kept + 2**20


def test_half_precision_takes_half_the_memory(make):
    def taken(precision: str) -> int:
        gc.collect()
        before = torch.cuda.memory_allocated()
        encoder = make(device="cuda", precision=precision)
        assert encoder.dimension
        return torch.cuda.memory_allocated() - before

    exact = taken("float32")
    assert taken("float16") < 0.7 * exact
    assert taken("bfloat16") < 0.7 * exact
