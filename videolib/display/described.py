"""A figure that tells in words what it shows, and that reads well in a light and in a dark theme."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Callable, Iterable
from functools import wraps
from html import escape
from typing import Any, ParamSpec, TypeVar

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter

from videolib.times import decimals_to_tell_apart, format_seconds

ALT_CHARACTERS = 400
SMALL_POINTS, TITLE_POINTS = 9, 11
INK, PAPER = "#000000", "#ffffff"
LINE_COLOR, MARK_COLOR = "#31629a", "#b8334a"
TITLE_STYLE: dict[str, Any] = {"fontsize": TITLE_POINTS, "color": INK, "parse_math": False}  # a $ is a dollar
# A picture is the same in every theme, and no colour has a contrast of 4.5 on white and on JupyterLab's #111111, too:
# so a figure brings its own paper, whatever style the program has set.
STYLE: dict[Any, Any] = {
    **{f"{part}.facecolor": PAPER for part in ("figure", "axes", "savefig")},
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor"), INK),
    **{f"{axis}tick.{part}": INK for axis in "xy" for part in ("color", "labelcolor")},
    **{f"{axis}tick.labelsize": SMALL_POINTS for axis in "xy"},
    "axes.labelsize": SMALL_POINTS,
    "savefig.transparent": False,
}

P = ParamSpec("P")
T = TypeVar("T")


class DescribedFigure(Figure):
    """A matplotlib figure with a text for those who do not see it, which notebooks and exported pages carry.

    nbconvert and others read it from the metadata of the PNG. JupyterLab's image has no place for it, but shows HTML
    first: a small WebP of the figure with its text.
    """

    alt_text = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="webp", pil_kwargs={"quality": 90})
        data = base64.b64encode(buffer.getvalue()).decode()
        html = (
            f'<img src="data:image/webp;base64,{data}" alt="{escape(self.alt_text)}" style="max-width: 100%">'
        )
        return {"text/html": html}, {"image/png": {"alt": self.alt_text}}


def on_paper(plot: Callable[P, T]) -> Callable[P, T]:
    """Draw black on white whatever style is set."""

    @wraps(plot)
    def plotting(*args: P.args, **kwargs: P.kwargs) -> T:
        with plt.rc_context(STYLE):
            return plot(*args, **kwargs)

    return plotting


def describe(figure: Figure, what: str, title: str, parts: Iterable[str]) -> None:
    """Write a figure's alt text: what it is, of what, and its parts; cut where it gets long."""
    told = "; ".join(parts)
    text = f"{what}{': ' if title else ''}{title}{'. ' if told else ''}{told}"
    assert isinstance(figure, DescribedFigure)
    figure.alt_text = textwrap.shorten(text, ALT_CHARACTERS, placeholder=" …")


class Times(Formatter):
    """Labels of a time axis, with as many decimals as tell them apart."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return format_seconds(max(0.0, x))

    def format_ticks(self, values: Iterable[float]) -> list[str]:
        seconds = [max(0.0, value) for value in values]
        decimals = decimals_to_tell_apart(seconds)
        return [format_seconds(each, decimals=decimals) for each in seconds]


def label_times(axis: Axes) -> None:
    """Make the x axis one of time, and its labels readable on paper: ticks are made when they are drawn."""
    axis.xaxis.set_major_formatter(Times())
    axis.set_xlabel("time (m:ss)")
    axis.tick_params(color=INK, labelcolor=INK, labelsize=SMALL_POINTS)
