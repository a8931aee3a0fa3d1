"""The figure of labelled spans: one band for each label."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from videolib.display.figures import COLUMNS_PER_INCH, TITLE_STYLE
from videolib.display.text import fit_text, font_families
from videolib.times import format_seconds
from videolib.types import Video

WIDTH_INCHES, BAND_INCHES = 11, 0.45
NAME_COLUMNS = 40  # characters of a label beside its band


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
    title = fit_text(title or video.title, columns=WIDTH_INCHES * COLUMNS_PER_INCH)
    texts = [fit_text(name, columns=NAME_COLUMNS) for name in names]
    height = 0.9 + 0.2 * title.count("\n") + sum(BAND_INCHES + 0.15 * text.count("\n") for text in texts)
    figure, axis = plt.subplots(figsize=(WIDTH_INCHES, height), layout="constrained", facecolor="white")
    plt.close(figure)
    for place, name in enumerate(names):
        color = f"C{place % 10}"
        for span in spans[spans["label"] == name].to_dict("records"):
            bar = (span["start_seconds"], span["end_seconds"] - span["start_seconds"])
            axis.broken_barh(
                [bar], (place - 0.35, 0.7), facecolor=color, alpha=0.3 + 0.7 * span["probability"]
            )
    axis.set_xlim(0, max([video.duration_seconds, *spans["start_seconds"]]))
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_yticks(range(len(names)), texts, family=font_families(), parse_math=False)
    axis.grid(axis="y", color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: format_seconds(seconds)))
    axis.set_xlabel("time (m:ss)")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_title(title, **TITLE_STYLE, family=font_families())
    return figure
