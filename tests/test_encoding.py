import hashlib
import os
import shutil
import subprocess
import sys

import clip
import numpy as np
import pytest
import torch
from PIL import Image

from tests.file_server import Reply, file_server
from videolib import ClipEncoder, Encoder, Frame, ModelError, normalize
from videolib.demo import DEMO_MODEL_PATH


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, size=(90, 160, 3), dtype=np.uint8) for _ in range(count)]


def test_importing_videolib_does_not_import_torch():
    script = "import sys, videolib; sys.exit('torch' in sys.modules or 'clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_clip_encoder_is_an_encoder(encoder):
    assert isinstance(encoder, Encoder)
    assert encoder.dimension == 512


def test_it_is_named_after_its_file_and_digest(encoder):
    assert encoder.model.startswith("demo_clip-")
    assert ClipEncoder(DEMO_MODEL_PATH, device="cpu").model == encoder.model


def test_images_equal_clip_s_own_path(encoder):
    model, preprocess = clip.load(str(DEMO_MODEL_PATH), device="cpu")
    images = pictures(3)
    with torch.no_grad():
        expected = model.encode_image(torch.stack([preprocess(Image.fromarray(image)) for image in images]))
    np.testing.assert_allclose(encoder.encode_images(images), normalize(expected.numpy()), atol=1e-6)


def test_texts_equal_clip_s_own_path(encoder):
    model, _ = clip.load(str(DEMO_MODEL_PATH), device="cpu")
    texts = ["a red car", "a blue boat on the sea"]
    with torch.no_grad():
        expected = model.encode_text(clip.tokenize(texts))
    np.testing.assert_allclose(encoder.encode_texts(texts), normalize(expected.numpy()), atol=1e-6)


def test_embeddings_are_float32_unit_rows(encoder):
    for rows in (encoder.encode_images(pictures(5)), encoder.encode_texts(["a", "b"])):
        assert rows.dtype == np.float32
        assert rows.shape[1] == 512
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_batches_do_not_matter(encoder):
    small = ClipEncoder("demo", device="cpu", batch_size=2)
    images = pictures(5)
    np.testing.assert_allclose(small.encode_images(images), encoder.encode_images(images), atol=1e-5)


def test_a_generator_is_taken_one_batch_at_a_time():
    taken = []

    def images():
        for number, image in enumerate(pictures(6)):
            taken.append(number)
            if number == 4:
                raise RuntimeError("enough")
            yield image

    small = ClipEncoder("demo", device="cpu", batch_size=2)
    with pytest.raises(RuntimeError, match="enough"):
        small.encode_images(images())
    assert taken == [0, 1, 2, 3, 4]


def test_nothing_gives_no_rows(encoder):
    assert encoder.encode_images([]).shape == (0, 512)
    assert encoder.encode_texts([]).shape == (0, 512)


def test_every_kind_of_image_is_taken(encoder, tmp_path):
    array = pictures(1)[0]
    path = tmp_path / "picture.png"
    Image.fromarray(array).save(path)
    kinds = [array, Image.fromarray(array), Frame(1, 0.0, array), path, str(path), path.read_bytes()]
    rows = encoder.encode_images(kinds)
    np.testing.assert_allclose(rows, rows[:1].repeat(len(kinds), axis=0), atol=1e-6)


def test_frames_in_one_array_are_several_images(encoder):
    assert encoder.encode_images(np.stack(pictures(3))).shape == (3, 512)


@pytest.mark.parametrize("one", [pictures(1)[0], "picture.png", b"bytes", Image.new("RGB", (4, 4))])
def test_one_image_alone_is_refused(encoder, one):
    with pytest.raises(ValueError, match=r"images must be several pictures, got one .*: wrap it in a list"):
        encoder.encode_images(one)


def test_one_text_alone_is_refused(encoder):
    with pytest.raises(ValueError, match=r"texts must be several strings, got one: pass \['a car'\]"):
        encoder.encode_texts("a car")


def test_a_text_that_is_no_string_is_refused(encoder):
    with pytest.raises(ValueError, match="texts must be strings, got int"):
        encoder.encode_texts([3])


def test_a_long_text_is_refused_or_cut(encoder):
    long = "car " * 76
    with pytest.raises(ValueError, match=r"at most 77 tokens each, got 'car car .* with 78: .*truncate=True"):
        encoder.encode_texts([long])
    assert encoder.encode_texts([long], truncate=True).shape == (1, 512)
    assert encoder.encode_texts(["car " * 75]).shape == (1, 512)


@pytest.mark.parametrize("device", ["warp", "cuda:99"])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(ValueError, match=f"device must be one that torch can use here, got '{device}'"):
        ClipEncoder("demo", device=device)


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_batch_is_refused(size):
    with pytest.raises(ValueError, match=f"batch_size must be 1 or more, got {size}"):
        ClipEncoder("demo", batch_size=size)


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"ViT-B/32"):
        ClipEncoder("ViT-Z/1")


@pytest.mark.parametrize(
    "content", [b"", b"not weights at all", None], ids=["empty", "text", "another model"]
)
def test_a_file_that_is_no_clip_model_is_an_error(tmp_path, content):
    path = tmp_path / "weights.pt"
    if content is None:
        torch.save({"layer.weight": torch.zeros(2, 2)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights.pt"):
        ClipEncoder(path, device="cpu")


def test_a_named_model_is_downloaded_and_keeps_its_name(tmp_path, monkeypatch):
    """The demo weights in the place of OpenAI's: everything but the bytes is the real path."""
    weights = DEMO_MODEL_PATH.read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    monkeypatch.setenv("VIDEOLIB_MODEL_DIR", str(tmp_path))
    with file_server() as server:
        url = server.add(f"/{digest}/ViT-B-32.pt", Reply(weights))
        monkeypatch.setitem(clip.clip._MODELS, "ViT-B/32", url)
        encoder = ClipEncoder("ViT-B/32", device="cpu")
    assert encoder.model == "ViT-B/32"
    assert encoder.encode_texts(["a car"]).shape == (1, 512)
    shutil.copy(tmp_path / "ViT-B-32.pt", tmp_path / "renamed.pt")
    assert ClipEncoder(tmp_path / "renamed.pt", device="cpu").model == "ViT-B/32"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_gives_the_same_to_half_precision(encoder):
    rows = ClipEncoder("demo", device="cuda").encode_images(pictures(4))
    assert rows.dtype == np.float32
    assert np.all(np.sum(rows * encoder.encode_images(pictures(4)), axis=1) > 0.999)


def test_the_repr_tells_model_and_device(encoder):
    assert repr(encoder) == f"ClipEncoder('{encoder.model}', device='cpu', dimension=512)"
    assert os.fspath(DEMO_MODEL_PATH).endswith(".pt")
