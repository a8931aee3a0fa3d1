"""Marks: what people said is right, wrong or not there at all; as a table, and the files that hold them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from videolib.addresses import local_path
from videolib.errors import StoreError, name_some

MARK_COLUMNS = ["query", "video_id", "start_seconds", "end_seconds", "right", "who", "written_at"]
LONGEST = {"query": 4096, "video_id": 64, "who": 255}  # characters that a database keeps
_ANSWERS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class Listed(Protocol):
    """What tells the videos and their titles: a `FrameStore`."""

    def list_videos(self) -> pd.DataFrame: ...


def as_marks(marks: pd.DataFrame | Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Check marks and give them their columns and types.

    Parameters
    ----------
    marks
        A table, or one mapping for each mark: query (text), video_id, right (true or false), and start_seconds and
        end_seconds where it is of a span; who and written_at (UTC) if they are known.

    Returns
    -------
    The columns of `FrameStore.read_marks`.

    Raises
    ------
    ValueError
        If a column is missing, or a value is not what it must be; with its row.
    """
    given = marks if isinstance(marks, pd.DataFrame) else pd.DataFrame(list(marks))
    given = given.reset_index(drop=True)
    if not len(given):
        given = given.reindex(columns=MARK_COLUMNS)
    if missing := [name for name in ("query", "video_id", "right") if name not in given]:
        raise ValueError(f"marks must have the columns query, video_id, right; missing: {', '.join(missing)}")
    blank = pd.Series([None] * len(given), dtype=object)
    spans = {name: _seconds(given.get(name, blank), name) for name in ("start_seconds", "end_seconds")}
    start, end = spans["start_seconds"], spans["end_seconds"]
    is_whole = start.isna() & end.isna()
    _refuse(
        "start_seconds and end_seconds must both be numbers with 0 <= start < end, or both be absent",
        ~is_whole & ~((start >= 0) & (start < end) & np.isfinite(end)),
        [f"{one} and {other}" for one, other in zip(start, end, strict=True)],
    )
    who = given.get("who", blank)
    return pd.DataFrame(
        {
            "query": _texts(given["query"], "query"),
            "video_id": _texts(given["video_id"], "video_id"),
            **spans,
            "right": _answers(given["right"]),
            "who": _texts(who.astype(object).where(who.notna(), ""), "who"),
            "written_at": _times(given.get("written_at", blank)),
        },
        columns=MARK_COLUMNS,
    )


def load_marks(path: str | os.PathLike[str], store: Listed, *, missing_ok: bool = False) -> pd.DataFrame:
    """Read marks from a file: CSV or JSON of videolib, QVHighlights, or MSR-VTT's test split.

    videolib's own are what ``marks.to_csv(path, index=False)`` and ``marks.to_json(path, orient="records",
    date_format="iso")`` write; by hand, a column title in place of video_id will do. Of QVHighlights each of the
    relevant_windows is a mark. A sentence of MSR-VTT is right for its whole video, without a span.

    Parameters
    ----------
    path
        A .csv, .json or .jsonl file.
    store
        Where the videos are. Those of QVHighlights (vid) and MSR-VTT (video_id) are found by their title, which is the
        name of the file that was ingested.
    missing_ok
        Leave out the marks of titles that are not in the store, instead of saying so by a StoreError.

    Returns
    -------
    The columns of `FrameStore.read_marks`.

    Raises
    ------
    ValueError
        If the file is not there, holds something else, or a title is that of several videos.
    StoreError
        If a title is not in the store.

    Notes
    -----
    The formats: https://github.com/jayleicn/moment_detr/blob/main/data/README.md; and MSRVTT_JSFUSION_test.csv with the
    columns key, vid_key, video_id and sentence, the "1k-A" split of Yu et al., A Joint Sequence Fusion Model for Video
    Question Answering and Retrieval (ECCV 2018), as https://github.com/ArrowLuo/CLIP4Clip names it.
    """
    rows = _read(local_path(path))
    if {"qid", "vid"} <= set(rows):
        if "relevant_windows" not in rows:
            raise ValueError(
                "path must be a file of QVHighlights with relevant_windows, which the test split has not: take val"
            )
        rows = rows.explode("relevant_windows", ignore_index=True)
        windows = rows["relevant_windows"]
        rows = rows[["query"]].assign(
            title=rows["vid"], right=True, start_seconds=windows.str[0], end_seconds=windows.str[1]
        )
    elif {"vid_key", "video_id", "sentence"} <= set(rows):
        rows = pd.DataFrame({"query": rows["sentence"], "title": rows["video_id"], "right": True})
    if "video_id" not in rows and "title" in rows:
        rows = _by_title(rows, store, missing_ok)
    return as_marks(rows)


def _read(path: Path) -> pd.DataFrame:
    """Read the table of a file; of CSV all as text."""
    if path.suffix.lower() not in (".csv", ".json", ".jsonl") or not path.is_file():
        raise ValueError(
            f"path must be an existing .csv, .json or .jsonl file of marks, got {os.fspath(path)!r}"
        )
    try:
        if path.suffix.lower() == ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False)
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".jsonl":
            return pd.DataFrame([json.loads(line) for line in text.splitlines() if line.strip()])
        return pd.DataFrame(json.loads(text))
    except (ValueError, TypeError, AttributeError) as error:  # pandas' ParserError and JSON's are ValueErrors
        raise ValueError(f"path must be a readable table, got {os.fspath(path)!r}: {error}") from error


def _by_title(rows: pd.DataFrame, store: Listed, missing_ok: bool) -> pd.DataFrame:
    """Give rows the video_id of their title."""
    videos = store.list_videos().drop_duplicates(["title", "content_id"])
    wanted = videos[videos["title"].isin(rows["title"])]
    if several := sorted(wanted["title"][wanted["title"].duplicated()]):
        raise ValueError(
            f"title must be that of one video, got {several[0]!r}, which several have: write video_id instead"
        )
    ids = rows["title"].map(wanted.set_index("title")["content_id"])
    missing = rows["title"][ids.isna()].unique().tolist()
    if missing and not missing_ok:
        named = name_some([repr(each) for each in missing])
        raise StoreError(
            f"{store!r} must hold the videos that are marked, and has no {named}: ingest them, or pass "
            "missing_ok=True to leave out their marks"
        )
    return rows.assign(video_id=ids)[ids.notna()]


def _texts(values: pd.Series[Any], name: str) -> pd.Series[Any]:
    is_text = values.map(lambda value: isinstance(value, str)).astype(bool)
    texts = values.astype(str) if name == "video_id" else values.astype(str).str.strip()
    rule = f"{name} must be a text of at most {LONGEST[name]:,} characters"
    is_right = is_text & (texts.str.len() <= LONGEST[name])
    if name != "who":
        rule, is_right = f"{rule}, and not blank", is_right & (texts != "")
    _refuse(rule, ~is_right, [repr(value)[:60] for value in values])
    return texts.astype(object)


def _seconds(values: pd.Series[Any], name: str) -> pd.Series[float]:
    numbers = pd.to_numeric(values.replace("", None), errors="coerce").astype(float)
    is_given = values.notna() & (values.astype(str).str.strip() != "")
    _refuse(
        f"{name} must be a number or absent", is_given & numbers.isna(), [repr(value) for value in values]
    )
    return numbers


def _answers(values: pd.Series[Any]) -> pd.Series[bool]:
    answers = values.astype(str).str.strip().str.lower().map(_ANSWERS)
    _refuse("right must be true or false", answers.isna(), [repr(value) for value in values])
    return answers.astype(bool)


def _times(values: pd.Series[Any]) -> pd.Series[Any]:
    is_number = values.map(lambda value: isinstance(value, int | float)).astype(bool) & values.notna()
    texts = values.where(~is_number, pd.to_datetime(values.where(is_number), unit="ms", errors="coerce"))
    times = pd.to_datetime(texts.replace("", None), utc=True, errors="coerce", format="mixed")
    is_given = values.notna() & (values.astype(str).str.strip() != "")
    _refuse("written_at must be a time or absent", is_given & times.isna(), [repr(value) for value in values])
    return times.dt.tz_localize(None).astype("datetime64[us]")


def _refuse(rule: str, is_wrong: pd.Series[bool], shown: list[str]) -> None:
    """ValueError if a row is wrong, with the first one."""
    if is_wrong.any():
        row = int(np.flatnonzero(is_wrong)[0])
        raise ValueError(f"marks: {rule}, got {shown[row]} in row {row + 1}")
