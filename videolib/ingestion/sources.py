"""Which videos are meant: a folder, a pattern, a list in a file or in memory becomes paths and addresses."""

from __future__ import annotations

import csv
import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from videolib.addresses import is_address, local_path
from videolib.downloads import is_text, read_head

Source: TypeAlias = "str | os.PathLike[str]"

# Of the files in a folder; what is named by itself may have any name. Pictures (GIF) and playlists are left out.
SUFFIXES = {
    *(
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".dv",
        ".f4v",
        ".flv",
        ".h264",
        ".h265",
        ".hevc",
        ".ivf",
        ".m1v",
    ),
    *(
        ".m2t",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mjpeg",
        ".mjpg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpe",
        ".mpeg",
        ".mpg",
        ".mts",
    ),
    *(".mxf", ".nut", ".obu", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
}
TYPESCRIPT = {".ts", ".mts"}  # MPEG transport streams, or programs
LISTS = {".csv", ".txt"}
COLUMNS = ("source", "path", "url", "address", "file")


def locate(source: Source) -> str:
    """Write a path out, absolute and without ~; an address stays as it is."""
    text = os.fspath(source)
    return text if is_address(text) else os.path.abspath(local_path(text))


def find_sources(sources: Source | Iterable[Source], *, recursive: bool) -> list[str]:
    """Find what `ingest_videos` is to take, in order: absolute paths and addresses.

    Raises
    ------
    ValueError
        If there is none, or a CSV file does not say which column holds them.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    for each in given:
        if not isinstance(each, str | os.PathLike) or not os.fspath(each):
            raise ValueError(f"sources must be paths and addresses of videos, got {each!r}; leave it out")
    found = [source for each in given for source in _expand(each, recursive)]
    if (
        given == [sources]
        and found == [locate(given[0])]
        and not (is_address(given[0]) or os.path.exists(found[0]))
    ):
        found = []
    if not found:
        raise ValueError(
            f"sources must lead to a video, got {_shorten(sources)}, where none is: check the path; in folders and by "
            f"patterns files count that are named as videos are (.mp4, .mkv, …), and others in a list"
        )
    return found


def _expand(source: Source, recursive: bool) -> Iterator[str]:
    if is_address(source):
        yield os.fspath(source)
        return
    path = local_path(source)
    if path.is_dir():
        yield from _videos_among(path.rglob("*") if recursive else path.iterdir())
    elif path.is_file() and path.suffix.lower() in LISTS:
        for line in _read_list(path):
            yield line if is_address(line) else locate(path.parent / local_path(line))
    elif not path.exists() and (found := _match(path, recursive)):
        yield from found
    else:
        yield locate(path)


def _match(pattern: Path, recursive: bool) -> list[str]:
    """Find the videos of a pattern; what it names with its own suffix is taken, whatever that is."""
    text = os.fspath(pattern)
    if not glob.has_magic(text):
        return []
    found = map(Path, glob.glob(text, recursive=recursive))
    suffix = pattern.suffix
    is_named = len(suffix) > 1 and not glob.has_magic(suffix)
    return list(_videos_among(found, suffix if is_named else None))


def _videos_among(paths: Iterable[Path], suffix: str | None = None) -> Iterator[str]:
    for path in sorted(paths):
        is_named = path.suffix == suffix if suffix else path.suffix.lower() in SUFFIXES
        if not is_named or path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix.lower() in TYPESCRIPT and is_text(read_head(path)):
            continue
        yield locate(path)


def _read_list(path: Path) -> list[str]:
    """Read a text file with a source in each line, or a CSV file with a column of them."""
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    if path.suffix.lower() == ".txt":
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]
    rows = [row for row in csv.reader(text.splitlines()) if any(row)]
    names = [name.strip().lower() for name in rows[0]] if rows else []
    column = next((names.index(name) for name in COLUMNS if name in names), None)
    if column is None and len(names) > 1:
        raise ValueError(
            f"{path} must have a column named {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}, got "
            f"{', '.join(rows[0])}; name the one with the videos so"
        )
    listed = rows if column is None else rows[1:]
    return [
        row[column or 0].strip() for row in listed if len(row) > (column or 0) and row[column or 0].strip()
    ]


def _shorten(sources: object) -> str:
    text = repr(os.fspath(sources)) if isinstance(sources, os.PathLike) else repr(sources)
    return text if len(text) <= 200 else f"{text[:200]}…"
