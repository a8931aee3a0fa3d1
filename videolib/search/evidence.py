"""How sure an answer is: what unrelated descriptions reach in the same videos, and a p-value from it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.demo import DEMO_MODEL_PATH
from videolib.errors import StoreError
from videolib.folders import model_folders
from videolib.types import FloatArray

if TYPE_CHECKING:
    from videolib.encoding import Encoder

# A description that fits every frame a little has a high mean: words that the model never learned all land there.
# Taking off all of the mean would punish a description of what is seen often. Measured in the demo world, where the
# frames of other videos served no better.
REFERENCE_SHARE = 0.25
ROUNDING = 1e-6  # databases add in another order: a null query that is the query itself ties with it
CHUNK_SIZE = 16_384  # frames that are compared with all null queries at a time

_EVERYDAY = Path(__file__).with_name("nulls.txt")
_DEMO = DEMO_MODEL_PATH.with_name("nulls.txt")
_known: dict[str, NullQueries] = {}


class Searched(Protocol):
    """Where embeddings come from: a `FrameStore` or a `FrameIndex`."""

    def list_videos(self) -> pd.DataFrame: ...
    def read_embeddings(self, video_id: str) -> Iterator[FloatArray]: ...


@dataclass(frozen=True, eq=False, repr=False)
class NullQueries:
    """Descriptions that have nothing to do with what is searched for, embedded: (n, d) unit rows.

    What they reach in a video is remembered for as long as the store, or index, that it was read from.
    """

    texts: tuple[str, ...]
    embeddings: FloatArray
    _kept: WeakKeyDictionary[Any, dict[Any, tuple[FloatArray, FloatArray]]] = field(
        default_factory=WeakKeyDictionary
    )

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self.texts):
            raise ValueError(
                f"embeddings must have one row for each of {len(self.texts)} texts, got shape "
                f"{self.embeddings.shape}: pass encoder.encode_texts(texts)"
            )

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"NullQueries({len(self)} descriptions, dimension {self.embeddings.shape[1]})"


def null_queries(encoder: Encoder, texts: Sequence[str] | None = None) -> NullQueries:
    """Embed the null queries of a model: 200 everyday descriptions, or 200 drawn ones for the model "demo".

    The demo world's ask for two colours of one thing, which no scene has. The embeddings are remembered, and kept
    beside the weights, in `VIDEOLIB_MODEL_DIR` or ``~/.cache/clip``; a file there that is damaged, or
    another model's, is made anew.

    Parameters
    ----------
    texts
        Other descriptions: at least 99 for a p-value of 0.01, and few of them really in the videos.

    Raises
    ------
    ValueError
        If a text is too long for the model.
    """
    if texts is None:
        is_demo = encoder.model.startswith(f"{DEMO_MODEL_PATH.stem}-")
        texts = (_DEMO if is_demo else _EVERYDAY).read_text(encoding="utf-8").splitlines()
    texts = tuple(texts)
    if not texts:
        return NullQueries((), np.zeros((0, encoder.dimension), dtype=np.float32))
    digest = hashlib.sha256("\n".join([encoder.model, *texts]).encode()).hexdigest()[:16]
    first = encoder.encode_texts(texts[:1])  # tells whether what is kept is this model's
    if digest in _known and _is_right(_known[digest].embeddings, len(texts), first):
        return _known[digest]
    path = model_folders()[0] / f"null_queries-{digest}.npy"
    embeddings = _read(path)
    if not _is_right(embeddings, len(texts), first):
        embeddings = encoder.encode_texts(texts)
        _write(path, embeddings)
    _known[digest] = NullQueries(texts, embeddings)
    return _known[digest]


def judge(
    found: pd.DataFrame,
    query: npt.ArrayLike,
    store: Searched,
    nulls: NullQueries,
    *,
    level: float = 0.1,
    video_id: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Tell how sure moments or matches are: how many unrelated descriptions do as well in the same videos.

    The p-value is conformal, (1 + the null queries that do as well) / (1 + all of them), and assumes nothing of how
    they are distributed: where the description is not in the videos, it is at most `level` about that often. Null
    queries that are really in the videos make it larger. How well a description does is its highest
    similarity, less a quarter of its mean similarity to the frames of these videos.

    Parameters
    ----------
    found
        Moments or matches, with the column similarity.
    query
        (d,) the query they were found by. A text: pictures are more similar to frames than any text, and need null
        queries that are pictures.
    store
        The store that was searched, or an index of it. The first time, all embeddings searched are read, some at a
        time; after that only those of new videos.
    nulls
        What `null_queries` gives.
    level
        What counts as found: a p-value of at most this.
    video_id
        The video, or videos, if only these were searched.

    Returns
    -------
    `found` with the columns p_value, found and sentence.

    Raises
    ------
    ValueError
        If the query does not fit, level is not between 0 and 1, or there are too few null queries for it.
    StoreError
        If the video is not in the store, or nothing is.
    """
    one = np.asarray(query, dtype=np.float32)
    if one.shape != nulls.embeddings.shape[1:] or not np.isfinite(one).all() or not one.any():
        raise ValueError(
            f"query must be one embedding of shape {nulls.embeddings.shape[1:]}, finite and not 0, got shape "
            f"{one.shape}: use the encoder of the null queries"
        )
    check_level(level, nulls)
    if found.empty:
        return found.assign(p_value=np.zeros(0), found=np.zeros(0, dtype=bool), sentence=np.zeros(0, object))
    videos = _searched(store, video_id)
    highest, mean = survey(store, nulls, videos)
    rows = one[None] / np.linalg.norm(one)
    similarities = found["similarity"].to_numpy(float) / np.linalg.norm(one)
    if not np.isfinite(similarities).all():
        raise ValueError("similarities must be finite numbers, got NaN or infinity: check the embeddings")
    counts = count_as_good(similarities, rows, nulls, highest, mean)
    p_values = (1 + counts) / (1 + len(nulls))
    where = "this video" if len(videos) == 1 else "these videos"
    sentences = [
        _sentence(count, len(nulls), p <= level, where) for count, p in zip(counts, p_values, strict=True)
    ]
    return found.assign(p_value=p_values, found=p_values <= level, sentence=sentences)


def check_level(level: float, nulls: NullQueries) -> None:
    """ValueError if no p-value by these null queries can be at most `level`, or all of them are."""
    if not 0 < level < 1 or 1 / (1 + len(nulls)) > level:
        raise ValueError(
            f"level must lie between 1 / (1 + the number of null queries) and 1, got {level} with {len(nulls)}: "
            "take more null queries, or a higher level"
        )


def count_as_good(
    similarities: npt.NDArray[Any],
    query: FloatArray,
    nulls: NullQueries,
    highest: FloatArray,
    mean: FloatArray,
) -> npt.NDArray[np.int64]:
    """How many null queries, which reach `highest` (n,), do as well as each of these similarities (m,) of (1, d)."""
    reached = corrected(similarities[:, None], query, mean)[:, 0]  # (m,)
    by_chance = corrected(highest[None], nulls.embeddings, mean)[0]  # (n,)
    counts: npt.NDArray[np.int64] = (by_chance >= reached[:, None] - ROUNDING).sum(axis=1)
    return counts


def corrected(similarities: npt.NDArray[Any], queries: FloatArray, mean: FloatArray) -> npt.NDArray[Any]:
    """Similarities (m, q) of q queries (q, d), less a share of what each has to the mean frame, (d,)."""
    less: npt.NDArray[Any] = similarities - REFERENCE_SHARE * np.vecdot(queries, mean)
    return less


def _sentence(count: int, total: int, is_found: bool, where: str) -> str:
    who = "No unrelated description" if count == 0 else str(count)
    does = "does" if count < 2 else "do"
    of = f"{who} of {total}" if count == 0 else f"{who} of {total} unrelated descriptions"
    return f"{of} {does} as well" + ("" if is_found else f": it is probably not in {where}")


def _searched(store: Searched, video_id: str | Sequence[str] | None) -> pd.DataFrame:
    videos = store.list_videos()
    if video_id is None:
        videos = videos[videos["latest"].astype(bool)]
    else:
        videos = videos[videos["video_id"].isin([video_id] if isinstance(video_id, str) else list(video_id))]
    videos = videos[videos["frame_count"] > 0]
    if videos.empty:
        wanted = "frames" if video_id is None else f"frames of video_id {video_id!r}"
        raise StoreError(f"{store!r} must hold {wanted}, and has none: see list_videos()")
    return videos


def survey(store: Searched, nulls: NullQueries, videos: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    """What each null query reaches in any of the videos, (n,), and the mean of all their frames, (d,)."""
    kept = nulls._kept.setdefault(store, {})
    best = np.full(len(nulls), -np.inf, dtype=np.float32)
    total = np.zeros(nulls.embeddings.shape[1])
    for row in videos.itertuples():
        state = (row.video_id, row.frame_count, row.last_frame_number)
        if state not in kept:
            kept[state] = _survey_video(store, nulls, str(row.video_id))
        highest, frame_total = kept[state]
        np.maximum(best, highest, out=best)
        total += frame_total
    return best, (total / videos["frame_count"].sum()).astype(np.float32)


def _survey_video(store: Searched, nulls: NullQueries, video_id: str) -> tuple[FloatArray, FloatArray]:
    highest = np.full(len(nulls), -np.inf, dtype=np.float32)
    total = np.zeros(nulls.embeddings.shape[1], dtype=np.float32)
    for embeddings in store.read_embeddings(video_id):
        for start in range(0, len(embeddings), CHUNK_SIZE):
            part = embeddings[start : start + CHUNK_SIZE]  # (m, d)
            np.maximum(highest, (part @ nulls.embeddings.T).max(axis=0), out=highest)
            total += part.sum(axis=0)
    return highest, total


def _is_right(embeddings: FloatArray, count: int, first: FloatArray) -> bool:
    """Whether kept embeddings are whole, and this model's: half precision moves them by less than 0.01."""
    return (
        embeddings.shape == (count, first.shape[1])
        and bool(np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-3))
        and bool(np.allclose(embeddings[0], first[0], atol=0.01))
    )


def _read(path: Path) -> FloatArray:
    """Read what was kept; nothing, (0, 0), where the file is absent or damaged."""
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
    except (OSError, ValueError, EOFError):
        return np.zeros((0, 0), dtype=np.float32)


def _write(path: Path, embeddings: FloatArray) -> None:
    # Whole or not at all; where nobody may write, they are embedded anew the next time.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            np.save(file, embeddings)
        os.replace(file.name, path)
