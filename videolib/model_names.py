"""Models of open_clip by one name, `open_clip:ARCHITECTURE/WEIGHTS`: told apart and checked before anything loads."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from pathlib import Path

from videolib.addresses import hide_secrets
from videolib.extras import missing_extra

PREFIX = "open_clip:"


def split_open_clip(model: str) -> tuple[str, str] | None:
    """Split "open_clip:ViT-B-16-SigLIP2-256/webli" into architecture and weights; None for models of other names.

    Raises
    ------
    ValueError
        If the architecture or the weights are not named, or open_clip knows no such architecture.
    ImportError
        If open_clip is not installed.
    """
    if not model.startswith(PREFIX):
        return None
    architecture, _, weights = model.removeprefix(PREFIX).partition("/")
    if not architecture or not weights:
        raise ValueError(
            "model must be open_clip:ARCHITECTURE/WEIGHTS, such as 'open_clip:ViT-B-16-SigLIP2-256/webli', "
            f"got {hide_secrets(model)!r}: the weights are a name that open_clip knows, a file or a folder"
        )
    check_architecture(architecture)
    return architecture, weights


def check_architecture(name: str) -> None:
    """Raise ValueError, with the nearest names, where open_clip has no architecture of that name."""
    known = _architectures()
    if name not in known:
        raise ValueError(
            f"architecture must be one of open_clip.list_models(), got {name!r}: {nearest(name, known)}"
        )


def nearest(name: str, known: list[str]) -> str:
    """Say which of the known names are near to one that is not known, or all where they are few."""
    by_case = {each.lower(): each for each in known}
    near = [by_case[each] for each in difflib.get_close_matches(name.lower(), by_case, n=4, cutoff=0.5)]
    if not near and len(known) > 12:
        return f"there are {len(known)}"
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {sorted(known)}"


def _architectures() -> list[str]:
    """The architectures' names, which are those of files, so that open_clip and torch need not be imported."""
    if "open_clip" in sys.modules:  # a program may have added some
        import open_clip

        return list(open_clip.list_models())
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(missing_extra("a model of open_clip needs that library", "open-clip"))
    folder = Path(spec.submodule_search_locations[0])
    return [path.stem for path in folder.glob("model_configs/*.json")]
