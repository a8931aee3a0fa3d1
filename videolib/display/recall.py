"""`plot_recall`: how much is found among the first k, beside what others have published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from videolib.display.described import (
    INK,
    LINE_COLOR,
    SMALL_POINTS,
    TITLE_STYLE,
    DescribedFigure,
    describe,
    on_paper,
)
from videolib.display.figures import COLUMNS_PER_INCH
from videolib.display.text import fit_text, font_families
from videolib.search import Evaluation

SIZE_INCHES = (8, 4)
COLORS = (LINE_COLOR, "#2a7f62", "#a35f00", "#7a4fa3")
NAME_COLUMNS = 45
APART = 0.12  # of the distance between two k


@on_paper
def plot_recall(
    evaluations: Mapping[str, Iterable[Evaluation]],
    *,
    published: Mapping[str, Mapping[int, float]] | None = None,
    title: str | None = None,
) -> Figure:
    """Show recall@k by k, of one ranking or several, each with its 95 % interval.

    Parameters
    ----------
    evaluations
        What `evaluate` gives with each k, by the name of the ranking.
    published
        What others have measured, by whose it is: recall, 0 to 1, by k; shown as open diamonds, without an interval.
    title
        Line above the figure.

    Raises
    ------
    ValueError
        If there is no evaluation, or a recall is not from 0 to 1.
    """
    points = _collect(evaluations, published or {})
    every_k = sorted(points["k"].unique())
    figure, axis = plt.subplots(figsize=SIZE_INCHES, layout="constrained", FigureClass=DescribedFigure)
    plt.close(figure)
    series = list(points.groupby(["name", "is_published"], sort=False))
    for number, ((name, is_published), own) in enumerate(series):
        places = own["k"].map(every_k.index) + APART * (number - (len(series) - 1) / 2)
        style: dict[str, Any] = {"fmt": "o", "capsize": 4, "color": COLORS[number % len(COLORS)]}
        if is_published:
            style = {"fmt": "D", "markersize": 7, "fillstyle": "none", "color": INK}
        span = [(own["mean"] - own["low"]).clip(lower=0), (own["high"] - own["mean"]).clip(lower=0)]
        axis.errorbar(places, own["mean"], None if is_published else span, label=name, **style)
    axis.set_xticks(range(len(every_k)), [f"recall@{k}" for k in every_k])
    axis.set_xlim(-0.5, len(every_k) - 0.5)
    axis.set_ylim(0, 1.03)
    axis.grid(axis="y", color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    legend = axis.legend(loc="lower right", prop={"family": font_families(), "size": SMALL_POINTS})
    for text in legend.get_texts():
        text.set_parse_math(False)
        text.set_text(fit_text(text.get_text(), columns=NAME_COLUMNS))
    headline = fit_text(title or "", columns=SIZE_INCHES[0] * COLUMNS_PER_INCH)
    axis.set_title(headline, **TITLE_STYLE, family=font_families())
    told = (f"{name} {', '.join(f'{each:.3f}' for each in own['mean'])}" for (name, _), own in series)
    describe(figure, f"Recall@{', '.join(map(str, every_k))}", title or "", told)
    return figure


def _collect(
    evaluations: Mapping[str, Iterable[Evaluation]], published: Mapping[str, Mapping[int, float]]
) -> pd.DataFrame:
    """What is drawn: a row for each point."""
    rows = [
        (name, False, each.k, *each.overall.loc[f"recall@{each.k}", ["mean", "low", "high"]])
        for name, some in evaluations.items()
        for each in some
    ]
    rows += [(name, True, k, *[one] * 3) for name, each in published.items() for k, one in each.items()]
    points = pd.DataFrame(rows, columns=["name", "is_published", "k", "mean", "low", "high"])
    if points["is_published"].all() or not points["mean"].between(0, 1).all():
        got = f"{(~points['is_published']).sum()} and recalls of {points['mean'].tolist()}"
        raise ValueError(f"evaluations must hold one or more, and each recall be from 0 to 1, got {got}")
    return points
