"""Where the weights of a CLIP model come from, and what they are called."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path

from videolib.addresses import hide_secrets, local_path, printable
from videolib.demo import DEMO_MODEL_PATH
from videolib.downloads import download_file, file_sha256, read_head
from videolib.errors import DownloadError, ModelError
from videolib.folders import model_folders

_LFS_POINTER = b"version https://git-lfs"


def find_weights(model: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """The checkpoint file of a CLIP model: as given, else found, else downloaded.

    A name is looked for in the environment's `VIDEOLIB_MODEL_DIR` if set, then in `~/.cache/clip`, and
    downloaded into the first of these; the file's SHA-256 is checked each time, which takes below a second.

    Parameters
    ----------
    model
        A path to a checkpoint, "demo", or a name in `clip.available_models()`.

    Raises
    ------
    ValueError
        `model` is neither a file nor a known name.
    ModelError
        The weights cannot be had, or the file found is a Git LFS pointer or has another digest.
    """
    model = os.fspath(model)
    if model == "demo":
        return DEMO_MODEL_PATH
    if os.path.isfile(path := local_path(model)):  # Path.is_file raises where the name is too long
        return _checked(path, None)
    addresses = _official_addresses()
    if model not in addresses:
        raise ValueError(
            f"model must be a checkpoint file or one of {sorted(addresses)}, got {hide_secrets(model)!r}"
        )
    url = addresses[model]
    sha256, name = url.split("/")[-2:]
    paths = [folder / name for folder in model_folders()]
    for path in paths:
        if path.is_file():
            return _checked(path, sha256)
    try:
        return download_file(url, paths[0], sha256=sha256, progress=progress)
    except DownloadError as error:
        places = " nor in ".join(str(path.parent) for path in paths)
        raise ModelError(
            f"model {model!r} needs {name} with the SHA-256 {sha256}, which is not in {places}: {error}"
        ) from error


def model_name(path: Path) -> str:
    """OpenAI's name where the file is one of theirs, else the file's stem and the start of its SHA-256."""
    digest = file_sha256(path)
    return _official_digests().get(digest, f"{printable(path.stem)}-{digest[:8]}")


def is_official(path: Path) -> bool:
    """Tell whether a file is one of OpenAI's own, by its SHA-256."""
    return file_sha256(path) in _official_digests()


def is_demo(path: Path) -> bool:
    """Tell whether a file is the demo model, by its bytes."""
    return path.stat().st_size == DEMO_MODEL_PATH.stat().st_size and filecmp.cmp(
        path, DEMO_MODEL_PATH, shallow=False
    )


def _official_digests() -> dict[str, str]:
    return {url.split("/")[-2]: name for name, url in _official_addresses().items()}


def _official_addresses() -> dict[str, str]:
    """The address of each model's file, whose last folder is its SHA-256."""
    from videolib.encoding.towers import clip  # here, because it imports torch

    addresses: dict[str, str] = clip.clip._MODELS
    return addresses


def _checked(path: Path, sha256: str | None) -> Path:
    if read_head(path).startswith(_LFS_POINTER):
        raise ModelError(
            f"{path} is a Git LFS pointer, not the weights themselves; run `git lfs pull` where it lies"
        )
    if sha256 is not None and (actual := file_sha256(path)) != sha256:
        raise ModelError(
            f"{path} must have the SHA-256 {sha256}, got {actual}; delete it to download it again, "
            "or give its path as the model if it is another model"
        )
    return path
