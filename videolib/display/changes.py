"""`plot_changes`: which queries a change made better, and which worse."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from videolib.display.described import MARK_COLOR, TITLE_STYLE, DescribedFigure, describe, on_paper
from videolib.display.figures import COLUMNS_PER_INCH
from videolib.display.text import fit_text, font_families
from videolib.search import Evaluation, changes, compare_evaluations

WIDTH_INCHES, ROW_INCHES, QUERY_COLUMNS = 9, 0.3, 45
BETTER, WORSE, SAME = "#2a7f62", MARK_COLOR, "#8a8a8a"


@on_paper
def plot_changes(
    before: Evaluation,
    after: Evaluation,
    *,
    measure: str | None = None,
    names: tuple[str, str] = ("before", "after"),
    most: int = 30,
    title: str | None = None,
) -> Figure:
    """Show what got better and worse between two evaluations of the same marks: two models, stores or settings.

    Each query that changed is a row, from its measure before (an open circle) to that after (a full one); the largest
    gains stand at the top, the largest losses at the bottom. Where nothing changed, all are shown.

    Parameters
    ----------
    before, after
        What `evaluate` gives.
    measure
        One of the rows of `Evaluation.overall`; recall@k by default.
    names
        What the two are called.
    most
        How many queries at most: those that changed most.
    title
        First line above the figure; the measure by default.

    Raises
    ------
    ValueError
        If the two cannot be compared, no query has the measure in both, or most is below 1.
    """
    measure = before.overall.index[0] if measure is None else measure
    pairs = changes(before, after, measure).dropna(subset="change")
    if pairs.empty or most < 1:
        raise ValueError(
            f"most must be 1 or more and at least one query must have {measure}, got {most} and {len(pairs)} queries"
        )
    changed = pairs[pairs["change"] != 0] if pairs["change"].any() else pairs
    kept = changed.iloc[changed["change"].abs().argsort(kind="stable")[::-1][:most]]
    kept = kept.sort_values("change", kind="stable", ascending=False)
    lines = [title or measure, *_tell(before, after, measure, names)]
    if len(kept) < len(changed):
        lines.append(f"The {len(kept)} that changed most of {len(changed)}.")
    told = "\n".join(fit_text(line, columns=WIDTH_INCHES * COLUMNS_PER_INCH) for line in lines)
    size = (WIDTH_INCHES, ROW_INCHES * len(kept) + 1.1 + 0.2 * told.count("\n"))
    figure, axis = plt.subplots(figsize=size, layout="constrained", FigureClass=DescribedFigure)
    plt.close(figure)
    for place, (one, other) in enumerate(zip(kept["before"], kept["after"], strict=True)):
        color = BETTER if other > one else WORSE if other < one else SAME
        axis.plot([one, other], [place, place], color=color, linewidth=2.5, zorder=1)
        axis.scatter(one, place, s=42, facecolor="white", edgecolor=color, linewidth=1.8, zorder=2)
        if other != one:
            axis.scatter(other, place, s=42, color=color, zorder=3)
    axis.set_yticks(range(len(kept)), _labels(kept), family=font_families(), parse_math=False, fontsize=9)
    axis.set_ylim(len(kept) - 0.4, -0.6)
    axis.set_xlim(-0.03, 1.03)
    axis.set_xlabel(
        f"{measure}: {names[0]} (open) and {names[1]} (full)", parse_math=False, family=font_families()
    )
    axis.grid(axis="x", color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(told, **TITLE_STYLE, family=font_families())
    each = zip(_labels(kept), kept["before"], kept["after"], strict=True)
    describe(figure, measure, "", (f"{label}: {one:.2f}, then {other:.2f}" for label, one, other in each))
    return figure


def _labels(rows: pd.DataFrame) -> list[str]:
    """The queries, beside their videos where one is asked of several."""
    texts = rows["query"].tolist()
    if "video_id" in rows:
        texts = [f"{text} · {each[:8]}" for text, each in zip(texts, rows["video_id"], strict=True)]
    return [fit_text(text, columns=QUERY_COLUMNS) for text in texts]


def _tell(before: Evaluation, after: Evaluation, measure: str, names: tuple[str, str]) -> list[str]:
    row = compare_evaluations(before, after).loc[measure]
    span = f"{row['low']:+.2f} to {row['high']:+.2f}"
    return [
        f"{names[0]} {row['before']:.2f}, {names[1]} {row['after']:.2f}: "
        f"change {row['change']:+.2f}, its 95 % interval {span}",
        f"{row['better']:.0f} better, {row['worse']:.0f} worse, {row['same']:.0f} the same",
    ]
