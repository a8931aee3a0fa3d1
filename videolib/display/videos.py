"""`plot_videos`: in which of many videos moments are, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from videolib.display.described import MARK_COLOR, PAPER, SMALL_POINTS, describe, on_paper
from videolib.display.labels import draw_bands
from videolib.display.told import stored_videos
from videolib.times import decimals_to_tell_apart, format_span

if TYPE_CHECKING:
    from videolib.store import FrameStore

BAND_INCHES, BAR = 0.55, (-0.1, 0.35)  # from where the name is, and how much of a band
LENGTH_COLOR, FAINT_COLOR = "#e6e6e6", "#6e6e6e"
STYLES: dict[bool, dict[str, Any]] = {  # of moments that stand out, and of the others
    True: {"facecolor": MARK_COLOR, "edgecolor": MARK_COLOR},
    False: {"facecolor": PAPER, "edgecolor": FAINT_COLOR},
}
NEAR = 0.02  # of the time axis: ranks that are nearer to each other stand in one text


@on_paper
def plot_videos(
    moments: pd.DataFrame,
    store: FrameStore,
    *,
    video_id: str | Sequence[str] | None = None,
    most: int = 20,
    title: str | None = None,
) -> Figure:
    """Show in which videos moments are, and when: a band for each video, as long as it lasts, with their ranks.

    Videos come in the order of their best moments, and after them those without one.

    Parameters
    ----------
    moments
        As `find_moments` gives them; where `judge` has told which stand out, the others are hollow, and their ranks
        in parentheses.
    store
        The store that they were found in, for titles and lengths.
    video_id
        The video, or videos, if only these were searched.
    most
        How many videos at most.
    title
        Line above the figure, such as the query.

    Raises
    ------
    ValueError
        If a column is missing, most is below 1, or there is no video to show.
    StoreError
        If a moment's video is not in the store any more.
    """
    columns = ["rank", "video_id", "start_seconds", "peak_seconds", "end_seconds"]
    if missing := [column for column in columns if column not in moments]:
        raise ValueError(f"moments must have the columns {', '.join(columns)}; missing: {', '.join(missing)}")
    videos = _in_order(moments, stored_videos(moments, store), video_id)
    if videos.empty or most < 1:
        raise ValueError(
            f"most must be 1 or more and there must be a video, got {most} and {len(videos)} videos: see "
            "store.list_videos()"
        )
    kept = videos.head(most)
    left_out = len(videos) - len(kept)
    lines = [title or "", f"{left_out} more videos are left out" if left_out else ""]
    headline = "; ".join(filter(None, lines))
    end = max(kept["duration_seconds"].max(), moments["end_seconds"].max() if len(moments) else 0)
    figure, axis = draw_bands(kept["title"].tolist(), headline, end_seconds=end, band_inches=BAND_INCHES)
    bands = [moments[moments["video_id"] == each].sort_values("peak_seconds") for each in kept["video_id"]]
    for place, (own, seconds) in enumerate(zip(bands, kept["duration_seconds"], strict=True)):
        axis.broken_barh([(0, seconds)], (place + BAR[0], BAR[1]), facecolor=LENGTH_COLOR)
        _draw_moments(axis, own, place, near=NEAR * end)
    if "found" in moments:
        names = {True: "1 stands out", False: "(1) does not stand out"}
        handles = [Patch(**STYLES[found], label=name) for found, name in names.items()]
        figure.legend(
            handles=handles, loc="outside lower right", ncols=2, fontsize=SMALL_POINTS, frameon=False
        )
    decimals = decimals_to_tell_apart(moments[["start_seconds", "end_seconds"]].to_numpy(float).ravel())
    told = (
        f"{name}: {', '.join(_tell_moments(own, decimals)) or 'none'}"
        for name, own in zip(kept["title"], bands, strict=True)
    )
    what = f"{moments['video_id'].nunique()} of {len(videos)} videos with moments"
    describe(figure, what, title or "", told)
    return figure


def _in_order(
    moments: pd.DataFrame, videos: pd.DataFrame, video_id: str | Sequence[str] | None
) -> pd.DataFrame:
    """The videos that moments were found in, best first, and then the others that were searched."""
    best = moments.sort_values("rank", kind="stable")["video_id"].unique().tolist()
    searched = videos["latest"].astype(bool)
    if video_id is not None:
        searched = videos["video_id"].isin([video_id] if isinstance(video_id, str) else list(video_id))
    others = [each for each in videos.loc[searched, "video_id"] if each not in best]
    return videos.set_index("video_id", drop=False).loc[[*best, *others]]


def _draw_moments(axis: Axes, own: pd.DataFrame, place: int, *, near: float) -> None:
    """Draw a video's moments on its band, and above each its rank."""
    stands_out = own["found"].tolist() if "found" in own else [True] * len(own)
    for moment, found in zip(own.to_dict("records"), stands_out, strict=True):
        bar = (moment["start_seconds"], moment["end_seconds"] - moment["start_seconds"])
        axis.broken_barh([bar], (place + BAR[0], BAR[1]), **STYLES[bool(found)], linewidth=1.5)
    ranks = [f"{rank}" if found else f"({rank})" for rank, found in zip(own["rank"], stands_out, strict=True)]
    peaks = own["peak_seconds"].to_numpy(float)
    for some in np.split(np.arange(len(own)), np.flatnonzero(np.diff(peaks) > near) + 1):
        if len(some):
            text = ", ".join(ranks[each] for each in some)
            y = place + BAR[0] - 0.06
            axis.text(peaks[some].mean(), y, text, ha="center", va="bottom", fontsize=SMALL_POINTS)


def _tell_moments(own: pd.DataFrame, decimals: int) -> Iterator[str]:
    moment: dict[Any, Any]
    for moment in own.to_dict("records"):
        span = format_span(moment["start_seconds"], moment["end_seconds"], decimals=decimals)
        faint = "" if moment.get("found", True) else ", which does not stand out"
        yield f"moment {moment['rank']} at {span}{faint}"
