"""What the explorer asks and how it is answered, without a browser: a query of several parts, moments, clips."""

from __future__ import annotations

import io
import math
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from videolib.display.explorer_index import Indexed, Part, Span, held, searched
from videolib.errors import StoreError, VideoReadError
from videolib.images import encode_jpeg, open_image
from videolib.search import (
    MOMENT_COLUMNS,
    NullQueries,
    combine,
    find_moments,
    image_query,
    judge,
    null_queries,
    refine,
    similarity,
    spread_evenly,
    text_query,
)
from videolib.types import FloatArray
from videolib.video import cut_clip

if TYPE_CHECKING:
    from videolib.encoding import Encoder
    from videolib.store import FrameStore

WITHOUT_WEIGHT = -0.5
AROUND_SECONDS, MOST_SECONDS = 1.5, 20.0  # of a clip: before and after a moment, and in all
MOST_CLIP_BYTES = 8_000_000  # of copied packets: what is larger is encoded small
CLIP_LONG_SIDE, CLIP_FRAMES_PER_SECOND = 640, 30
KEPT_CLIPS, KEPT_EMBEDDINGS = 8, 64
MOST_SLIDES, CURVE_POINTS = 12, 400
VERDICT_COLUMNS = ["p_value", "found", "sentence"]

Marks = dict[tuple[str, int], bool]  # by video_id and frame_number: right, or wrong


@dataclass(frozen=True)
class Asked:
    """What is looked for, by the names of `explore`'s parameters; the image as a JPEG."""

    query_text: str = ""
    without_text: str = ""
    query_image: bytes | None = None
    weight: float = 0.5
    video_id: str | tuple[str, ...] | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    k: int = 5

    def changed(self, **changes: Any) -> Asked:
        """What is looked for after some of it was changed; ValueError if that cannot be."""
        names = [field.name for field in fields(self)]
        if unknown := sorted(set(changes) - set(names)):
            raise ValueError(f"query must have no other parts than {', '.join(names)}, got {unknown[0]!r}")
        if changes.get("query_image") is not None:
            changes["query_image"] = encode_jpeg(np.asarray(open_image(changes["query_image"]), np.uint8))
        if not isinstance(video_id := changes.get("video_id"), str | None):
            changes["video_id"] = tuple(video_id)
        asked = replace(self, **changes)
        for name in ("query_text", "without_text"):
            if not isinstance(text := getattr(asked, name), str):
                raise ValueError(f"{name} must be a text, empty for none, got {text!r}")
        if not (isinstance(asked.weight, int | float) and 0 <= asked.weight <= 1):
            raise ValueError(
                f"weight must lie between 0 (image only) and 1 (text only), got {asked.weight!r}"
            )
        _check_span(asked.span)
        if isinstance(asked.k, bool) or not isinstance(asked.k, int) or asked.k < 1:
            raise ValueError(f"k must be a whole number, 1 or more, got {asked.k!r}")
        return asked

    @property
    def video_ids(self) -> list[str] | None:
        if self.video_id is None:
            return None
        return [self.video_id] if isinstance(self.video_id, str) else list(self.video_id)

    @property
    def span(self) -> Span:
        return self.start_seconds, self.end_seconds

    @property
    def content(self) -> tuple[Any, ...]:
        """What marks are about: not where is searched, nor how many are wanted."""
        return self.query_text.strip(), self.without_text.strip(), self.query_image

    @property
    def is_text_alone(self) -> bool:
        return bool(self.query_text.strip()) and not self.without_text.strip() and self.query_image is None


def _check_span(span: Span) -> None:
    for name, value in zip(("start_seconds", "end_seconds"), span, strict=True):
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not (is_number and value >= 0):
            raise ValueError(f"{name} must be a number of seconds, 0 or more, or None, got {value!r}")
    start, end = span
    if start is not None and end is not None and start >= end:
        raise ValueError(f"start_seconds must be below end_seconds, got {start:g} and {end:g}")


@dataclass(frozen=True, eq=False)
class Answer:
    """The moments that were found, with verdicts, the query that found them, and what was warned of."""

    moments: pd.DataFrame
    query: FloatArray | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Played:
    """A moment to be looked at: a clip, from when to when in it, or pictures with the reason why."""

    data: tuple[bytes, ...]
    begin_seconds: float
    stop_seconds: float
    sentence: str = ""  # empty: data is one mp4 file, else JPEGs


class Searcher:
    """A store and the encoder it was filled with; what a search needs more than once is kept."""

    def __init__(self, store: FrameStore, encoder: Encoder) -> None:
        self.store, self.encoder = store, encoder
        self._embeddings: OrderedDict[str | bytes, FloatArray] = OrderedDict()
        self._clips: OrderedDict[tuple[str, float, float], Played] = OrderedDict()
        self._sampled: tuple[FrameStore | Indexed, FloatArray] | None = None
        self._part: tuple[Any, Part] | None = None

    def _sample(self, where: FrameStore | Indexed) -> FloatArray:
        """The frames that a query of several parts is balanced by: of all of the store, read once."""
        if self._sampled is None or self._sampled[0] is not where:
            self._sampled = where, where.sample_embeddings()
        return self._sampled[1]

    @cached_property
    def nulls(self) -> NullQueries:
        return null_queries(self.encoder)

    def find(self, asked: Asked, marks: Marks) -> Answer:
        """Find the moments; none where nothing is asked."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            where = searched(self.store, asked.video_ids)
            with nullcontext() if isinstance(where, Indexed) else held(self.store):
                query = self._query(asked, marks, where)
                moments = pd.DataFrame(columns=[*MOMENT_COLUMNS, *VERDICT_COLUMNS])
                if query is not None:
                    start, end = asked.span
                    found = find_moments(
                        where, query, asked.k, video_id=asked.video_ids, start_seconds=start, end_seconds=end
                    )
                    moments = self._judge(found, asked, query, where)
                if moments.empty and asked.start_seconds is not None:
                    self._check_start(asked)
        return Answer(moments, query, tuple(dict.fromkeys(str(each.message) for each in caught)))

    def _check_start(self, asked: Asked) -> None:
        """ValueError if the part begins after all videos that are searched."""
        videos = self.store.list_videos()
        if asked.video_ids is not None:
            videos = videos[videos["video_id"].isin(asked.video_ids)]
        longest = videos["duration_seconds"].max()
        if asked.start_seconds is not None and asked.start_seconds >= longest:
            raise ValueError(
                f"start_seconds must lie within what is searched, which is {longest:g} s long, got "
                f"{asked.start_seconds:g}"
            )

    def _query(self, asked: Asked, marks: Marks, where: FrameStore | Indexed) -> FloatArray | None:
        parts, weights = [], []
        text, without, image = asked.content
        if text:
            parts.append(self._embed(text))
            weights.append(asked.weight if image else 1.0)
        if image:
            parts.append(self._embed(image))
            weights.append(1 - asked.weight if text else 1.0)
        if not parts:
            return None
        if without:
            parts.append(self._embed(without))
            weights.append(WITHOUT_WEIGHT)
        query = parts[0]
        if len(parts) > 1:
            query = combine(parts, weights=weights, embeddings=self._sample(where))
        if marks:
            liked, disliked = (self._marked(marks, is_right, where) for is_right in (True, False))
            query = refine(query, liked, disliked, embeddings=self._sample(where))
        return query

    def _embed(self, part: str | bytes) -> FloatArray:
        if part not in self._embeddings:
            self._embeddings[part] = (
                text_query(part, self.encoder) if isinstance(part, str) else image_query(part, self.encoder)
            )
        self._embeddings.move_to_end(part)
        if len(self._embeddings) > KEPT_EMBEDDINGS:
            self._embeddings.popitem(last=False)
        return self._embeddings[part]

    def _marked(self, marks: Marks, is_right: bool, where: FrameStore | Indexed) -> list[FloatArray]:
        keys = [key for key, right in marks.items() if right == is_right]
        if not keys:
            return []
        rows = pd.DataFrame(keys, columns=["video_id", "frame_number"])
        return self.store.add_embeddings(rows)["embedding_data"].dropna().tolist()

    def _judge(
        self, moments: pd.DataFrame, asked: Asked, query: FloatArray, where: FrameStore | Indexed
    ) -> pd.DataFrame:
        """Judge the text by what it reaches in the moments; without a text there is nothing to compare with."""
        if not asked.query_text.strip() or moments.empty:
            return moments.assign(p_value=math.nan, found=not moments.empty, sentence="")
        text = self._embed(asked.query_text.strip())
        reached = moments
        if query is not text:  # found by more than the text
            rows = where.add_embeddings(moments[["video_id", "frame_number"]])
            peaks = np.stack(list(rows["embedding_data"]))
            reached = moments.assign(similarity=similarity(text, peaks))
        is_part = asked.span != (None, None)
        judged = self._within(asked, where) if is_part else where
        verdict = judge(reached, text, judged, self.nulls, video_id=asked.video_ids)
        if is_part:
            verdict["sentence"] = verdict["sentence"].str.replace(" not in th", " not in this part of th")
        return moments.assign(**{name: verdict[name] for name in VERDICT_COLUMNS})

    def _within(self, asked: Asked, where: FrameStore | Indexed) -> Part:
        """The part of the videos that is searched; `judge` remembers it for as long as it is the same object."""
        key = (where, asked.video_id, asked.span)
        if self._part is None or self._part[0] != key:
            self._part = key, Part(where, asked.video_ids, asked.span)
        return self._part[1]

    def curve(self, query: FloatArray, video_id: str) -> tuple[list[float], list[float]]:
        """A video's seconds and similarities; of a long one the highest of every some frames."""
        where = searched(self.store, [video_id])
        curve = where.similarities(query, video_id)
        values = curve["similarity"].to_numpy(float)
        chosen = np.arange(len(values))
        if len(values) > CURVE_POINTS:
            parts = np.array_split(chosen, CURVE_POINTS)
            chosen = np.array([part[values[part].argmax()] for part in parts])
        seconds = curve["timestamp_seconds"].to_numpy(float)[chosen]
        return seconds.round(2).tolist(), values[chosen].round(4).tolist()

    def play(self, moment: dict[Any, Any]) -> Played:
        """Cut the moment's clip, or take its stored pictures where the file is gone or cannot be read."""
        start, end = _span(moment)
        key = (moment["video_id"], start, end)
        if key not in self._clips:
            source = self._source(moment["video_id"])
            try:
                self._clips[key] = _cut(source, start, end)
            except VideoReadError as error:
                return self._slides(moment, source, error)
            if len(self._clips) > KEPT_CLIPS:
                self._clips.popitem(last=False)
        return self._clips[key]

    def _source(self, video_id: str) -> str:
        videos = self.store.list_videos().set_index("video_id")
        if video_id not in videos.index:
            raise StoreError(
                f"{self.store!r} must hold the video {video_id!r}, and has it no more: search again"
            )
        return str(videos["source"][video_id])

    def _slides(self, moment: dict[Any, Any], source: str, error: Exception) -> Played:
        start, end = _span(moment, around=0.0)
        frames = self.store.read_frames(moment["video_id"], start_seconds=start, end_seconds=end)
        pictures = frames["frame_data"].tolist() or [moment["frame_data"]]
        chosen = spread_evenly(len(pictures), min(MOST_SLIDES, len(pictures)))
        why = f"the video cannot be read ({error})"
        if not Path(source).is_file():
            mend = f"store.relocate_video({moment['video_id']!r}, path)"
            why = f"no video file at {source}; {mend} tells where it was moved to"
        sentence = f"These are the stored pictures, without sound: {why}."
        return Played(tuple(pictures[place] for place in chosen), start, end, sentence)


def _span(moment: dict[Any, Any], *, around: float = AROUND_SECONDS) -> tuple[float, float]:
    """From when to when a clip goes; in a long moment around its peak."""
    start, end = (float(moment[name]) for name in ("start_seconds", "end_seconds"))
    if end - start > MOST_SECONDS:
        peak = float(moment["peak_seconds"])
        start = min(max(start, peak - MOST_SECONDS / 4), end - MOST_SECONDS)
        end = start + MOST_SECONDS
    return max(0.0, start - around), max(end, start + 0.5) + around


def _cut(source: str, start: float, end: float) -> Played:
    cut = partial(
        cut_clip, source, start, end, long_side=CLIP_LONG_SIDE, frames_per_second=CLIP_FRAMES_PER_SECOND
    )
    file = io.BytesIO()
    clip = cut(to=file, exact=False)
    if clip.is_copied and file.getbuffer().nbytes > MOST_CLIP_BYTES:
        file = io.BytesIO()
        clip = cut(to=file)
    around = AROUND_SECONDS if start > 0 else 0.0
    begin = max(0.0, start + around - clip.start_seconds)
    stop = max(begin + 0.2, end - AROUND_SECONDS - clip.start_seconds)
    return Played((file.getvalue(),), begin, stop)


def as_marks(table: pd.DataFrame) -> Marks:
    """Marks from a table; ValueError if a column is missing."""
    if missing := [name for name in ("video_id", "frame_number", "right") if name not in table]:
        raise ValueError(
            f"marks must have the columns video_id, frame_number, right; missing: {', '.join(missing)}"
        )
    columns: Sequence[Any] = (table["video_id"], table["frame_number"], table["right"])
    return {(str(video), int(number)): bool(right) for video, number, right in zip(*columns, strict=True)}
