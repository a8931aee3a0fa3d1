"""The timelines of a card, as SVG: when the moments are in each video, and the similarity over its time."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.addresses import printable
from videolib.search import find_gaps
from videolib.shown import shorten
from videolib.times import format_seconds

if TYPE_CHECKING:
    from videolib.store import FrameStore

MOST_TIMELINES = 12
CURVE_POINTS = 400
WIDTH, HEIGHT = 1000, 100  # units of the SVG, which is stretched
LEAST_WIDTH = 3  # of a moment
LABEL_SHARE = 0.03  # of the width, for a rank


def draw_timelines(
    rows: pd.DataFrame, videos: pd.DataFrame, store: FrameStore | None, query: npt.ArrayLike | None
) -> str:
    """Draw one timeline for each video that moments were found in, the first of many."""
    names = rows["video_id"] if "video_id" in rows else pd.Series("", index=rows.index)
    known = videos.set_index("video_id")
    drawn = []
    for name in names.drop_duplicates()[:MOST_TIMELINES]:
        curve = None
        if store is not None and query is not None:
            curve = store.similarities(query, name)
        own = rows[names == name]
        length = float(known["duration_seconds"][name]) if name in known.index else 0.0
        title = own["title"].iloc[0] if "title" in own else None
        if not isinstance(title, str) and name in known.index:
            title = known["title"][name]
        drawn.append(_draw(own, title if isinstance(title, str) else "", length, curve))
    more = names.nunique() - len(drawn)
    rest = f'<p class="quiet">and {more} more video{"s" * (more > 1)}</p>' if more else ""
    return "".join(drawn) + rest


def _draw(moments: pd.DataFrame, title: str, length: float, curve: pd.DataFrame | None) -> str:
    end = max(length, float(moments["end_seconds"].max()), 1e-9)
    if curve is not None:
        end = max(end, float(curve["timestamp_seconds"].max()))
    shapes, told = [], []
    for moment in moments.to_dict("records"):
        left, peak, right = (
            float(moment[name]) / end * WIDTH for name in ("start_seconds", "peak_seconds", "end_seconds")
        )
        width = max(right - left, LEAST_WIDTH)
        left = min(left, WIDTH - width)
        shapes.append(f'<rect class="span" x="{left:.1f}" y="0" width="{width:.1f}" height="{HEIGHT}"/>')
        shapes.append(f'<path class="peak" d="M{peak:.1f} 0V{HEIGHT}"/>')
        told.append(format_seconds(moment["peak_seconds"]))
    if curve is not None:
        shapes.append(f'<path class="curve" d="{_trace(curve, end)}"/>')
    name = escape(shorten(printable(title), 200))
    label = f"Timeline of {name}, {format_seconds(end)} long: moments at {', '.join(told)}"
    return (
        f'<figure><figcaption><bdi>{name}</bdi><span class="quiet">'
        f"{'similarity over time' if curve is not None else ''}</span></figcaption>"
        f'<div class="marks" aria-hidden="true">{"".join(_ranks(moments, end))}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'{"".join(shapes)}</svg><div class="axis quiet"><span>0:00</span><span>{format_seconds(end / 2)}</span>'
        f"<span>{format_seconds(end)}</span></div></figure>"
    )


def _ranks(moments: pd.DataFrame, end: float) -> list[str]:
    """The moments' ranks above their peaks; of those that would cover each other the first one."""
    spans: list[str] = []
    places: list[float] = []
    for moment in moments.to_dict("records"):
        place = min(max(float(moment["peak_seconds"]) / end, LABEL_SHARE / 2), 1 - LABEL_SHARE / 2)
        if "rank" in moment and all(abs(place - other) >= LABEL_SHARE for other in places):
            places.append(place)
            spans.append(f'<span style="left: {100 * place:.2f}%">{escape(str(moment["rank"]))}</span>')
    return spans


def _trace(curve: pd.DataFrame, end: float) -> str:
    """The path of a curve; of many frames the highest of every some, and a gap where none are known."""
    seconds, values = (curve[name].to_numpy(float) for name in ("timestamp_seconds", "similarity"))
    parts = np.array_split(np.arange(len(values)), CURVE_POINTS)
    chosen = np.array([part[values[part].argmax()] for part in parts if len(part)], dtype=int)
    segment = np.searchsorted(np.flatnonzero(find_gaps(seconds)[0]) + 1, chosen, side="right")
    begins = np.diff(segment, prepend=-1) != 0
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    heights = HEIGHT * (0.95 - 0.9 * (values - low) / ((high - low) or 1.0))
    return "".join(
        f"{'M' if begin else 'L'}{seconds[place] / end * WIDTH:.1f} {heights[place]:.1f}"
        for place, begin in zip(chosen, begins, strict=True)
    )
