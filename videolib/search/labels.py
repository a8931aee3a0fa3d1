"""Which of some labels each frame shows, or none of them; and when, as spans of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.search.evidence import NullQueries, corrected, null_queries
from videolib.search.similarities import similarity, spread_evenly
from videolib.types import FloatArray

if TYPE_CHECKING:
    from videolib.encoding import Encoder

NONE_OF_THESE = "none of these"
LOGIT_SCALE = 100.0  # what CLIP is trained to, and stops at (arXiv:2103.00020, section 2.5)
SAMPLE_SIZE = 1000  # frames that tell how high unrelated descriptions come


def label_frames(
    embeddings: npt.ArrayLike,
    labels: Sequence[str],
    encoder: Encoder,
    *,
    nulls: NullQueries | None = None,
    level: float = 0.01,
    scale: float = LOGIT_SCALE,
) -> pd.DataFrame:
    """Tell for each frame how probable each label is, and that it shows none of these.

    The labels compete with each other as in CLIP's zero-shot classification, a softmax of `scale` times the
    similarity, and with what unrelated descriptions reach: "none of these" has the similarity that they pass
    on one frame in 1 / `level`.

    Parameters
    ----------
    embeddings
        (n, d) embeddings of frames, best of one whole video or more.
    labels
        Descriptions such as "a car" and "a red balloon", each once.
    nulls
        What `null_queries` gives; by default those of the encoder.
    level
        How often an unrelated description passes for a label; lower gives more "none of these".
    scale
        Sharpness of the probabilities: the model's logit scale.

    Returns
    -------
    One row for each frame, one column for each label and the last for "none of these"; rows add up to 1.

    Raises
    ------
    ValueError
        If there are no labels, one stands there twice or is blank or too long, a shape is wrong, or a number
        is out of range.
    """
    names = [labels] if isinstance(labels, str) else list(labels)
    if not names or len({*names, NONE_OF_THESE}) <= len(names) or not all(map(_is_text, names)):
        raise ValueError(f"labels must be descriptions, each once, and not {NONE_OF_THESE!r}, got {labels!r}")
    if not 0 < level < 1 or not scale > 0:
        raise ValueError(
            f"level must lie between 0 and 1, and scale above 0, got {level} and {scale}: leave them out"
        )
    nulls = null_queries(encoder) if nulls is None else nulls
    if not len(nulls):
        raise ValueError("nulls must be at least one description, got none: leave them out")
    queries = encoder.encode_texts(names)
    rows = np.asarray(embeddings, dtype=np.float32)
    columns = [*names, NONE_OF_THESE]
    if rows.size == 0:
        return pd.DataFrame(np.zeros((0, len(columns))), columns=columns)
    similarities = np.stack([similarity(query, rows) for query in queries], axis=1)  # (n, labels)
    mean = rows.mean(axis=0)
    logits = (
        scale
        * np.c_[
            corrected(similarities, queries, mean),
            np.full(len(rows), _reached_by_chance(rows, nulls, mean, level)),
        ]
    )
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return pd.DataFrame(odds / odds.sum(axis=1, keepdims=True), columns=columns)


def label_spans(timestamps_seconds: npt.ArrayLike, probabilities: pd.DataFrame) -> pd.DataFrame:
    """Tell when each label is on screen: runs of frames whose most probable label it is.

    A single frame of something else inside a run is taken for noise. A span goes half a sample beyond its frames, and
    ends where frames are missing.

    Parameters
    ----------
    timestamps_seconds
        (n,) times of one video's frames, ascending.
    probabilities
        What `label_frames` gives for them.

    Returns
    -------
    Columns label, start_seconds, end_seconds, probability (the mean of its frames), in order of time; nothing for
    "none of these".

    Raises
    ------
    ValueError
        If there is not one time for each row, or they do not ascend.
    """
    seconds = np.asarray(timestamps_seconds, dtype=float)
    if seconds.shape != (len(probabilities),) or not (np.diff(seconds) > 0).all():
        raise ValueError(
            f"timestamps_seconds must be {len(probabilities)} ascending times, one for each row of "
            f"probabilities, got shape {seconds.shape}: label the frames of one video at a time"
        )
    columns = ["label", "start_seconds", "end_seconds", "probability"]
    if not len(seconds):
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(columns[1:], float))
    before, after, gaps = _edges(seconds)
    best = _without_noise(probabilities.to_numpy().argmax(axis=1), gaps)  # (n,)
    ends = np.flatnonzero(np.r_[(np.diff(best) != 0) | gaps, True]) + 1
    spans = []
    for start, end in zip(np.r_[0, ends[:-1]], ends, strict=True):
        label = probabilities.columns[best[start]]
        if label != NONE_OF_THESE:
            mean = probabilities.iloc[start:end, best[start]].mean()
            spans.append((label, before[start], after[end - 1], mean))
    return pd.DataFrame(spans, columns=columns).astype(dict.fromkeys(columns[1:], float))


def _is_text(label: object) -> bool:
    return isinstance(label, str) and bool(label.strip())


def _reached_by_chance(rows: FloatArray, nulls: NullQueries, mean: FloatArray, level: float) -> float:
    """The similarity, corrected, that unrelated descriptions pass on this share of the frames."""
    sample = rows[spread_evenly(len(rows), SAMPLE_SIZE)]
    similarities = corrected(sample @ nulls.embeddings.T, nulls.embeddings, mean)
    return float(np.quantile(similarities, 1 - level))


def find_gaps(seconds: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.bool_], float]:
    """Tell between which of ascending times frames of an even sampling are missing, (n - 1,), and its usual step.

    Keyframes and shots are uneven, and none is missing.
    """
    steps = np.diff(seconds)
    usual = float(np.median(steps)) if len(steps) else 0.0
    is_even = bool(np.isclose(steps, usual).mean() > 0.8) if len(steps) else False
    return (steps > 1.5 * usual) & is_even, usual


def _edges(
    seconds: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """How far each frame reaches back and forth, (n,) each; and where frames are missing between two, (n - 1,)."""
    steps, (gaps, usual) = np.diff(seconds), find_gaps(seconds)
    halves = np.where(gaps, usual, steps) / 2
    before = np.maximum(seconds - np.r_[usual / 2, halves], 0)
    return before, seconds + np.r_[halves, usual / 2], gaps


def _without_noise(best: npt.NDArray[np.intp], gaps: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Give a single frame between two of another label their label."""
    smooth = best.copy()
    for n in range(1, len(best) - 1):
        if best[n - 1] == best[n + 1] and not gaps[n - 1 : n + 1].any():
            smooth[n] = best[n - 1]
    return smooth
