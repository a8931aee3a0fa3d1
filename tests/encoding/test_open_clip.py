"""Models of open_clip, each family with random weights in a small shape, beside open_clip's own path."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

open_clip = pytest.importorskip("open_clip", reason="needs videolib[open-clip]")
pytest.importorskip("transformers", reason="needs videolib[open-clip]")

from tests.encoding.open_clip_models import FAMILIES, TAG, TEXTS, small_models  # noqa: E402
from videolib import (  # noqa: E402
    Encoder,
    Frame,
    FrameStore,
    ModelError,
    OpenClipEncoder,
    StoreError,
    ingest,
    load_encoder,
    normalize,
    text_query,
)
from videolib.demo import DEMO_MODEL_PATH, SAMPLE_VIDEO_PATH  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The small models, in open_clip's registries while these tests run, and the hub out of reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with small_models(tmp_path_factory.mktemp("open_clip")) as paths:
            yield paths


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, weights) -> str:
    return f"small-{request.param}"


@pytest.fixture(scope="module")
def small(weights) -> OpenClipEncoder:
    return OpenClipEncoder("small-siglip2", TAG, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory) -> Path:
    """A folder as the hub has one: configuration, weights and tokenizer."""
    return make_folder(tmp_path_factory.mktemp("hub"), "siglip2", weights)


def make_folder(path: Path, family: str, weights: dict[str, Path]) -> Path:
    path.mkdir(exist_ok=True)
    name = f"small-{family}"
    config = open_clip.get_model_config(name)
    if tokenizer := config["text_cfg"].get("hf_tokenizer_name"):
        shutil.copytree(tokenizer, path, dirs_exist_ok=True)
    settings = open_clip.pretrained._PRETRAINED[name][TAG]
    kept = {key: settings[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": kept}))
    shutil.copy(weights[family], path / "open_clip_pytorch_model.bin")
    return path


def pictures(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = [(90, 160), (200, 60), (30, 30), (64, 64)]
    return [rng.integers(0, 256, size=(*sizes[number % 4], 3), dtype=np.uint8) for number in range(count)]


def own_path(name: str) -> tuple[np.ndarray, np.ndarray]:
    """What open_clip itself makes of `pictures()` and `TEXTS`."""
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=TAG)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    with torch.no_grad():
        rows = model.encode_image(torch.stack([preprocess(Image.fromarray(image)) for image in pictures()]))
        texts = model.encode_text(tokenizer(TEXTS))
    return normalize(rows.numpy()), normalize(texts.numpy())


def test_each_family_equals_open_clip_s_own_path(family):
    encoder = OpenClipEncoder(family, TAG, device="cpu", precision="float32")
    assert isinstance(encoder, Encoder)
    rows, texts = own_path(family)
    np.testing.assert_allclose(encoder.encode_images(pictures()), rows, atol=2e-6)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, atol=2e-6)
    assert encoder.model == f"open_clip:{family}/{TAG}"
    assert encoder.dimension == rows.shape[1]
    assert np.abs(texts[0] - texts[1]).max() > 0.01  # the texts count


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_each_precision_gives_float32_unit_rows_of_the_same_direction(family, precision):
    exact = OpenClipEncoder(family, TAG, device="cpu", precision="float32")
    encoder = OpenClipEncoder(family, TAG, device="cpu", precision=precision)
    assert encoder.model == exact.model
    assert {each.dtype for each in encoder._model.parameters()} == {getattr(torch, precision)}
    for one, other in (
        (encoder.encode_images(pictures()), exact.encode_images(pictures())),
        (encoder.encode_texts(TEXTS), exact.encode_texts(TEXTS)),
    ):
        assert one.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-6)
        assert np.sum(one * other, axis=1).min() > 0.999


def test_a_prepared_image_is_small_and_gives_the_same_embedding(family):
    encoder = OpenClipEncoder(family, TAG, device="cpu", precision="float32")
    images = [*pictures(4), Image.new("RGBA", (30, 50), (200, 10, 10, 128))]
    prepared = [encoder.prepare(image) for image in images]
    assert {(image.shape, str(image.dtype)) for image in prepared} == {((64, 64, 3), "uint8")}
    assert all(np.array_equal(encoder.prepare(image), image) for image in prepared)
    np.testing.assert_array_equal(encoder.encode_images(prepared), encoder.encode_images(images))
    with ThreadPoolExecutor(4) as threads:
        several = list(threads.map(lambda _: [encoder.prepare(image) for image in images], range(8)))
    for each in several:
        np.testing.assert_array_equal(each, prepared)


def test_the_preparation_is_the_model_s_own(weights):
    """SigLIP and PE squash the whole image into the square, CLIP crops the middle."""
    image = np.zeros((64, 192, 3), dtype=np.uint8)
    image[:, :64] = 255
    for name, is_squashed in (("siglip2", True), ("pe", True), ("clip", False), ("mobileclip2", False)):
        prepared = OpenClipEncoder(f"small-{name}", TAG, device="cpu").prepare(image)
        assert (prepared.max() == 255) == is_squashed


def test_a_text_that_the_model_would_cut_is_refused_or_cut(family):
    encoder = OpenClipEncoder(family, TAG, device="cpu")
    limit = FAMILIES[family.removeprefix("small-")].context_length
    # "car" is one token of each; CLIP's tokenizer adds two, SigLIP's one
    fits = "car " * (limit - (1 if "siglip" in family else 2))
    long = f"{fits}car"
    encoder.encode_texts([fits.strip()])
    with pytest.raises(
        ValueError, match=rf"at most {limit} tokens each, got 'car car .* with {limit + 1}: .*truncate=True"
    ):
        encoder.encode_texts(["a car", long])
    cut = encoder.encode_texts([long, fits.strip()], truncate=True)
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-6)


def test_batches_and_generators_do_not_matter(small):
    one = OpenClipEncoder("small-siglip2", TAG, device="cpu", precision="float32", batch_size=2)
    np.testing.assert_allclose(
        one.encode_images(image for image in pictures(5)), small.encode_images(pictures(5)), atol=1e-6
    )
    np.testing.assert_allclose(one.encode_texts(iter(TEXTS)), small.encode_texts(TEXTS), atol=1e-6)
    assert small.encode_images([]).shape == small.encode_texts([]).shape == (0, 64)


def test_every_kind_of_image_is_taken(small, tmp_path):
    array = pictures(1)[0]
    path = tmp_path / "picture.png"
    Image.fromarray(array).save(path)
    kinds = [array, Image.fromarray(array), Frame(1, 0.0, array), path, str(path), path.read_bytes()]
    rows = small.encode_images(kinds)
    np.testing.assert_allclose(rows, rows[:1].repeat(len(kinds), axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("small-clip", TAG), {"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        (("small-clip", TAG), {"precision": "int8"}, r"precision must be one of \('auto'.*got 'int8'"),
        (("small-clip", TAG), {"device": "warp"}, "device must be one that torch can use here, got 'warp'"),
        (
            ("ViT-B-16-SigLip2-265", "webli"),
            {},
            "architecture must be one of .* did you mean 'ViT-B-16-SigLIP2-256'",
        ),
        (
            ("ViT-B-16-SigLIP2-256", "webly"),
            {},
            "pretrained must be weights .* got 'webly': did you mean 'webli'",
        ),
        (("ViT-L-14", DEMO_MODEL_PATH), {}, "pretrained must be a folder .* prepared in different ways"),
    ],
)
def test_what_is_wrong_is_named(weights, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        OpenClipEncoder(*arguments, **options)


def test_one_image_or_text_alone_is_refused(small):
    with pytest.raises(
        ValueError, match=r"images must be several pictures, got one ndarray: wrap it in a list"
    ):
        small.encode_images(pictures(1)[0])
    with pytest.raises(ValueError, match=r"texts must be several strings, got one: pass \['a car'\]"):
        small.encode_texts("a car")
    with pytest.raises(ValueError, match="texts must be strings, got int"):
        small.encode_texts([3])


# Weights from a file, a folder and the hub


def test_a_file_is_named_after_architecture_stem_and_digest(weights):
    encoder = OpenClipEncoder("small-clip", weights["clip"], device="cpu", precision="float32")
    assert encoder.model.startswith("open_clip:small-clip/clip-")
    assert len(encoder.model) == len("open_clip:small-clip/clip-") + 8


def test_a_file_is_prepared_for_as_the_published_weights_of_its_architecture(weights):
    """open_clip itself would take CLIP's preparation for a file of any architecture."""
    by_tag = OpenClipEncoder("small-pe", TAG, device="cpu", precision="float32")
    by_file = OpenClipEncoder("small-pe", str(weights["pe"]), device="cpu", precision="float32")
    np.testing.assert_array_equal(by_file.encode_images(pictures()), by_tag.encode_images(pictures()))


def test_a_folder_brings_its_tokenizer(folder, small, monkeypatch):
    monkeypatch.setitem(
        open_clip.factory._MODEL_CONFIGS["small-siglip2"]["text_cfg"], "hf_tokenizer_name", "no/where"
    )
    encoder = OpenClipEncoder("small-siglip2", folder, device="cpu", precision="float32")
    assert encoder.model.startswith(f"open_clip:small-siglip2/{folder.name}-")
    np.testing.assert_array_equal(encoder.encode_images(pictures()), small.encode_images(pictures()))
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), small.encode_texts(TEXTS))


def test_a_folder_of_another_architecture_is_refused(folder):
    with pytest.raises(
        ValueError, match=r"must hold a model of the architecture 'small-pe', .* got '.*' with \{"
    ):
        OpenClipEncoder("small-pe", folder)


def test_a_folder_without_its_configuration_or_weights_is_refused(folder, tmp_path):
    with pytest.raises(ModelError, match=r"pretrained must be a folder with open_clip_config\.json"):
        OpenClipEncoder("small-siglip2", tmp_path)
    shutil.copy(folder / "open_clip_config.json", tmp_path)
    with pytest.raises(
        ModelError, match=r"pretrained must be a folder with weights, got '.*': no \.safetensors"
    ):
        OpenClipEncoder("small-siglip2", tmp_path)


@pytest.mark.parametrize("content", [b"", b"not weights at all", "cut", "other", "nan", "pickle"])
def test_a_file_that_is_no_such_model_is_named_in_one_sentence(weights, tmp_path, content):
    path = tmp_path / "weights.pt"
    if content == "cut":
        content = weights["clip"].read_bytes()[:50_000]
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "other":
        torch.save({f"layer.{n}.weight": torch.ones(2, 2) for n in range(500)}, path)
    elif content == "pickle":
        torch.save({"layer": Path("made")}, path)
    else:
        state = torch.load(weights["clip"], weights_only=True)
        state["text_projection"][0, 0] = float("nan")
        torch.save(state, path)
    with pytest.raises(ModelError, match=r"weights\.pt|NaN") as caught:
        OpenClipEncoder("small-clip", path, device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400 + len(str(path))
    assert "weights_only" not in message


def hub_folder(cache: Path, repository: str, files: dict[str, Path]) -> None:
    """Lay files into the hub's cache, as its client keeps them."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    for name, path in files.items():
        shutil.copy(path, snapshot / name)


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_weights_in_the_hub_s_cache_need_no_hub(weights, tmp_path, monkeypatch, small, suffix):
    from safetensors.torch import save_file

    path = weights["siglip2"]
    name = "open_clip_pytorch_model.bin"
    if suffix == "safetensors":
        name, path = "open_clip_model.safetensors", tmp_path / "model.safetensors"
        save_file(torch.load(weights["siglip2"], weights_only=True), path)
    hub_folder(tmp_path / "cache", "some/model", {name: path})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    settings = {key: value for key, value in tag_settings("siglip2").items() if key != "file"}
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED["small-siglip2"], TAG, settings | {"hf_hub": "some/model/"}
    )
    encoder = OpenClipEncoder("small-siglip2", TAG, device="cpu", precision="float32")
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), small.encode_texts(TEXTS))


def tag_settings(family: str) -> dict:
    return open_clip.pretrained._PRETRAINED[f"small-{family}"][TAG]


@pytest.mark.parametrize("reach", ["offline", "no way"])
def test_without_the_hub_it_says_what_to_put_where(weights, tmp_path, monkeypatch, reach):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    if reach == "no way":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ModelError, match=r"model needs open_clip_model\.safetensors of timm/ViT-B-16-SigLIP2-256"
    ) as told:
        OpenClipEncoder("ViT-B-16-SigLIP2-256", "webli", device="cpu")
    for part in (
        str(tmp_path / "cache"),
        "hf download timm/ViT-B-16-SigLIP2-256 --local-dir",
        "HF_HUB_CACHE",
    ):
        assert part in str(told.value)


def test_a_tokenizer_that_cannot_be_had_is_named(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    config = open_clip.factory._MODEL_CONFIGS["small-siglip2"]["text_cfg"]
    monkeypatch.setitem(config, "hf_tokenizer_name", "some/tokenizer")
    with pytest.raises(ModelError, match="model needs the tokenizer's files of some/tokenizer, not in"):
        OpenClipEncoder("small-siglip2", weights["siglip2"], device="cpu")


def test_weights_of_quickgelu_are_computed_with_it(weights, monkeypatch):
    """open_clip itself only warns where the architecture says another activation than the weights' own."""
    settings = tag_settings("clip")
    plain = OpenClipEncoder("small-clip", TAG, device="cpu", precision="float32").encode_texts(TEXTS)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED["small-clip"], TAG, settings | {"quick_gelu": True})
    quick = OpenClipEncoder("small-clip", TAG, device="cpu", precision="float32").encode_texts(TEXTS)
    assert np.abs(plain - quick).max() > 1e-4


# By name, and in a store


def test_a_name_gives_the_encoder_of_its_library(weights, folder):
    assert load_encoder(f"open_clip:small-clip/{TAG}", device="cpu").model == f"open_clip:small-clip/{TAG}"
    by_path = load_encoder(
        f"open_clip:small-siglip2/{folder}", device="cpu", batch_size=2, precision="float32"
    )
    assert (by_path.batch_size, by_path.precision) == (2, "float32")
    assert by_path.model.startswith("open_clip:small-siglip2/")
    assert load_encoder("demo", device="cpu").model.startswith("demo_clip-")
    with pytest.raises(ValueError, match="model must be a checkpoint file or one of"):
        load_encoder("ViT-Z/1")


def test_what_is_ingested_is_found_and_another_model_is_refused(weights, tmp_path, encoder):
    store = FrameStore(tmp_path / "store.duckdb")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = load_encoder(f"open_clip:small-pe/{TAG}", device="cpu")
        video = ingest(SAMPLE_VIDEO_PATH, small, store, every_seconds=20)
    frames = store.read_frames(video.video_id)
    query = frames["embedding_data"][3]
    assert store.search(query, k=1)["frame_number"].tolist() == [4]
    assert len(store.search(text_query("a red car", small), k=3)) == 3
    assert store.list_videos()["model"].tolist() == [f"open_clip:small-pe/{TAG}"]
    with pytest.raises(StoreError, match="model must be"):
        ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=30)


def test_the_repr_tells_model_and_device(small):
    assert repr(small) == "OpenClipEncoder('open_clip:small-siglip2/random', device='cpu', dimension=64)"


def test_a_missing_library_is_named(tmp_path):
    (tmp_path / "open_clip.py").write_text("raise ImportError('none here')")
    script = """
        import sys, videolib
        for call in (lambda: videolib.OpenClipEncoder("ViT-B-32", "openai"),
                     lambda: videolib.check_parameters(model="open_clip:ViT-B-32/openai")):
            try:
                call()
            except ImportError as error:
                print(error)
    """
    paths = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", "if True:" + script],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    sentence = (
        "a model of open_clip needs that library, which is not installed: pip install 'videolib[open-clip]'"
    )
    assert done.stdout.splitlines() == [sentence] * 2
