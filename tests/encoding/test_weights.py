import subprocess
import sys
from pathlib import Path

import pytest
from clip import clip

from tests.file_server import BODY, LFS_POINTER, OTHER, FileServer, Reply, refusing_url, sha256
from videolib.encoding.weights import find_weights
from videolib.errors import DownloadError, ModelError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and no model directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("VIDEOLIB_MODEL_DIR", raising=False)
    return tmp_path


@pytest.fixture
def tiny(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model name that clip would download from the local server."""
    monkeypatch.setitem(clip._MODELS, "tiny", server.add(f"/{sha256(BODY)}/tiny.pt", Reply(BODY)))
    return "tiny"


def put(path: Path, body: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


@pytest.mark.parametrize("kind", [str, Path])
def test_weights_by_path(home: Path, kind: type) -> None:
    path = put(home / "mine.pt", BODY)
    assert find_weights(kind(path)) == path


def test_weights_by_path_do_not_import_torch(home: Path) -> None:
    path = put(home / "mine.pt", BODY)
    program = (
        "import sys; from videolib.encoding.weights import find_weights; find_weights(sys.argv[1]); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, path], cwd=Path(__file__).parents[2], check=True)


def test_weights_in_the_model_directory_come_first(
    server: FileServer, home: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOLIB_MODEL_DIR", str(home / "models"))
    put(home / ".cache" / "clip" / "tiny.pt", BODY)
    path = put(home / "models" / "tiny.pt", BODY)
    assert find_weights(tiny) == path
    assert not server.requests


def test_weights_in_the_cache_of_clip_are_used(
    server: FileServer, home: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOLIB_MODEL_DIR", str(home / "models"))
    path = put(home / ".cache" / "clip" / "tiny.pt", BODY)
    assert find_weights(tiny) == path
    assert not server.requests


def test_weights_are_downloaded_into_the_cache_of_clip(home: Path, tiny: str) -> None:
    path = find_weights(tiny, progress=False)
    assert path == home / ".cache" / "clip" / "tiny.pt"
    assert path.read_bytes() == BODY


def test_weights_are_downloaded_into_the_model_directory(
    home: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOLIB_MODEL_DIR", str(home / "models"))
    assert find_weights(tiny, progress=False) == home / "models" / "tiny.pt"


def test_weights_that_come_wrong_are_refused(server: FileServer, home: Path, tiny: str) -> None:
    server.add(f"/{sha256(BODY)}/tiny.pt", Reply(OTHER))
    with pytest.raises(ModelError, match=f"must have the SHA-256 {sha256(BODY)}, got {sha256(OTHER)}"):
        find_weights(tiny, progress=False)


def test_weights_found_with_another_digest_are_refused_and_left_alone(home: Path, tiny: str) -> None:
    path = put(home / ".cache" / "clip" / "tiny.pt", OTHER)
    with pytest.raises(ModelError, match=f"must have the SHA-256 {sha256(BODY)}, got .*; delete it to"):
        find_weights(tiny)
    assert path.read_bytes() == OTHER


def test_git_lfs_pointer_is_not_weights(home: Path) -> None:
    path = put(home / "mine.pt", LFS_POINTER)
    with pytest.raises(ModelError, match=r"is a Git LFS pointer, .*; run `git lfs pull`"):
        find_weights(str(path))


def test_git_lfs_pointer_in_the_cache_is_not_weights(home: Path, tiny: str) -> None:
    put(home / ".cache" / "clip" / "tiny.pt", LFS_POINTER)
    with pytest.raises(ModelError, match="is a Git LFS pointer"):
        find_weights(tiny)


def test_unknown_model_lists_the_known_ones(home: Path) -> None:
    with pytest.raises(
        ValueError, match=r"model must be a checkpoint file or one of .*'ViT-B/32'.*got 'ViT'"
    ):
        find_weights("ViT")


def test_offline_model_error_tells_what_to_put_where(
    home: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(clip._MODELS, tiny, refusing_url(f"/{sha256(BODY)}/tiny.pt"))
    monkeypatch.setenv("VIDEOLIB_MODEL_DIR", str(home / "models"))
    with pytest.raises(ModelError, match=r"model 'tiny' needs tiny\.pt with") as caught:
        find_weights(tiny, progress=False)
    for part in (sha256(BODY), home / "models", home / ".cache" / "clip", "allow the host 127.0.0.1"):
        assert str(part) in str(caught.value)
    assert isinstance(caught.value.__cause__, DownloadError)
