"""`evaluate`: how well a store answers what people marked, and whether a change made it better."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.search.evidence import NullQueries, check_level, count_as_good, null_queries, survey
from videolib.search.marks import as_marks
from videolib.search.measures import (
    Floats,
    average_precision,
    interval,
    ndcg_at,
    overlaps,
    ranks_of,
    recall_at,
)
from videolib.search.memory import FrameIndex
from videolib.search.moments import EXTEND_TO, OPEN_AT, check_levels, spans_of
from videolib.search.similarities import check_k
from videolib.types import FloatArray

if TYPE_CHECKING:
    from videolib.encoding import Encoder

Ranked = Literal["frames", "frames_of_video", "videos"]
RANKED = ("frames", "frames_of_video", "videos")
IOUS = (0.5, 0.7)
BLOCK_VALUES = 16_000_000  # similarities that are in memory at a time: 64 MB

Positions = npt.NDArray[np.intp]
_Said = tuple[float, float, bool]  # from when to when (NaN: the whole video), and whether that is right


class Loadable(Protocol):
    """What can be brought into memory: a `FrameStore`."""

    def load_index(self) -> FrameIndex: ...


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How well what people marked was found: what `evaluate` gives.

    Attributes
    ----------
    overall
        A row for each measure, its name in the index: mean over the queries, low and high (the 95 % bootstrap
        interval of the mean), count (the queries that have it).
    per_query
        A row for each query (and video, if ranked is "frames_of_video"): query, video_id, relevant (how many frames,
        or videos, are), and each measure; NaN where the marks do not tell.
    k, ranked
        As they were given.
    """

    overall: pd.DataFrame
    per_query: pd.DataFrame
    k: int
    ranked: Ranked

    def __repr__(self) -> str:
        lines = [f"Evaluation({len(self.per_query):,} queries, k={self.k}, ranked={self.ranked!r})"]
        for name, row in self.overall.iterrows():
            told = (
                f"{row['mean']:.3f}  {row['low']:.3f} to {row['high']:.3f}  of {int(row['count']):,} queries"
            )
            lines.append(f"  {name:<18}{told if row['count'] else 'no marks of it'}")
        return "\n".join(lines)


def evaluate(
    store: Loadable | FrameIndex,
    encoder: Encoder,
    marks: pd.DataFrame | Iterable[Mapping[str, Any]],
    k: int = 10,
    *,
    ranked: Ranked = "frames",
    queries: Mapping[str, npt.ArrayLike] | None = None,
    nulls: NullQueries | None = None,
    level: float = 0.1,
    open_at: float = OPEN_AT,
    extend_to: float = EXTEND_TO,
    seed: int = 0,
) -> Evaluation:
    """Measure how well the descriptions that people marked are found, with an interval for each measure.

    What is relevant: a frame within a span that is marked as right, or of a video that is, from its start up to its
    end, not included; a right span without a frame of the store counts as one that is not found. What nobody marked
    counts as wrong. Ties go to the earlier frame, as in a search. Measures of a query that has nothing right
    are NaN, and not counted. Where frames are sampled more often more are relevant, and fewer of them fit in k: compare
    samplings by R1.

    ======================  ===============================================================================
    recall@k                share of what is relevant among the first k
    average_precision       mean over what is relevant of the precision at its place, in the whole ranking
    ndcg@k                  gain 1 / log2(rank + 1) of the first k, as a share of the best possible
    R1@0.5, R1@0.7          whether the best moment (`find_moments`) has an IoU of at least that with a right span
    present                 share of its videos with a right mark in which it is found (`judge`)
    absent                  share of the videos marked as without it of which "not in this video" is said
    ======================  ===============================================================================

    Parameters
    ----------
    store
        The store, whose embeddings are loaded once, or an index of it, such as of some videos.
    encoder
        The encoder that the store was filled with.
    marks
        As `FrameStore.read_marks` and `load_marks` give them; those of videos that are not there are left out, with a
        warning.
    k
        How many of the first count, 1 or more.
    ranked
        "frames": those of all videos, as a search takes them. "frames_of_video": each description is asked of each
        video that has a mark of it alone, as in QVHighlights. "videos": by their best frame; as in MSR-VTT's zero-shot
        baseline, by the mean of their frames, where `FrameIndex.mean_of_videos` is the store.
    queries
        (d,) embeddings of descriptions that are asked in another way than as a text alone, such as with a picture.
    nulls, level
        What `judge` takes: by default those of the model. With `queries`, which may hold pictures, there are no
        verdicts unless `nulls` are given that fit.
    open_at, extend_to
        What makes a moment: see `moments_of`.
    seed
        Of the bootstrap.

    Raises
    ------
    ValueError
        If an argument is out of its range or does not fit, there are no marks of the store's videos, or a description
        is marked as right in a video and as absent from it.
    StoreError
        If nothing is stored.

    Notes
    -----
    Recall, average precision and nDCG with gains of 0 and 1 are those of trec_eval; R1 at an IoU is that of
    QVHighlights, https://github.com/jayleicn/moment_detr/tree/main/standalone_eval.
    """
    if check_k(k) < 1 or ranked not in RANKED:
        raise ValueError(f"k must be 1 or more and ranked one of {', '.join(RANKED)}, got {k} and {ranked!r}")
    check_levels(open_at, extend_to)
    index = store if isinstance(store, FrameIndex) else store.load_index()
    questions = _questions(_of_videos(as_marks(marks), index), index, ranked)
    asked = list(questions)
    rows = _embed(asked, encoder, queries or {}, index)
    verdicts = None
    if nulls is not None or queries is None:
        verdicts = _Verdicts(index, null_queries(encoder) if nulls is None else nulls, level)
    results = []
    for text, row, similarities in zip(asked, rows, _compare(index, rows), strict=True):
        for question in questions[text]:
            measured = _measure_ranking(question, similarities, index, k, ranked)
            measured |= _measure_moment(question, similarities, index, open_at, extend_to)
            measured |= verdicts.measure(question, similarities, row) if verdicts else {}
            results.append({"query": text, "video_id": question.video_id, **measured})
    measures = [f"recall@{k}", "average_precision", f"ndcg@{k}", *(f"R1@{iou}" for iou in IOUS)]
    measures += ["present", "absent"]
    per_query = pd.DataFrame(results).reindex(columns=["query", "video_id", "relevant", *measures])
    if ranked != "frames_of_video":
        per_query = per_query.drop(columns="video_id")
    return Evaluation(_overall(per_query[measures].astype(float), seed), per_query, k, ranked)


@dataclass(frozen=True, eq=False)
class _Question:
    """One ranking that is wanted, and what its marks tell."""

    video_id: str  # empty: of all
    places: slice  # the frames that are ranked
    relevant: Positions  # of frames, or of videos
    unseen: int  # right spans without a frame
    spans: dict[str, Floats]  # right ones (m, 2), by video
    present: dict[str, bool]  # whether it is in a video, where that is told


def _of_videos(marks: pd.DataFrame, index: FrameIndex) -> pd.DataFrame:
    """Give marks the video_id of their content in the index; without those of other videos, with a warning."""
    videos = index.list_videos()[["video_id", "content_id"]]
    contents = marks["video_id"].map(videos.set_index("video_id")["content_id"]).fillna(marks["video_id"])
    known = marks.drop(columns="video_id").assign(content_id=contents, row=range(len(marks)))
    known = known.merge(videos, on="content_id")
    left_out = len(marks) - known["row"].nunique()
    if known.empty:
        got = f"{len(marks):,} of others: see list_videos()" if len(marks) else "none: make some with explore"
        raise ValueError(f"marks must be of videos that are stored, got {got}")
    if left_out:
        warnings.warn(
            f"marks of videos that are not stored are left out: {left_out:,} of {len(marks):,}", stacklevel=3
        )
    return known.sort_values("row", kind="stable", ignore_index=True)


def _questions(marks: pd.DataFrame, index: FrameIndex, ranked: Ranked) -> dict[str, list[_Question]]:
    """What is asked, by description, in the order of the marks."""
    said: dict[str, dict[str, list[_Said]]] = {}
    names = ["query", "video_id", "start_seconds", "end_seconds", "right"]
    for text, video_id, *mark in marks[names].itertuples(index=False, name=None):
        said.setdefault(text, {}).setdefault(video_id, []).append(tuple(mark))
    seconds = index._frames["timestamp_seconds"].to_numpy(float)
    asked = {}
    for text, own in said.items():
        parts = [{video_id: own[video_id]} for video_id in own] if ranked == "frames_of_video" else [own]
        asked[text] = [_question(text, part, index, seconds, ranked) for part in parts]
    return asked


def _question(
    text: str, said: dict[str, list[_Said]], index: FrameIndex, seconds: Floats, ranked: Ranked
) -> _Question:
    relevant, spans, present, unseen = [np.zeros(0, np.intp)], {}, {}, 0
    for video_id, marks in said.items():
        rows = index._rows[video_id]
        right = {(start, end) for start, end, is_right in marks if is_right}  # NaN: of the whole video
        is_absent = any(not is_right and np.isnan(start) for start, _, is_right in marks)
        if right and is_absent:
            raise ValueError(
                f"marks must agree, got {text!r} as right in {video_id!r} and as absent from it: choose by who"
            )
        if right or is_absent:
            present[video_id] = not is_absent
        windows = np.array(sorted(span for span in right if not np.isnan(span[0]))).reshape(-1, 2)
        if len(windows) < len(right):
            relevant.append(np.arange(rows.start, rows.stop))
        for first, last in rows.start + np.searchsorted(seconds[rows], windows):
            relevant.append(np.arange(first, last))
            unseen += int(first == last)
        if len(windows):
            spans[video_id] = windows
    if ranked == "videos":
        number = {each: n for n, each in enumerate(index._rows)}
        relevant, unseen = [np.array([number[each] for each in present if present[each]], np.intp)], 0
    is_one = ranked == "frames_of_video"
    searched = index._rows[video_id] if is_one else slice(0, len(index))
    found = np.unique(np.concatenate(relevant))
    return _Question(video_id if is_one else "", searched, found, unseen, spans, present)


def _embed(
    texts: list[str], encoder: Encoder, queries: Mapping[str, npt.ArrayLike], index: FrameIndex
) -> FloatArray:
    """The queries, (q, d)."""
    others = [text for text in texts if text not in queries]
    known = {text: np.asarray(queries[text], np.float32) for text in texts if text in queries}
    known |= dict(zip(others, encoder.encode_texts(others), strict=True)) if others else {}
    dimension = index._embeddings.shape[1]
    for text, row in known.items():
        if row.shape != (dimension,) or not np.isfinite(row).all() or not row.any():
            raise ValueError(
                f"queries must be embeddings of shape ({dimension},), finite and not 0, got shape {row.shape} for "
                f"{text!r}: use the encoder that the store was filled with"
            )
    return np.stack([known[text] for text in texts])


def _compare(index: FrameIndex, queries: FloatArray) -> Iterator[FloatArray]:
    """The similarities of each query to all frames, (n,), from matrix products of some queries at a time."""
    embeddings = index._embeddings.astype(np.float32, copy=False)  # (n, d)
    # Such a product sums rows in different orders: a still would not tie with the frame that it repeats.
    source = np.arange(len(embeddings))
    alike = np.flatnonzero(embeddings[1:, 0] == embeddings[:-1, 0]) + 1
    stills = alike[(embeddings[alike] == embeddings[alike - 1]).all(axis=1)]
    source[stills] = 0
    source = np.maximum.accumulate(source)
    size = max(1, BLOCK_VALUES // max(1, len(embeddings)))
    for start in range(0, len(queries), size):
        block = queries[start : start + size] @ embeddings.T  # (b, n)
        yield from block[:, source] if len(stills) else block


def _measure_ranking(
    question: _Question, similarities: FloatArray, index: FrameIndex, k: int, ranked: Ranked
) -> dict[str, float]:
    values, relevant = similarities[question.places], question.relevant - question.places.start
    if ranked == "videos":
        values = np.maximum.reduceat(similarities, [rows.start for rows in index._rows.values()])
    ranks, count = ranks_of(values, relevant), len(relevant) + question.unseen
    return {
        "relevant": count,
        f"recall@{k}": recall_at(k, ranks, count),
        "average_precision": average_precision(ranks, count),
        f"ndcg@{k}": ndcg_at(k, ranks, count),
    }


def _measure_moment(
    question: _Question, similarities: FloatArray, index: FrameIndex, open_at: float, extend_to: float
) -> dict[str, float]:
    """Whether the best moment is a right one; NaN without right spans."""
    if not question.spans:
        return {}
    best = question.places.start + int(similarities[question.places].argmax())
    video_id = str(index._frames["video_id"].iat[best])
    rows = index._rows[video_id]
    numbers, seconds = (
        index._frames[name].to_numpy()[rows] for name in ("frame_number", "timestamp_seconds")
    )
    duration = next(iter(index._videos["duration_seconds"][index._videos["video_id"] == video_id]), None)
    values = similarities[rows].astype(float)
    peaks, starts, ends = spans_of(values, numbers, seconds, duration, open_at=open_at, extend_to=extend_to)
    first = int(values[peaks].argmax())  # of equal ones the earlier, as in `find_moments`
    span = float(starts[first]), float(ends[first])
    best_iou = max([0.0, *overlaps(span, question.spans.get(video_id, np.zeros((0, 2))))])
    return {f"R1@{iou}": float(best_iou >= iou) for iou in IOUS}


class _Verdicts:
    """What `judge` would say of the best frame of each video, by what null queries reach there."""

    def __init__(self, index: FrameIndex, nulls: NullQueries, level: float) -> None:
        check_level(level, nulls)
        self._index, self._nulls, self._level = index, nulls, level
        self._videos = index.list_videos().set_index("video_id", drop=False)
        self._surveys: dict[str, tuple[FloatArray, FloatArray]] = {}

    def measure(self, question: _Question, similarities: FloatArray, query: FloatArray) -> dict[str, float]:
        """How often it is found where it is, and said to be absent where it is not."""
        length = float(np.linalg.norm(query))
        said: dict[bool, list[bool]] = {True: [], False: []}
        for video_id, is_there in question.present.items():
            if video_id not in self._surveys:
                self._surveys[video_id] = survey(self._index, self._nulls, self._videos.loc[[video_id]])
            highest, mean = self._surveys[video_id]
            top = similarities[self._index._rows[video_id]].max(keepdims=True) / length
            (count,) = count_as_good(top, query[None] / length, self._nulls, highest, mean)
            found = (1 + count) / (1 + len(self._nulls)) <= self._level
            said[is_there].append(bool(found == is_there))
        return {
            name: float(np.mean(said[key]))
            for key, name in ((True, "present"), (False, "absent"))
            if said[key]
        }


def _overall(measures: pd.DataFrame, seed: int) -> pd.DataFrame:
    rows = {}
    for name, values in measures.items():
        low, high = interval(values, seed)
        rows[name] = {"mean": values.mean(), "low": low, "high": high, "count": int(values.count())}
    return pd.DataFrame.from_dict(rows, orient="index")
