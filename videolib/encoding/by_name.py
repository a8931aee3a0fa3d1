"""`load_encoder`: the encoder that a name asks for."""

from __future__ import annotations

import os

from videolib.encoding.batches import Precision
from videolib.encoding.clip import ClipEncoder
from videolib.encoding.open_clip import OpenClipEncoder
from videolib.model_names import split_open_clip


def load_encoder(
    model: str | os.PathLike[str],
    *,
    device: str = "auto",
    batch_size: int = 32,
    precision: Precision = "auto",
) -> ClipEncoder | OpenClipEncoder:
    """Load the encoder of a model by its name, as the notebooks' parameter `model` has it.

    Parameters
    ----------
    model
        As `ClipEncoder` takes it, or ``open_clip:ARCHITECTURE/WEIGHTS`` for an `OpenClipEncoder`, such as
        "open_clip:ViT-B-16-SigLIP2-256/webli" or "open_clip:ViT-B-16-SigLIP2-256/path/to/weights".
    device, batch_size, precision
        As in `ClipEncoder`.

    Raises
    ------
    ValueError
        If an argument is unknown, or the model's name is none.
    ModelError
        If weights or tokenizer cannot be found, downloaded or read.
    ImportError
        If the model is one of open_clip, which is not installed.
    """
    parts = split_open_clip(os.fspath(model))
    if parts is not None:
        return OpenClipEncoder(*parts, device=device, batch_size=batch_size, precision=precision)
    return ClipEncoder(model, device=device, batch_size=batch_size, precision=precision)
