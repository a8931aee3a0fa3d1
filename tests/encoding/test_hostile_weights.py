"""What is loaded as weights runs nothing, takes no more memory than it should, and is named in one sentence."""

import io
import os
import pickle
import warnings
import zipfile

import clip
import pytest
import torch

from videolib import ClipEncoder, ModelError
from videolib.demo import DEMO_MODEL_PATH
from videolib.downloads import file_sha256


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return torch.load(DEMO_MODEL_PATH, map_location="cpu", weights_only=True)


def refused(path, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        ClipEncoder(path, device="cpu")
    message = str(caught.value)
    assert str(path) in message
    assert len(message) < 400 + len(str(path))
    assert "\n" not in message
    for advice in ("weights_only", "trust", "safe_globals"):
        assert advice not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


class WritesAFile(torch.nn.Module):
    """TorchScript runs __setstate__ while it loads."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path
        self.weight = torch.ones(3)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path, self.training = state
        self.weight = torch.from_file(self.path, shared=True, size=4).fill_(7.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def script_archive(folder):
    """An archive that overwrites `victim` when it is loaded."""
    victim, path = folder / "victim.bin", folder / "model.pt"
    victim.write_bytes(b"precious contents")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(WritesAFile(str(victim))).save(path)
    victim.write_bytes(b"precious contents")
    return path, victim


def test_an_archive_that_is_not_openai_s_runs_nothing(tmp_path):
    path, victim = script_archive(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(path)
    assert victim.read_bytes() != b"precious contents"  # it is what it is said to be
    victim.write_bytes(b"precious contents")
    refused(path, "TorchScript archive, which runs code while it is loaded, and not one of OpenAI's")
    assert victim.read_bytes() == b"precious contents"


def test_a_pickle_runs_nothing(tmp_path):
    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"layer": Runs()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Runs()))
    for name in ("zip.pt", "plain.pt"):
        refused(tmp_path / name, "is damaged, or holds more than tensors")
    assert not (tmp_path / "made").exists()


def test_another_model_is_named_in_one_sentence(tmp_path, weights):
    torch.save({f"layer.{n}.weight": torch.ones(2, 2) for n in range(500)}, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", "has other tensors than a CLIP model")
    torch.save(weights | {f"layer.{n}.weight": torch.ones(2, 2) for n in range(500)}, tmp_path / "more.pt")
    refused(tmp_path / "more.pt", "has other tensors than a CLIP model")
    torch.save({"state_dict": weights}, tmp_path / "nested.pt")
    refused(tmp_path / "nested.pt", "holds more than tensors by name")
    torch.save([1, 2], tmp_path / "list.pt")
    refused(tmp_path / "list.pt", "holds more than tensors by name")


@pytest.mark.parametrize("cut", [10, 1000, 100_000])
def test_a_cut_file_is_named_in_one_sentence(tmp_path, cut):
    path = tmp_path / "cut.pt"
    path.write_bytes(DEMO_MODEL_PATH.read_bytes()[:cut])
    refused(path, "is damaged, or holds more than tensors")


CHANGES = {
    "NaN": (lambda w: w.clone().fill_(float("nan")), "with NaN or infinity"),
    "one infinity": (
        lambda w: w.clone().index_fill_(0, torch.tensor([1]), float("inf")),
        "with NaN or infinity",
    ),
    "zero": (torch.zeros_like, "with zeros alone"),
    "complex": (lambda w: w.to(torch.complex64), "not as a dense tensor of real numbers"),
    "sparse": (lambda w: w.float().to_sparse(), "not as a dense tensor of real numbers"),
    "quantized": (
        lambda w: torch.quantize_per_tensor(w.float(), 0.1, 0, torch.qint8),
        "not as a dense tensor",
    ),
    "whole numbers": (lambda w: w.to(torch.int32) + 1, "has other tensors than a CLIP model"),
    "expanding": (lambda w: w.flatten()[:1].expand(200_000, 4096), "takes far more memory than it has bytes"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_none_are_refused(tmp_path, weights, change):
    make, match = CHANGES[change]
    path = tmp_path / "weights.pt"
    torch.save(weights | {"token_embedding.weight": make(weights["token_embedding.weight"])}, path)
    refused(path, match)


def test_a_packed_file_is_not_unpacked_without_limit(tmp_path):
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(5_000_000)}, buffer)
    with (
        zipfile.ZipFile(buffer) as stored,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry))
    refused(tmp_path / "bomb.pt", "takes far more memory than it has bytes")


def test_an_archive_of_openai_s_is_known_by_its_digest_alone(tmp_path, monkeypatch):
    path, _ = script_archive(tmp_path)
    monkeypatch.setitem(clip.clip._MODELS, "ours", f"https://host/{file_sha256(path)}/model.pt")
    refused(path, "has other tensors than a CLIP model")


def test_an_address_is_shown_without_its_secrets():
    for address in ("https://me:hush@host/model.pt?sig=hush", "https:/me:hu/sh@host/model.pt#hush"):
        with pytest.raises(ValueError, match=r"got 'https://host/model.pt'") as caught:
            ClipEncoder(address)
        assert "hush" not in str(caught.value)


def test_a_safetensors_file_is_called_one(tmp_path, weights):
    header = b'{"ln_final.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    refused(path, r"is a safetensors file: save it anew by torch.save\(safetensors.torch.load_file")


FOREIGN = {
    "model.gguf": b"GGUF\x03\x00\x00\x00" + bytes(100),
    "tf_model.h5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "model.onnx": b"\x08\x07\x12\x07pytorch" + bytes(100),
    "arrays.npy": b"\x93NUMPY\x01\x00v\x00{'descr'" + bytes(100),
    "page.pt": b"<!doctype html><html>" + bytes(100),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_named_in_one_sentence(name, tmp_path):
    (tmp_path / name).write_bytes(FOREIGN[name])
    refused(tmp_path / name, "is damaged, or holds more than tensors: download it again")


def test_a_model_of_transformers_is_called_one(tmp_path):
    names = ["text_model.embeddings.token_embedding.weight", "vision_model.embeddings.class_embedding"]
    torch.save({name: torch.ones(4, 4) for name in names}, tmp_path / "pytorch_model.bin")
    refused(
        tmp_path / "pytorch_model.bin", "is one of transformers' CLIPModel.*: give OpenAI's own by its name"
    )


def test_a_model_whose_heads_would_be_guessed_wrong_is_refused(tmp_path):
    """open_clip's ViT-H has heads of 80 numbers; clip makes them of 64, and every shape fits."""
    from tests.encoding.test_clip import random_clip

    small = {"vision_layers": 1, "transformer_layers": 1, "transformer_width": 64, "transformer_heads": 1}
    path = tmp_path / "open_clip_pytorch_model.bin"
    torch.save(random_clip(**small, vision_width=1280).state_dict(), path)
    refused(path, "is 1280 wide, as open_clip's ViT-H")
