"""What a notebook shows of a store: the videos that are in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from html import escape

import pandas as pd

from videolib.errors import StoreError
from videolib.shown import facts_html, shorten, thumbnail_html
from videolib.store.curves import Curves
from videolib.times import format_seconds

MOST_VIDEOS = 10  # on the screen


class Overview(Curves):
    """The form that a store has in a notebook."""

    def _repr_html_(self) -> str:
        quick = copy.copy(self)
        quick.retry_seconds = 0.0  # what is only shown waits for nobody
        facts = {"url": self.url}
        try:
            videos = quick.list_videos(missing_ok=True)
            shown = quick._with_middles(videos.head(MOST_VIDEOS))
        except StoreError as error:
            return facts_html("FrameStore", facts | {"cannot be read": str(error)})
        if videos.empty:
            return facts_html("FrameStore", facts | {"videos": "none yet"})
        facts["model"] = f"{videos['model'][0]}, dimension {videos['dimension'][0]}"
        facts["holds"] = (
            f"{len(videos):,} video{'s' * (len(videos) != 1)}, {int(videos['frame_count'].sum()):,} frames"
        )
        more = len(videos) - len(shown)
        rest = f"<p>and {more:,} more: list_videos()</p>" if more else ""
        return facts_html("FrameStore", facts) + f"<table>{''.join(_rows(shown))}</table>{rest}"

    def _with_middles(self, videos: pd.DataFrame) -> pd.DataFrame:
        """Add the picture of a frame in the middle of each video."""
        if videos.empty:
            return videos
        middles = (videos["last_frame_number"].astype(int) + 1) // 2
        return self.add_pictures(videos.assign(frame_number=middles))


def _rows(videos: pd.DataFrame) -> Iterator[str]:
    names = ("", "title", "length", "frames", "sampled")
    yield f"<thead><tr>{''.join(f'<th>{name}</th>' for name in names)}</tr></thead>"
    for video in videos.to_dict("records"):
        frames = f"{video['frame_count']:,}" + ("" if video["complete"] else ", not complete")
        every = f"{video['sampling']}, {video['every_seconds']:g} s"
        cells = (
            thumbnail_html(video["frame_data"], shorten(video["title"])),
            f"<bdi>{escape(shorten(video['title'], 60))}</bdi>",
            format_seconds(video["duration_seconds"]),
            frames,
            escape(every),
        )
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
