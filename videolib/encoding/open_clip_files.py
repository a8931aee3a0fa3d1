"""Where the weights and the tokenizer of an open_clip model come from, and how they are loaded."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from videolib.addresses import hide_secrets, local_path, printable
from videolib.downloads import file_sha256
from videolib.errors import ModelError
from videolib.extras import missing_extra
from videolib.model_names import PREFIX, check_architecture, nearest

T = TypeVar("T")
CONFIG = "open_clip_config.json"  # beside the weights in each of the hub's folders


@dataclass(frozen=True)
class Files:
    """What a model is made of."""

    name: str  # "open_clip:ARCHITECTURE/WEIGHTS"
    source: str  # as open_clip takes it: an architecture, or "local-dir:FOLDER"
    weights: Path
    settings: dict[str, Any]  # how it was trained: mean, std, interpolation, resize_mode, quick_gelu


def find_files(architecture: str, pretrained: str | os.PathLike[str]) -> Files:
    """Find what is asked for in a folder, in a file, in the hub's cache, or on the hub."""
    open_clip = import_open_clip()
    check_architecture(architecture)
    given = os.fspath(pretrained)
    tags: dict[str, dict[str, Any]] = open_clip.pretrained._PRETRAINED.get(architecture, {})
    tag = given.lower().replace("-", "_")  # as open_clip reads it
    if tag in tags:
        return Files(f"{PREFIX}{architecture}/{tag}", architecture, _weights_of(tags[tag], given), tags[tag])
    path = local_path(given)
    if os.path.isdir(path):
        source, weights, settings = f"local-dir:{path}", _weights_in(path, architecture), {}
        stem = path.resolve().name
    elif os.path.isfile(path):
        source, weights, settings, stem = architecture, path, _usual_settings(architecture, tags), path.stem
    else:
        raise ValueError(
            f"pretrained must be weights that open_clip knows for {architecture!r}, a file or a folder, "
            f"got {hide_secrets(given)!r}: {nearest(tag, list(tags))}"
        )
    name = f"{PREFIX}{architecture}/{printable(stem)}-{file_sha256(weights)[:8]}"
    return Files(name, source, weights, settings)


def load_model(files: Files) -> Any:
    """The model with its weights, float32, on the CPU; `model.visual.preprocess_cfg` says what its images are."""
    open_clip = import_open_clip()
    from timm.utils import reparameterize_model

    with _one_sentence(f"{str(files.weights)!r} cannot be loaded as {files.name.rpartition('/')[0]!r}"):
        if files.source.startswith("local-dir:"):
            model = open_clip.create_model(files.source)
        else:
            model = open_clip.create_model(
                files.source,
                str(files.weights),
                force_quick_gelu=bool(files.settings.get("quick_gelu")),
                force_preprocess_cfg=files.settings,
            )
    if hasattr(model, "text_decoder"):
        del model.text_decoder  # with it CoCa writes captions
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.sum(dtype=torch.float64).isfinite():
            raise ModelError(
                f"model must have finite weights, got {str(files.weights)!r} with NaN or infinity in {name!r}"
            )
    model.eval().requires_grad_(False)
    # Branches made one, as MobileCLIP is meant to be run: 1.6 times faster, and the same but for rounding.
    model.visual = reparameterize_model(model.visual, inplace=True)
    return model


def load_tokenizer(files: Files) -> Any:
    """The model's own tokenizer, from its folder, from open_clip itself, or from the hub."""
    open_clip = import_open_clip()
    config = open_clip.get_model_config(files.source)["text_cfg"]
    repository = config.get("hf_tokenizer_name", "")
    if files.source.startswith("local-dir:") or not repository or os.path.isdir(repository):
        with _one_sentence(f"the tokenizer of {files.name!r} cannot be loaded"):
            return open_clip.get_tokenizer(files.source)
    return _from_hub(
        repository,
        "the tokenizer's files",
        lambda **options: open_clip.get_tokenizer(files.source, **options),
    )


def import_open_clip() -> Any:
    """Import open_clip; ImportError with the extra that is missing."""
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(missing_extra("a model of open_clip needs that library", "open-clip")) from error
    return open_clip


def _weights_of(settings: dict[str, Any], tag: str) -> Path:
    if "file" in settings:
        return Path(settings["file"])
    from huggingface_hub import hf_hub_download

    repository, _, name = settings["hf_hub"].rpartition("/")
    names = [f"{os.path.splitext(name)[0]}.safetensors", name]
    if not name:
        names = ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]

    def fetch(**options: Any) -> Path:
        from huggingface_hub.errors import EntryNotFoundError

        for each in names[:-1]:
            with contextlib.suppress(EntryNotFoundError):
                return Path(hf_hub_download(repository, each, **options))
        return Path(hf_hub_download(repository, names[-1], **options))

    return _from_hub(repository, names[0], fetch)


def _from_hub(repository: str, what: str, fetch: Callable[..., T]) -> T:
    """Take it from the hub's cache, else from the hub, and say at once where there is no way to it."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    problem = "HF_HUB_OFFLINE is set"
    try:
        with contextlib.suppress(OSError):  # what is not in the cache
            return fetch(local_files_only=True)
        if not constants.HF_HUB_OFFLINE:
            get_session().head(
                constants.ENDPOINT, timeout=10
            )  # the hub's own client goes on trying for minutes
            return fetch()
    except ImportError as error:
        raise ImportError(missing_extra(f"{repository} needs {error.name}", "open-clip")) from error
    except Exception as error:  # that of whichever client it uses
        problem = str(error).strip().partition("\n")[0]
    raise ModelError(
        f"model needs {what} of {repository}, not in {constants.HF_HUB_CACHE}, and not to be had from "
        f"{constants.ENDPOINT} ({problem}): allow that host; or bring here the folder that `hf download {repository} "
        "--local-dir FOLDER` makes elsewhere, and give it as pretrained; or set HF_HUB_CACHE to a cache that has it"
    )


def _weights_in(folder: Path, architecture: str) -> Path:
    open_clip = import_open_clip()
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_cfg"]
        found, wanted = _shape(config), _shape(open_clip.get_model_config(architecture))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"pretrained must be a folder with {CONFIG}, as the hub has it, got {str(folder)!r}: give the file itself "
            "where the folder holds weights alone"
        ) from error
    if found != wanted:
        raise ValueError(
            f"pretrained must hold a model of the architecture {architecture!r}, which is {wanted}, "
            f"got {str(folder)!r} with {found}"
        )
    weights = open_clip.factory._find_checkpoint_in_dir(folder)
    if weights is None:
        raise ModelError(
            f"pretrained must be a folder with weights, got {str(folder)!r}: no .safetensors, .bin or .pth"
        )
    return Path(weights)


def _shape(config: dict[str, Any]) -> dict[str, Any]:
    vision = config["vision_cfg"]
    keys = ("timm_model_name", "image_size", "layers", "width", "patch_size")
    return {"embed_dim": config["embed_dim"]} | {key: vision[key] for key in keys if key in vision}


def _usual_settings(architecture: str, tags: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The settings of a file that does not tell them: those of all published weights of its architecture."""
    keys = ("mean", "std", "interpolation", "resize_mode")
    settings = [{key: tag[key] for key in keys if key in tag} for tag in tags.values()]
    if any(each != settings[0] for each in settings):
        raise ValueError(
            f"pretrained must be a folder with {CONFIG} for {architecture!r}, got a file alone: the weights that are "
            "known of it were trained with images prepared in different ways, which a file does not tell"
        )
    return settings[0] if settings else {}


@contextlib.contextmanager
def _one_sentence(problem: str) -> Iterator[None]:
    """Raise ModelError for what torch and open_clip say in many lines, or as nearly any exception."""
    try:
        yield
    except ImportError as error:
        raise ImportError(missing_extra(f"{problem}: it needs {error.name}", "open-clip")) from error
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200]
        if isinstance(error, RuntimeError) and "state_dict" in reason:
            reason = "it has other tensors than the architecture"
        elif "weights_only" in str(error) or not isinstance(error, RuntimeError | OSError | ValueError):
            reason = "it is damaged, or holds more than tensors"
        raise ModelError(f"model must be one of open_clip, but {problem}: {reason}") from None
