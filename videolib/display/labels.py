"""The figure of labelled spans: one band for each label. Bands are drawn for `plot_videos`, too."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from videolib.display.described import (
    LINE_COLOR,
    TITLE_STYLE,
    DescribedFigure,
    describe,
    label_times,
    on_paper,
)
from videolib.display.figures import COLUMNS_PER_INCH
from videolib.display.text import fit_text, font_families
from videolib.times import decimals_to_tell_apart, format_seconds
from videolib.types import Video

WIDTH_INCHES, BAND_INCHES = 11, 0.45
NAME_COLUMNS, NAME_COLUMNS_PER_INCH = 40, 12  # characters of a label beside its band


@on_paper
def plot_labels(
    video: Video, spans: pd.DataFrame, *, labels: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """Show when each label is on screen: one band for each, the more probable the darker.

    Parameters
    ----------
    video
        The video, for its length and title.
    spans
        What `label_spans` gives.
    labels
        The bands from top to bottom, those without a span too; by default the labels in order of their first span.
    title
        Line above the figure; the video's title by default.

    Raises
    ------
    ValueError
        If there is no label to show, or a column is missing.
    """
    columns = ["label", "start_seconds", "end_seconds", "probability"]
    if missing := [column for column in columns if column not in spans]:
        raise ValueError(f"spans must have the columns {', '.join(columns)}; missing: {', '.join(missing)}")
    names = list(dict.fromkeys(spans["label"] if labels is None else labels))
    if not names:
        raise ValueError("spans must have at least one row, got none: pass labels to show empty bands")
    end = max([video.duration_seconds, *spans["start_seconds"]])
    figure, axis = draw_bands(names, title or video.title, end_seconds=end)
    for place, name in enumerate(names):
        for span in spans[spans["label"] == name].to_dict("records"):
            bar = (span["start_seconds"], span["end_seconds"] - span["start_seconds"])
            shade = to_rgba(LINE_COLOR, 0.2 + 0.8 * span["probability"])
            axis.broken_barh([bar], (place - 0.35, 0.7), facecolor=shade, edgecolor=LINE_COLOR, linewidth=1)
    axis.grid(axis="y", color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
    what = f"{len(names)} label{'s' * (len(names) != 1)} over time"
    describe(figure, what, title or video.title, (_tell_label(name, spans) for name in names))
    return figure


def draw_bands(
    names: Sequence[str], title: str, *, end_seconds: float, band_inches: float = BAND_INCHES
) -> tuple[Figure, Axes]:
    """Make a figure whose y axis has a band for each name, from the top, at 0, 1, 2, …; its x axis is time."""
    texts = [fit_text(name, columns=NAME_COLUMNS) for name in names]
    beside = max(len(line) for text in texts for line in text.split("\n")) / NAME_COLUMNS_PER_INCH
    headline = fit_text(title, columns=round((WIDTH_INCHES - beside) * COLUMNS_PER_INCH))
    height = 0.9 + 0.2 * headline.count("\n") + sum(band_inches + 0.15 * text.count("\n") for text in texts)
    figure, axis = plt.subplots(
        figsize=(WIDTH_INCHES, height), layout="constrained", FigureClass=DescribedFigure
    )
    plt.close(figure)
    axis.set_xlim(0, end_seconds)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_yticks(range(len(names)), texts, family=font_families(), parse_math=False)
    label_times(axis)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_title(headline, **TITLE_STYLE, family=font_families())
    return figure, axis


def _tell_label(name: str, spans: pd.DataFrame) -> str:
    own = spans.loc[spans["label"] == name, ["start_seconds", "end_seconds"]]
    decimals = decimals_to_tell_apart(own.to_numpy(float).ravel())
    start, end = (
        [format_seconds(each, decimals=decimals) for each in own[column]]
        for column in ("start_seconds", "end_seconds")
    )
    return f"{name}: " + (", ".join(map(" to ".join, zip(start, end, strict=True))) or "never")
