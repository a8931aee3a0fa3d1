"""The errors that a caller may want to catch; bad arguments are `ValueError`."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 3  # of many, in one message


class VideolibError(Exception):
    """Base of every error that videolib raises on purpose, bad arguments apart."""


class VideoReadError(VideolibError):
    """The file is missing, empty, not a video, or damaged beyond reading."""


class DownloadError(VideolibError):
    """A download failed or what came is not what was asked for."""


class ModelError(VideolibError):
    """The model's weights are missing, damaged, or not those of a CLIP model."""


class StoreError(VideolibError):
    """The store cannot be opened, or it refuses what it was given."""


def interrupted(sentence: str) -> KeyboardInterrupt:
    """Make the interrupt of long work, which tells what is kept; a notebook shows the sentence alone."""
    error = KeyboardInterrupt(
        sentence
    )  # no class of its own: Python ends by the signal for this very type alone
    error._render_traceback_ = lambda: [f"KeyboardInterrupt: {sentence}"]  # type: ignore[attr-defined]  # IPython's
    return error


def name_some(names: Sequence[str]) -> str:
    """Put the first of many names into a message, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
