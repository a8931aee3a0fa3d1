"""Figures of matches. Each function returns a finished figure, shown once as the last value of a cell."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import FuncFormatter

from videolib.display.text import fit_text, font_families
from videolib.images import decode_jpeg
from videolib.search import top_k
from videolib.types import Video

TILE_INCHES = 2.4
TIMELINE_INCHES = (11, 4)
THUMBNAIL_SHARE = 0.16  # of the time axis
THUMBNAIL_POINTS = (80, 110)  # height and width at most
COLUMNS_PER_INCH = 10  # characters of a title
LINE_COLOR = "#3b6ea5"
MARK_COLOR = "#d1495b"
TITLE_STYLE: dict[str, Any] = {"fontsize": 11, "color": "black", "parse_math": False}  # a $ is a dollar


def format_seconds(seconds: float) -> str:
    """Write a time as m:ss, or h:mm:ss from an hour on; fractions are cut off."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def plot_frames(matches: pd.DataFrame, *, columns: int = 5, title: str | None = None) -> Figure:
    """Show frames in a grid, in the order of the rows.

    Parameters
    ----------
    matches
        Columns frame_number, timestamp_seconds and frame_data; the similarity too, where there is one.
    columns
        Pictures in a row at most.
    title
        Line above the pictures, such as the query.

    Raises
    ------
    ValueError
        If there are no rows, a column is missing, or columns is below 1.
    """
    _require(matches, "matches", ["frame_number", "timestamp_seconds", "frame_data"])
    if columns < 1:
        raise ValueError(f"columns must be 1 or more, got {columns}")
    columns = min(columns, len(matches))
    rows = math.ceil(len(matches) / columns)
    images = [decode_jpeg(data) for data in matches["frame_data"]]
    # As tall as the tallest picture needs, up to a square: portrait and landscape stand side by side.
    aspect = min(1.0, max(image.shape[0] / image.shape[1] for image in images))
    width = columns * TILE_INCHES
    title = fit_text(title or "", columns=round(width * COLUMNS_PER_INCH))
    lines = title.count("\n") + 1 if title else 0
    size = (width, rows * (TILE_INCHES * aspect + 0.45) + 0.2 * lines + (0.2 if title else 0))
    figure, axes = plt.subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", facecolor="white"
    )
    plt.close(figure)
    for axis in axes.flat:
        axis.set_axis_off()
        axis.set_anchor("N")  # the labels of portrait and landscape stand in one line
    for axis, image, match in zip(axes.flat, images, matches.to_dict("records"), strict=False):
        axis.imshow(image)
        label = f"frame {match['frame_number']} · {format_seconds(match['timestamp_seconds'])}"
        if "similarity" in match:
            label += f"\nsimilarity {match['similarity']:.3f}"
        axis.set_title(label, fontsize=8, color="black")
    if title:
        figure.suptitle(title, **TITLE_STYLE, family=font_families())
    return figure


def plot_timeline(
    video: Video,
    similarities: pd.DataFrame,
    *,
    matches: pd.DataFrame | None = None,
    k: int = 5,
    title: str | None = None,
) -> Figure:
    """Show similarity over a video's time, with the best frames marked and pictured above the curve.

    The curve has a gap where no frames are known, such as in a damaged part.

    Parameters
    ----------
    video
        The video, for its length and title.
    similarities
        Columns timestamp_seconds and similarity, one row for each frame, in any order: what
        `FrameStore.similarities` gives.
    matches
        The frames that are marked, as `FrameStore.search` gives them; those close together share one picture.
    k
        Without `matches`, how many of the best of `similarities` are marked; these need frame_data, too.
    title
        Line above the figure; the video's title by default.

    Raises
    ------
    ValueError
        If there are no rows, or a column is missing.
    """
    _require(similarities, "similarities", ["timestamp_seconds", "similarity"])
    rows = similarities.sort_values("timestamp_seconds")
    best = rows.iloc[top_k(rows["similarity"], k)] if matches is None else matches
    name = "similarities" if matches is None else "matches"
    _require(best, name, ["timestamp_seconds", "similarity", "frame_data"])
    title = fit_text(title or video.title, columns=round(TIMELINE_INCHES[0] * COLUMNS_PER_INCH))
    width, height = TIMELINE_INCHES
    size = (width, height + 0.2 * title.count("\n"))
    figure, axis = plt.subplots(figsize=size, layout="constrained", facecolor="white")
    plt.close(figure)
    axis.plot(*_with_gaps(rows), color=LINE_COLOR, linewidth=1.2)
    axis.scatter(best["timestamp_seconds"], best["similarity"], color=MARK_COLOR, zorder=3, s=28)
    low, high = rows["similarity"].min(), rows["similarity"].max()
    span = (high - low) or 1.0
    axis.set_ylim(low - 0.05 * span, high + 0.75 * span)  # the pictures stand in the upper part
    end = max(video.duration_seconds, rows["timestamp_seconds"].max())
    axis.set_xlim(0, end)
    taken: list[float] = []
    for match in best.to_dict("records"):  # best first
        seconds = float(match["timestamp_seconds"])
        if all(abs(seconds - other) >= THUMBNAIL_SHARE * end for other in taken):
            taken.append(seconds)
            _draw_thumbnail(axis, match, end=end, height=high + 0.42 * span)
    axis.set_xlabel("time (m:ss)")
    axis.set_ylabel("similarity")
    axis.set_yticks([tick for tick in axis.get_yticks() if low - 0.05 * span <= tick <= high + 0.05 * span])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: format_seconds(seconds)))
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(title, **TITLE_STYLE, family=font_families())
    return figure


def _with_gaps(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Times and similarities, with a NaN where frames of an even sampling are missing."""
    seconds, values = rows["timestamp_seconds"].to_numpy(float), rows["similarity"].to_numpy(float)
    steps = np.diff(seconds)
    usual = np.median(steps) if len(steps) else 0.0
    is_even = np.isclose(steps, usual).mean() > 0.8 if len(steps) else False  # keyframes and shots are not
    gaps = np.flatnonzero((steps > 1.5 * usual) & is_even) + 1
    return np.insert(seconds, gaps, np.nan), np.insert(values, gaps, np.nan)


def _draw_thumbnail(axis: Axes, match: dict[Any, Any], *, end: float, height: float) -> None:
    seconds, half = match["timestamp_seconds"], end * THUMBNAIL_SHARE / 2
    image = decode_jpeg(match["frame_data"])
    picture = AnnotationBbox(
        OffsetImage(
            image, zoom=min(most / side for most, side in zip(THUMBNAIL_POINTS, image.shape[:2], strict=True))
        ),
        xy=(seconds, match["similarity"]),
        xybox=(min(max(seconds, half), end - half), height),
        arrowprops={"arrowstyle": "-", "color": MARK_COLOR, "linewidth": 0.8},
        bboxprops={"edgecolor": MARK_COLOR, "linewidth": 0.8},
        pad=0.1,
    )
    axis.add_artist(picture)


def _require(table: pd.DataFrame, name: str, columns: list[str]) -> None:
    if missing := [column for column in columns if column not in table]:
        raise ValueError(f"{name} must have the columns {', '.join(columns)}; missing: {', '.join(missing)}")
    if table.empty:
        raise ValueError(f"{name} must have at least one row, got none: nothing was found")
