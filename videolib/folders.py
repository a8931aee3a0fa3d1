"""Where what a model needs is looked for and kept, and how a file comes to its place whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videolib.addresses import local_path


def model_folders() -> list[Path]:
    """The folders of model weights: the environment's `VIDEOLIB_MODEL_DIR` if set, then `~/.cache/clip`."""
    given = os.environ.get("VIDEOLIB_MODEL_DIR")
    return [local_path(folder) for folder in (given, "~/.cache/clip") if folder]


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a path to write to, and put the file in the place of `target` once it is whole."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".videolib-") as folder:
        part = Path(folder) / f"part{target.suffix}"
        yield part
        part.replace(target)
