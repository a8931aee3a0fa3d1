"""The pairs of a retrieval benchmark: which sentence is of which video, and where the video's file is."""

from __future__ import annotations

import csv
import os
import re
from contextlib import suppress
from pathlib import Path

import pandas as pd

from videolib.addresses import local_path
from videolib.demo import SAMPLE_VIDEO_PATH, sample_scenes
from videolib.errors import name_some
from videolib.folders import written_whole
from videolib.ingestion.sources import SUFFIXES, locate
from videolib.video import cut_clip

COLUMNS = ["key", "video_id", "sentence"]
INSIDE_SECONDS = 0.02  # less than a frame: where a scene begins is rounded, and a keyframe is there
CLIP_SECONDS = 2.5  # of each scene: three frames, a second apart


def find_pairs(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Find the pairs of MSR-VTT's test split, or of one in its layout, and the files of their videos.

    Parameters
    ----------
    folder
        Where the CSV file of the split is, such as MSRVTT_JSFUSION_test.csv, and the videos under the names that it
        gives them, such as video7020.mp4; both may lie in folders below. Other files, and videos that the split does
        not name, are left out.

    Returns
    -------
    A row for each pair, in the order of the file: key, which no other pair has, sentence, and source, the path of the
    video.

    Raises
    ------
    ValueError
        If there is no such folder, not one such CSV file in it, a row of it is wrong, or a video is missing or there
        several times.

    Notes
    -----
    The columns key, vid_key, video_id and sentence are those of the "1k-A" split of Yu et al., A Joint Sequence Fusion
    Model for Video Question Answering and Retrieval (ECCV 2018), as https://github.com/ArrowLuo/CLIP4Clip names it.
    """
    root = local_path(folder)
    if not root.is_dir():
        raise ValueError(f"folder must be an existing folder, got {os.fspath(folder)!r}: check the path")
    tables = sorted(path for path in root.rglob("*.csv") if path.is_file())
    splits = [path for path in tables if set(COLUMNS) <= set(_read_header(path))]
    if len(splits) != 1:
        got = name_some([path.name for path in splits or tables]) or "no CSV file"
        got += " without them" if tables and not splits else ""
        raise ValueError(
            f"folder must hold one CSV file with the columns {', '.join(COLUMNS)}, such as MSRVTT_JSFUSION_test.csv, "
            f"got {got} in {os.fspath(folder)!r}: let exactly one be there"
        )
    rows = _read_rows(splits[0])
    sources = _find_videos(root, rows["video_id"].unique().tolist(), splits[0].name)
    return rows[["key", "sentence"]].assign(source=rows["video_id"].map(sources))


def make_sample_pairs(folder: str | os.PathLike[str]) -> Path:
    """Make a folder of MSR-VTT's layout from the sample video: the beginning of each scene, and sentences.

    A sentence names what is there but not its colour, so that some are as true of another scene, as MSR-VTT's
    are. A folder that has the CSV file is left as it is.

    Parameters
    ----------
    folder
        The folder to make, with those above it.

    Returns
    -------
    The folder.
    """
    root = local_path(folder)
    split = root / "sample_test.csv"
    if split.exists():
        return root
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, scene in enumerate(sample_scenes().to_dict("records")):
        start, path = scene["start_seconds"], root / f"video{number}.mp4"
        cut_clip(SAMPLE_VIDEO_PATH, start + INSIDE_SECONDS, start + CLIP_SECONDS, path, exact=False)
        rest = scene["caption"].partition(f"{scene['colour']} ")[2]
        sentence = f"{'an' if re.match('[aeiou]', rest) else 'a'} {rest}"
        rows.append((f"ret{number}", f"msr{number}", f"video{number}", sentence))
    table = pd.DataFrame(rows, columns=["key", "vid_key", "video_id", "sentence"])
    with written_whole(split) as part:  # the last: where it is, all is
        table.to_csv(part, index=False)
    return root


def _read_header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file, suppress(csv.Error):
        return next(csv.reader(file), [])
    return []


def _read_rows(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")[COLUMNS].fillna("")
    except ValueError as error:  # of the encoding, and pandas' ParserError
        raise ValueError(f"{os.fspath(path)!r} must be a readable table in UTF-8: {error}") from error
    is_wrong = rows["key"].duplicated() | (rows.apply(lambda column: column.str.strip()) == "").any(axis=1)
    if is_wrong.any() or rows.empty:
        got = f"{rows[is_wrong].iloc[0].to_dict()}" if len(rows) else "no rows"
        raise ValueError(
            f"{os.fspath(path)!r} must have a row for each pair, with a key of its own, a video_id and a sentence, got "
            f"{got}: mend the file"
        )
    return rows


def _find_videos(root: Path, names: list[str], split: str) -> dict[str, str]:
    """The path of each video, by its name without suffix."""
    found: dict[str, str] = {}
    wanted = set(names)
    for path in sorted(root.rglob("*")):
        if path.stem in wanted and path.suffix.lower() in SUFFIXES and path.is_file():
            if path.stem in found:
                raise ValueError(
                    f"folder must hold each video once, got {found[path.stem]!r} and {os.fspath(path)!r}: give the "
                    "folder of one of them"
                )
            found[path.stem] = locate(path)
    if missing := [name for name in names if name not in found]:
        raise ValueError(
            f"folder must hold the {len(names):,} videos that {split} names, got {os.fspath(root)!r} without "
            f"{name_some(missing)}: put them there"
        )
    return found
