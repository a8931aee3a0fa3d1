"""Where what a model needs is looked for and kept."""

from __future__ import annotations

import os
from pathlib import Path

from videolib.addresses import local_path


def model_folders() -> list[Path]:
    """The folders of model weights: the environment's `VIDEOLIB_MODEL_DIR` if set, then `~/.cache/clip`."""
    given = os.environ.get("VIDEOLIB_MODEL_DIR")
    return [local_path(folder) for folder in (given, "~/.cache/clip") if folder]
