"""`make_reel`: one video of many moments, each with its title and its time in a corner."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from videolib.display.text import fit_text, font_families
from videolib.display.told import stored_videos
from videolib.downloads import fetch_video
from videolib.errors import VideoReadError
from videolib.progress import tqdm
from videolib.times import format_seconds
from videolib.types import RGBArray
from videolib.video import Film, find_span, letterbox, read_timeline, sound_format, written

if TYPE_CHECKING:
    from videolib.store import FrameStore

_SOUND = (48_000, 2)  # samples a second and channels, one for all
_LINE_SHARE, _LEAST_LINE = 1 / 24, 9  # of the height, and pixels
_MOST_LINES = 2  # of a title
_DPI = 72  # a point is a pixel


def make_reel(
    moments: pd.DataFrame,
    to: str | os.PathLike[str] | BinaryIO,
    *,
    store: FrameStore | None = None,
    width: int = 1280,
    height: int = 720,
    progress: bool = True,
) -> None:
    """Join moments to one mp4 that browsers play, with their sound, each under its title and time.

    Pictures of another shape stand between black bars. All files are looked for before anything is written; a reel
    that cannot be written to its end leaves nothing behind.

    Parameters
    ----------
    moments
        Columns video_id, start_seconds and end_seconds, as `find_moments` gives them; title and rank are shown
        where they are there. They come in the order of the rows.
    to
        The mp4 file to write, or a binary file that is open for writing.
    store
        The store that they were found in, which knows where their videos are. Without it the moments need a column
        source, of paths or http(s) addresses.
    width, height
        Of the picture, in pixels, both even.
    progress
        Show a progress bar, in a notebook or a terminal.

    Raises
    ------
    ValueError
        If there are no moments, a column is missing, a moment does not lie within its video, a side is odd, or `to` is
        no .mp4 in a folder that exists, or one of the videos.
    StoreError
        If a video is not in the store any more.
    VideoReadError
        If a video's file is not where it was, or cannot be read.
    """
    if min(width, height) < 2 or width % 2 or height % 2:
        raise ValueError(
            f"width and height must be even and 2 or more, got {width} x {height}; try 1280 x 720"
        )
    paths = find_files(moments, store, progress=progress)
    timelines = {path: read_timeline(path) for path in dict.fromkeys(paths)}
    rows = moments.to_dict("records")
    spans = [
        find_span(timelines[path], row["start_seconds"], row["end_seconds"])
        for path, row in zip(paths, rows, strict=True)
    ]
    sound = _SOUND if any(sound_format(path) for path in timelines) else None
    bar = tqdm(total=len(spans), desc="reel", unit="moment", disable=not progress)
    with written(to, sources=timelines) as target, Film(target, width, height, sound=sound) as film, bar:
        for span, row, path in zip(spans, rows, paths, strict=True):
            label = _draw_label(_tell(row, path), width, height)
            film.add(span, partial(_show, label=label, width=width, height=height))
            bar.update()


def find_files(moments: pd.DataFrame, store: FrameStore | None, *, progress: bool) -> list[Path]:
    """Find each moment's video."""
    needed = ["start_seconds", "end_seconds", "source" if store is None else "video_id"]
    if missing := [column for column in needed if column not in moments]:
        raise ValueError(
            f"moments must have the columns {', '.join(needed)}; missing: {', '.join(missing)}"
            + ("; pass store, which knows the sources" if "source" in missing else "")
        )
    if moments.empty:
        raise ValueError("moments must have at least one row, got none: nothing was found")
    if store is None:
        sources = moments["source"].tolist()
    else:
        known = stored_videos(moments, store).set_index("video_id")["source"]
        sources = known[moments["video_id"]].tolist()
    files = {source: fetch_video(source, progress=progress) for source in dict.fromkeys(sources)}
    if lost := sorted({os.fspath(path.absolute()) for path in files.values() if not path.is_file()}):
        mend = (
            "put its path into source"
            if store is None
            else "tell the store by relocate_video(video_id, path)"
        )
        raise VideoReadError(
            f"{', '.join(lost)} {'is' if len(lost) == 1 else 'are'} gone, which moments were found in: if a file was "
            f"moved, {mend}, else leave its moments out"
        )
    return [files[source] for source in sources]


def title_of(moment: dict[Any, Any], path: Path) -> str:
    """Give the title of a moment's video, by its file's name where it has none."""
    title = moment.get("title")
    return title if isinstance(title, str) and title.strip() else path.stem


def _tell(moment: dict[Any, Any], path: Path) -> str:
    rank = f"{moment['rank']} · " if "rank" in moment else ""
    span = f"{format_seconds(moment['start_seconds'])} to {format_seconds(moment['end_seconds'])}"
    return f"{rank}{title_of(moment, path)}\n{span}"


def _draw_label(text: str, width: int, height: int) -> npt.NDArray[np.float32]:
    """Draw white letters on a dark ground, transparent elsewhere; (rows, columns, 4), RGB from 0 to 255 and opacity."""
    size = max(_LEAST_LINE, height * _LINE_SHARE)
    title, _, time = text.rpartition("\n")
    lines = fit_text(title, columns=max(8, int(width / size * 1.6))).split("\n")
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], f"{lines[_MOST_LINES - 1][:-1]}…"]
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    figure.text(
        size / 2 / width,
        1 - size / 2 / height,
        "\n".join([*lines, time]),
        fontsize=size * 0.8,
        family=font_families(),
        parse_math=False,
        color="white",
        va="top",
        bbox={"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": size / 4},
    )
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn = np.asarray(canvas.buffer_rgba(), dtype=np.float32)  # type: ignore[no-untyped-call]
    tall, wide = (int(np.flatnonzero(drawn[..., 3].any(axis=axis))[-1]) + 1 for axis in (1, 0))
    label = drawn[:tall, :wide].copy()
    label[..., 3] /= 255
    return label


def _show(image: RGBArray, *, label: npt.NDArray[np.float32], width: int, height: int) -> RGBArray:
    shown = letterbox(image, width, height)
    corner = shown[: label.shape[0], : label.shape[1]]
    opacity = label[..., 3:]
    corner[...] = corner * (1 - opacity) + label[..., :3] * opacity + 0.5
    return shown
