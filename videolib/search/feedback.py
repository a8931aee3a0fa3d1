"""More like this, less like that: a query that is moved by the frames a person marked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from videolib.search.queries import combine
from videolib.search.similarities import normalize, similarity
from videolib.types import FloatArray

# Measured in the demo world: more helps vague queries, and makes worse what was right.
MARGIN, MOST, ONE_SIDED = 0.4, 0.5, 0.1


def refine(
    query: npt.ArrayLike,
    liked: npt.ArrayLike,
    disliked: npt.ArrayLike = (),
    *,
    embeddings: npt.ArrayLike,
) -> FloatArray:
    """Move a query towards frames that are liked and away from those that are not, no farther than it must.

    It is moved along the direction from the disliked frames to the liked ones, on z-scores, until every
    liked frame is 0.4 standard deviations above every disliked one (the passive-aggressive update of Crammer et al.,
    JMLR 7, 2006). A query that tells them apart already stays as it is, and the query always weighs at least twice
    what the marks do, so that it cannot run away. Refine the first query with all marks, not a refined one.

    Parameters
    ----------
    query
        (d,) the query as it was asked.
    liked, disliked
        (m, d) embeddings of the marked frames; either may be empty, then the query goes a tenth of the way. To replay
        it without a person, keep their frame numbers:
        ``frames.set_index("frame_number").loc[[12, 40], "embedding_data"].tolist()``.
    embeddings
        (n, d) embeddings of the frames to be searched, or a fair sample of them, such as
        `FrameStore.sample_embeddings` gives.

    Returns
    -------
    (d,) float32, unit length. The same marks give the same query.

    Raises
    ------
    ValueError
        If a shape is wrong, a number is not finite, or there are no embeddings.
    """
    one, frames = normalize(query), np.asarray(embeddings, dtype=np.float32)
    if one.ndim != 1 or frames.size == 0:
        raise ValueError(
            f"query must be (d,) and embeddings (n, d) with n above 0, got shapes {one.shape} and {frames.shape}: "
            "pass the frames to be searched, or a sample of them"
        )
    wanted, unwanted = _marked("liked", liked, one), _marked("disliked", disliked, one)
    if not len(wanted) and not len(unwanted):
        return one
    mean = frames.mean(axis=0)
    direction = (wanted.mean(axis=0) if len(wanted) else mean) - (
        unwanted.mean(axis=0) if len(unwanted) else mean
    )
    share = ONE_SIDED
    if len(wanted) and len(unwanted):
        share = _needed(*(_gaps(each, wanted, unwanted, frames) for each in (one, direction)))
    return combine(one, direction, weights=[1, share], embeddings=frames)


def _gaps(query: FloatArray, wanted: FloatArray, unwanted: FloatArray, frames: FloatArray) -> FloatArray:
    """How far each liked frame is above each disliked one, (liked, disliked), in standard deviations."""
    spread = float(np.std(similarity(query, frames))) or 1.0
    gaps: FloatArray = similarity(query, wanted)[:, None] - similarity(query, unwanted)[None]
    return gaps / spread


def _needed(gaps: FloatArray, moved: FloatArray) -> float:
    """The least share of the direction that brings each gap to the margin, or what is allowed at most."""
    shares = np.where(moved > 0, (MARGIN - gaps) / np.where(moved > 0, moved, 1), 0)
    return float(np.clip(shares.max(), 0, MOST))


def _marked(name: str, marked: npt.ArrayLike, query: FloatArray) -> FloatArray:
    rows = np.asarray(marked, dtype=np.float32)
    if rows.size and (rows.ndim != 2 or rows.shape[1:] != query.shape):
        raise ValueError(
            f"{name} must be embeddings of shape (m, {query.shape[-1]}) to fit the query, got {rows.shape}: "
            "pass those of the marked frames, such as read_frames gives"
        )
    return rows.reshape(-1, query.shape[-1])
