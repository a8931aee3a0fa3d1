"""Figures of matches. Each function returns a finished figure, shown once as the last value of a cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from videolib.display.described import (
    LINE_COLOR,
    MARK_COLOR,
    SMALL_POINTS,
    TITLE_STYLE,
    DescribedFigure,
    describe,
    label_times,
    on_paper,
)
from videolib.display.text import fit_text, font_families
from videolib.images import decode_jpeg
from videolib.search import check_k, find_gaps, moments_of
from videolib.times import decimals_to_tell_apart, format_seconds
from videolib.types import RGBArray, Video

if TYPE_CHECKING:
    from videolib.store import FrameStore

TILE_INCHES = 2.4
TIMELINE_INCHES = (11, 4)
THUMBNAIL_SHARE = 0.16  # of the time axis
NEIGHBOUR_SAMPLES = 2.5
THUMBNAIL_POINTS = (80, 110)  # height and width at most
COLUMNS_PER_INCH = 10  # characters of a title


@on_paper
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
    headline = fit_text(title or "", columns=round(width * COLUMNS_PER_INCH))
    lines = headline.count("\n") + 1 if headline else 0
    size = (width, rows * (TILE_INCHES * aspect + 0.45) + 0.2 * lines + (0.2 if headline else 0))
    figure, axes = plt.subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", FigureClass=DescribedFigure
    )
    plt.close(figure)
    decimals = decimals_to_tell_apart(matches["timestamp_seconds"])
    labels = [_label_frame(match, decimals) for match in matches.to_dict("records")]
    for axis in axes.flat:
        axis.set_axis_off()
        axis.set_anchor("N")  # the labels of portrait and landscape stand in one line
    for axis, image, label in zip(axes.flat, images, labels, strict=False):
        axis.imshow(image)
        axis.set_title("\n".join(label), **TITLE_STYLE | {"fontsize": SMALL_POINTS})
    if headline:
        figure.suptitle(headline, **TITLE_STYLE, family=font_families())
    describe(figure, _count(len(labels), "picture"), title or "", (", ".join(label) for label in labels))
    return figure


def _label_frame(match: dict[Any, Any], decimals: int) -> list[str]:
    label = f"frame {match['frame_number']} · {format_seconds(match['timestamp_seconds'], decimals=decimals)}"
    return [label, f"similarity {match['similarity']:.3f}"] if "similarity" in match else [label]


def _count(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"


@on_paper
def plot_timeline(
    video: Video,
    similarities: pd.DataFrame,
    *,
    matches: pd.DataFrame | None = None,
    moments: pd.DataFrame | None = None,
    k: int = 5,
    title: str | None = None,
) -> Figure:
    """Show similarity over a video's time, with the best moments marked, each with its picture above the curve.

    The curve has a gap where no frames are known, such as in a damaged part.

    Parameters
    ----------
    video
        The video, for its length and title.
    similarities
        Columns timestamp_seconds and similarity, one row for each frame, in any order: what
        `FrameStore.similarities` gives.
    matches
        The frames that are marked, as `FrameStore.search` gives them; of neighbours the best.
    moments
        The moments that are shaded, as `find_moments` gives them; each has its picture. Those of other videos are
        left out.
    k
        Without `matches` and `moments`, how many of the best moments of `similarities` are marked, which needs
        frame_data, too.
    title
        Line above the figure; the video's title by default.

    Raises
    ------
    ValueError
        If there are no rows, or a column is missing.
    """
    _require(similarities, "similarities", ["timestamp_seconds", "similarity"])
    rows = similarities.sort_values("timestamp_seconds")
    best = _marked(video, rows, matches, moments, k)
    headline = fit_text(title or video.title, columns=round(TIMELINE_INCHES[0] * COLUMNS_PER_INCH))
    width, height = TIMELINE_INCHES
    size = (width, height + 0.2 * headline.count("\n"))
    figure, axis = plt.subplots(figsize=size, layout="constrained", FigureClass=DescribedFigure)
    plt.close(figure)
    axis.plot(*_with_gaps(rows), color=LINE_COLOR, linewidth=1.2)
    axis.scatter(best["timestamp_seconds"], best["similarity"], color=MARK_COLOR, zorder=3, s=28)
    if moments is not None:
        for moment in best.to_dict("records"):
            axis.axvspan(
                moment["start_seconds"], moment["end_seconds"], color=MARK_COLOR, alpha=0.18, linewidth=0
            )
    low, high = rows["similarity"].min(), rows["similarity"].max()
    span = (high - low) or 1.0
    axis.set_ylim(low - 0.05 * span, high + 0.75 * span)  # the pictures stand in the upper part
    end = max(video.duration_seconds, rows["timestamp_seconds"].max())
    axis.set_xlim(0, end)
    share = min(THUMBNAIL_SHARE, 1 / max(1, len(best)))
    pictured = best.sort_values("timestamp_seconds")
    places = _spread(pictured["timestamp_seconds"].to_numpy(float), share * end, end)
    for match, place in zip(pictured.to_dict("records"), places, strict=True):
        _draw_thumbnail(axis, match, xy=(place, high + 0.42 * span), scale=share / THUMBNAIL_SHARE)
    label_times(axis)
    axis.set_ylabel("similarity")
    axis.set_yticks([tick for tick in axis.get_yticks() if low - 0.05 * span <= tick <= high + 0.05 * span])
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(headline, **TITLE_STYLE, family=font_families())
    marked = pictured[["timestamp_seconds", "similarity"]].itertuples(index=False)
    decimals = decimals_to_tell_apart(pictured["timestamp_seconds"])
    told = (
        f"{format_seconds(time, decimals=decimals)} with similarity {value:.3f}" for time, value in marked
    )
    what = f"Similarity from 0:00 to {format_seconds(end)}, {_count(len(pictured), 'peak')} marked"
    describe(figure, what, title or video.title, told)
    return figure


@on_paper
def plot_moments(moments: pd.DataFrame, store: FrameStore, *, title: str | None = None) -> Figure:
    """Show each moment in a row: its first frame, its peak and its last, with their times and how sure it is.

    Parameters
    ----------
    moments
        As `find_moments` gives them; where `judge` has added a sentence, it stands above the row.
    store
        The store that they were found in, for the pictures of start and end.
    title
        Line above the pictures, such as the query.

    Raises
    ------
    ValueError
        If there are no rows, or a column is missing.
    StoreError
        If a video is not in the store any more.
    """
    _require(
        moments,
        "moments",
        ["video_id", "start_seconds", "peak_seconds", "end_seconds", "similarity", "frame_data"],
    )
    rows = [_picture_moment(moment, store) for moment in moments.to_dict("records")]
    aspect = min(1.0, max(image.shape[0] / image.shape[1] for row in rows for image in row))
    width = 3 * TILE_INCHES * 1.25
    headline = fit_text(title or "", columns=round(width * COLUMNS_PER_INCH))
    height = len(rows) * (width / 3 * aspect + 0.75) + (0.2 * headline.count("\n") + 0.4 if headline else 0)
    figure = plt.figure(figsize=(width, height), layout="constrained", FigureClass=DescribedFigure)
    plt.close(figure)
    strips = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    names = ["start_seconds", "peak_seconds", "end_seconds"]
    decimals = decimals_to_tell_apart(moments[names].to_numpy(float).ravel())
    told: list[str] = []
    for strip, row, moment in zip(strips, rows, moments.to_dict("records"), strict=True):
        times = [format_seconds(moment[name], decimals=decimals) for name in names]
        for axis, image, name, time in zip(
            strip.subplots(1, 3), row, ("start", "peak", "end"), times, strict=True
        ):
            axis.imshow(image)
            axis.set_axis_off()
            axis.set_title(f"{name} {time}", **TITLE_STYLE | {"fontsize": SMALL_POINTS})
        label = _tell_moment(moment)
        strip.suptitle(label, **TITLE_STYLE | {"fontsize": SMALL_POINTS}, family=font_families())
        told.append(f"{label}, {times[0]} to {times[2]}".replace("\n", ". "))
    if headline:
        figure.suptitle(headline, **TITLE_STYLE, family=font_families())
    describe(
        figure,
        f"{_count(len(rows), 'moment')}, each by its first picture, its peak and its last",
        title or "",
        told,
    )
    return figure


def _picture_moment(moment: dict[Any, Any], store: FrameStore) -> list[RGBArray]:
    """The first picture of a moment, that of its peak, and the last."""
    frames = store.read_frames(
        moment["video_id"], start_seconds=moment["start_seconds"], end_seconds=moment["end_seconds"]
    )["frame_data"]
    jpegs = (
        [frames.iloc[0], moment["frame_data"], frames.iloc[-1]] if len(frames) else [moment["frame_data"]] * 3
    )
    return [decode_jpeg(jpeg) for jpeg in jpegs]


def _tell_moment(moment: dict[Any, Any]) -> str:
    rank = f"{moment['rank']} · " if "rank" in moment else ""
    name = f"{moment['title']} · " if isinstance(moment.get("title"), str) else ""
    sentence = f"\n{moment['sentence']}" if isinstance(moment.get("sentence"), str) else ""
    told = fit_text(f"{rank}{name}similarity {moment['similarity']:.3f}", columns=90)
    return told + sentence


def _with_gaps(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Times and similarities, with a NaN where frames of an even sampling are missing."""
    seconds, values = rows["timestamp_seconds"].to_numpy(float), rows["similarity"].to_numpy(float)
    gaps = np.flatnonzero(find_gaps(seconds)[0]) + 1
    return np.insert(seconds, gaps, np.nan), np.insert(values, gaps, np.nan)


def _marked(
    video: Video,
    rows: pd.DataFrame,
    matches: pd.DataFrame | None,
    moments: pd.DataFrame | None,
    k: int,
) -> pd.DataFrame:
    """Return what is marked on a timeline: moments by their peaks, matches, or the best frames."""
    marked = ["timestamp_seconds", "similarity", "frame_data"]
    if moments is not None:
        own = moments[moments["video_id"] == video.video_id] if "video_id" in moments else moments
        spans = ["start_seconds", "peak_seconds", "end_seconds", "similarity", "frame_data"]
        if missing := [column for column in spans if column not in own]:
            raise ValueError(
                f"moments must have the columns {', '.join(spans)}; missing: {', '.join(missing)}"
            )
        return own.assign(timestamp_seconds=own["peak_seconds"])
    if matches is not None:
        _require(matches, "matches", marked)
        return _best_of_neighbours(matches, rows["timestamp_seconds"])
    _require(rows, "similarities", marked)
    known = rows.assign(video_id=video.video_id)
    if "frame_number" not in rows:
        known = known.assign(frame_number=np.arange(1, len(rows) + 1))
    best = moments_of(known, duration_seconds=video.duration_seconds).head(check_k(k))
    return best.assign(timestamp_seconds=best["peak_seconds"])


def _best_of_neighbours(matches: pd.DataFrame, seconds: pd.Series) -> pd.DataFrame:
    """Of matches that are no more than two samples apart the best: together they are one peak."""
    step = float(seconds.diff().median())
    ordered = matches.sort_values("timestamp_seconds")
    is_next = ordered["timestamp_seconds"].diff() > NEIGHBOUR_SAMPLES * step
    best = ordered.groupby(is_next.cumsum())["similarity"].transform("idxmax")
    return ordered[ordered.index == best]


def _spread(seconds: np.ndarray, width: float, end: float) -> np.ndarray:
    """Move the centers of pictures, in order of time and so wide, apart until none covers another; (n,)."""
    steps = np.arange(len(seconds)) * width
    pushed = np.maximum.accumulate(np.maximum(seconds, width / 2) - steps) + steps
    places: np.ndarray = np.minimum(pushed, end - width / 2 - steps[::-1])
    return places


def _draw_thumbnail(axis: Axes, match: dict[Any, Any], *, xy: tuple[float, float], scale: float) -> None:
    image = decode_jpeg(match["frame_data"])
    most = np.divide(THUMBNAIL_POINTS, image.shape[:2]).min()
    picture = AnnotationBbox(
        OffsetImage(image, zoom=scale * most),
        xy=(match["timestamp_seconds"], match["similarity"]),
        xybox=xy,
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
