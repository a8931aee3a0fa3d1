import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor

import clip
import numpy as np
import pytest
import torch
from clip.model import CLIP, convert_weights
from PIL import Image

from tests.file_server import Reply, file_server
from videolib import ClipEncoder, Encoder, Frame, ModelError, extract_frames, normalize
from videolib.demo import DEMO_MODEL_PATH, SAMPLE_VIDEO_PATH, sample_scenes
from videolib.downloads import file_sha256
from videolib.encoding import batches

pytestmark = pytest.mark.slow


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, size=(90, 160, 3), dtype=np.uint8) for _ in range(count)]


@pytest.fixture(scope="session")
def exact() -> ClipEncoder:
    """The demo model as clip itself runs it on a CPU."""
    return ClipEncoder("demo", device="cpu", precision="float32", preprocess="reference")


def random_clip(**shape) -> CLIP:
    """Random weights of ViT-B/32's shape, or as given, in half precision like OpenAI's files."""
    torch.manual_seed(0)
    known = {
        "embed_dim": 512,
        "image_resolution": 224,
        "vision_layers": 12,
        "vision_width": 768,
        "vision_patch_size": 32,
        "context_length": 77,
        "vocab_size": 49408,
        "transformer_width": 512,
        "transformer_heads": 8,
        "transformer_layers": 12,
    }
    model = CLIP(**known | shape).eval().requires_grad_(False)
    convert_weights(model)
    return model


@pytest.fixture(scope="session")
def vit_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vit.pt"
    torch.save(random_clip().state_dict(), path)
    return path


SMALL = {"vision_layers": 2, "vision_width": 128, "transformer_layers": 2, "transformer_width": 128}


@pytest.fixture(scope="session")
def small_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save(random_clip(**SMALL, transformer_heads=2).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def archive_path(tmp_path_factory):
    """The same weights as OpenAI publishes its own: TorchScript, with three numbers among them."""
    model = random_clip(**SMALL, transformer_heads=2)
    del model.context_length, model.vocab_size, model.visual.input_resolution
    for name, value in (("input_resolution", 224), ("context_length", 77), ("vocab_size", 49408)):
        model.register_buffer(name, torch.tensor(value))
    path = tmp_path_factory.mktemp("weights") / "archive.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, but such are the files
        traced = torch.jit.trace(model, (torch.zeros(1, 3, 224, 224).half(), clip.tokenize("a")))
    assert "input_resolution" in traced.state_dict()
    traced.save(path)
    return path


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.sum(one * other, axis=1)


def test_importing_videolib_does_not_import_torch():
    script = "import sys, videolib; sys.exit('torch' in sys.modules or 'clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_clip_encoder_is_an_encoder(encoder):
    assert isinstance(encoder, Encoder)
    assert encoder.dimension == 512


def test_it_is_named_after_its_file_and_digest(encoder):
    assert encoder.model.startswith("demo_clip-")
    assert ClipEncoder(DEMO_MODEL_PATH, device="cpu").model == encoder.model


def test_images_equal_clip_s_own_path(exact):
    model, preprocess = clip.load(str(DEMO_MODEL_PATH), device="cpu")
    images = pictures(3)
    with torch.no_grad():
        expected = model.encode_image(torch.stack([preprocess(Image.fromarray(image)) for image in images]))
    np.testing.assert_allclose(exact.encode_images(images), normalize(expected.numpy()), atol=1e-6)


def test_texts_equal_clip_s_own_path(exact):
    model, _ = clip.load(str(DEMO_MODEL_PATH), device="cpu")
    texts = ["a red car", "a blue boat on the sea"]
    with torch.no_grad():
        expected = model.encode_text(clip.tokenize(texts))
    np.testing.assert_allclose(exact.encode_texts(texts), normalize(expected.numpy()), atol=1e-6)


@pytest.mark.parametrize("file", ["state_dict", "archive"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_towers_equal_clip_s_own(request, file, monkeypatch):
    path = request.getfixturevalue({"state_dict": "small_path", "archive": "archive_path"}[file])
    # An archive is loaded where it is one of OpenAI's own alone.
    monkeypatch.setitem(clip.clip._MODELS, "small", f"https://host/{file_sha256(path)}/small.pt")
    model, preprocess = clip.load(str(path), device="cpu")
    ours = ClipEncoder(path, device="cpu", precision="float32", preprocess="reference")
    images, texts = pictures(3), ["", "a red car", "word " * 75]
    with torch.no_grad():
        rows = model.encode_image(torch.stack([preprocess(Image.fromarray(image)) for image in images]))
        text_rows = model.encode_text(clip.tokenize(texts))
    np.testing.assert_allclose(ours.encode_images(images), normalize(rows.numpy()), atol=1e-6)
    np.testing.assert_allclose(ours.encode_texts(texts), normalize(text_rows.numpy()), atol=1e-6)
    # Without the long one, they are cut after their own end.
    np.testing.assert_allclose(ours.encode_texts(texts[:2]), normalize(text_rows[:2].numpy()), atol=1e-6)


def test_the_fast_path_stays_close_to_the_reference(vit_path):
    fast = ClipEncoder(vit_path, device="cpu", precision="bfloat16")
    reference = ClipEncoder(vit_path, device="cpu", precision="float32", preprocess="reference")
    assert fast.model == reference.model
    frames = list(extract_frames(SAMPLE_VIDEO_PATH, every_seconds=20))
    assert cosines(fast.encode_images(frames), reference.encode_images(frames)).min() > 0.9999
    texts = ["a red car", "a blue boat on the sea"]
    assert cosines(fast.encode_texts(texts), reference.encode_texts(texts)).min() > 0.9998


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_the_fast_path_finds_the_same_scenes(exact, precision):
    fast = ClipEncoder("demo", device="cpu", precision=precision)
    frames = list(extract_frames(SAMPLE_VIDEO_PATH, every_seconds=2))
    scenes = sample_scenes()
    times = [frame.timestamp_seconds for frame in frames]
    scene_of = np.searchsorted(scenes["start_seconds"], times, side="right") - 1
    rows = [each.encode_images(frames) for each in (fast, exact)]
    assert cosines(*rows).min() > 0.999
    found = [
        scene_of[(each.encode_texts(scenes["caption"]) @ images.T).argmax(axis=1)]
        for each, images in zip((fast, exact), rows, strict=True)
    ]
    np.testing.assert_array_equal(found[0], found[1])


def test_bfloat16_is_taken_where_the_cpu_has_it_only(monkeypatch):
    for native, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native, raising=False
        )
        assert ClipEncoder("demo", device="cpu").precision == precision
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert ClipEncoder("demo", device="cpu").precision == "float32"


def test_torch_takes_no_more_threads_than_the_container_has_cores(monkeypatch):
    before = torch.get_num_threads()
    for cores, expected in ((before + 1, before), (1, 1)):
        monkeypatch.setattr(batches, "available_cores", lambda cores=cores: cores)
        ClipEncoder("demo", device="cpu")
        found = torch.get_num_threads()
        torch.set_num_threads(before)
        assert found == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_all_weights_have_the_precision_asked_for(small_path, precision):
    encoder = ClipEncoder(small_path, device="cpu", precision=precision)
    assert {weights.dtype for weights in encoder._clip.parameters()} == {getattr(torch, precision)}
    assert encoder.encode_images(pictures(2)).dtype == np.float32


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory from /proc")
def test_loading_takes_no_second_copy(vit_path):
    """The file's 300 MB become the model's, one by one; clip.load takes 900 MB."""
    script = """
        import re, sys, videolib.encoding.clip
        peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
        before = peak()
        encoder = videolib.ClipEncoder(sys.argv[1], device="cpu", precision="bfloat16")
        print(peak() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(vit_path)]
    grown = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert 250 < grown < 600


def test_reference_preparation_is_clip_s_bit_for_bit(exact):
    _, preprocess = clip.load(str(DEMO_MODEL_PATH), device="cpu")
    for image in [*pictures(2), pictures(1)[0][:, :60], pictures(1)[0][:20, :20]]:
        prepared = Image.fromarray(exact.prepare(image))
        size = exact._resolution
        assert prepared.size == (size, size)
        assert torch.equal(preprocess(prepared), preprocess(Image.fromarray(image)))


def test_fast_preparation_is_two_grey_levels_apart_at_most(encoder, exact):
    rng = np.random.default_rng(0)
    for height, width in [(360, 640), (640, 360), (97, 501), (96, 200), (20, 30), (1, 3)]:
        image = rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        difference = encoder.prepare(image).astype(int) - exact.prepare(image)
        assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("preprocess", ["fast", "reference"])
def test_a_prepared_image_gives_the_same_embedding(preprocess):
    encoder = ClipEncoder("demo", device="cpu", preprocess=preprocess)
    images = [*pictures(2), Image.new("RGBA", (30, 50), (200, 10, 10, 128))]
    prepared = [encoder.prepare(image) for image in images]
    assert {(image.shape, str(image.dtype)) for image in prepared} == {((96, 96, 3), "uint8")}
    assert all(np.array_equal(encoder.prepare(image), image) for image in prepared)
    np.testing.assert_array_equal(encoder.encode_images(prepared), encoder.encode_images(images))
    with ThreadPoolExecutor(4) as threads:
        several = list(threads.map(lambda _: [encoder.prepare(image) for image in images], range(8)))
    for each in several:
        np.testing.assert_array_equal(each, prepared)


@pytest.mark.parametrize("shape", [(192, 96, 3), (500, 96, 3), (300, 200, 3), (200, 300, 3)])
def test_a_prepared_image_keeps_nothing_of_the_image(encoder, shape):
    image = np.zeros(shape, dtype=np.uint8)
    prepared = encoder.prepare(image)
    image[:] = 255
    assert prepared.max() == 0
    owner = prepared.base  # a tensor
    assert owner is not None
    assert owner.untyped_storage().nbytes() == prepared.nbytes


@pytest.mark.parametrize("text", ["", " ", "ein rotes Auto", "赤い車", "🚗", "\x00"])
def test_any_text_has_an_embedding(exact, text):
    rows = exact.encode_texts([text, "a blue boat"])
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(exact.encode_texts([text]), rows[:1], atol=1e-6)


def test_any_layout_of_an_array_is_taken(encoder):
    image = pictures(1)[0]
    frozen = image.copy()
    frozen.flags.writeable = False
    mirrored = np.ascontiguousarray(image[:, ::-1])
    np.testing.assert_array_equal(encoder.prepare(frozen), encoder.prepare(image))
    np.testing.assert_array_equal(encoder.prepare(mirrored[:, ::-1]), encoder.prepare(image))


def test_workers_of_one_thread_agree_with_one_call(exact):
    images = pictures(24)
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as workers:
        prepared = list(workers.map(exact.prepare, images))
        np.testing.assert_array_equal(prepared, [exact.prepare(image) for image in images])
        batches = [prepared[start : start + 8] for start in range(0, 24, 8)]
        rows = np.concatenate(list(workers.map(exact.encode_images, batches)))
    torch.set_num_threads(threads)  # for threads that begin later
    np.testing.assert_allclose(rows, exact.encode_images(images), atol=1e-6)


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


@pytest.mark.parametrize("name", ["precision", "preprocess", "activation"])
def test_an_unknown_way_to_compute_is_refused(name):
    with pytest.raises(ValueError, match=rf"{name} must be one of \('.*'\), got 'int8'"):
        ClipEncoder("demo", **{name: "int8"})


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 4), (4, 4, 2), (4,)])
def test_an_array_that_is_no_picture_is_refused(encoder, shape):
    with pytest.raises(ValueError, match="image must be a uint8 array of shape"):
        encoder.prepare(np.zeros(shape, dtype=np.float32 if shape == (4, 4) else np.uint8))


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


def test_the_repr_tells_model_and_device(encoder):
    assert repr(encoder) == f"ClipEncoder('{encoder.model}', device='cpu', dimension=512)"
    assert os.fspath(DEMO_MODEL_PATH).endswith(".pt")


def test_gelu_is_computed_where_it_is_asked_for(small_path):
    from torch import nn

    state = torch.load(small_path, weights_only=True)
    reference = clip.model.build_model(dict(state)).float()
    for block in [*reference.visual.transformer.resblocks, *reference.transformer.resblocks]:
        block.mlp.gelu = nn.GELU()
    images, texts = pictures(3), ["a red car", "a blue boat on the sea"]
    ours = ClipEncoder(
        small_path, device="cpu", precision="float32", preprocess="reference", activation="gelu"
    )
    quick = ClipEncoder(
        small_path, device="cpu", precision="float32", preprocess="reference", activation="quick_gelu"
    )
    preprocess = clip.clip._transform(reference.visual.input_resolution)
    with torch.no_grad():
        rows = reference.encode_image(torch.stack([preprocess(Image.fromarray(image)) for image in images]))
        text_rows = reference.encode_text(clip.tokenize(texts))
    np.testing.assert_allclose(ours.encode_images(images), normalize(rows.numpy()), atol=1e-6)
    np.testing.assert_allclose(ours.encode_texts(texts), normalize(text_rows.numpy()), atol=1e-6)
    assert np.abs(quick.encode_texts(texts) - ours.encode_texts(texts)).max() > 1e-4
    assert ours.model == f"{quick.model}-gelu"  # so that a store does not mix them


def test_a_model_of_unknown_activation_is_warned_of(small_path):
    with pytest.warns(
        UserWarning, match=r"small.pt' does not tell whether .* pass activation='quick_gelu' or"
    ) as told:
        silent = ClipEncoder(small_path, device="cpu")
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known = ClipEncoder(small_path, device="cpu", activation="quick_gelu")
    assert known.model == silent.model


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_activation_of_openai_s_models_and_of_the_demo_model_is_known(archive_path, tmp_path):
    """A state dict of one of OpenAI's archives has its three numbers, and the demo model is known by its bytes."""
    path = tmp_path / "openai.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.jit.load(archive_path).state_dict(), path)
    ClipEncoder(path, device="cpu")
    shutil.copy(DEMO_MODEL_PATH, tmp_path / "copy.pt")
    ClipEncoder(tmp_path / "copy.pt", device="cpu")


def test_it_goes_to_another_process_as_what_it_was_made_of(encoder):
    sent = pickle.dumps(encoder)
    assert len(sent) < 1000
    copy = pickle.loads(sent)
    assert (copy.model, copy.dimension, copy.device) == (encoder.model, encoder.dimension, encoder.device)
    assert copy.encode_texts(["a red car"]).tolist() == encoder.encode_texts(["a red car"]).tolist()
