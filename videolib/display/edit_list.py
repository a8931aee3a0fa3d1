"""`export_edit_list`: moments as a timeline that video editors open."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from videolib.display.reel import find_files, title_of
from videolib.folders import written_whole
from videolib.video import check_part, read_timeline, sound_format

if TYPE_CHECKING:
    from videolib.store import FrameStore

_RATES = [r * 1000 / 1001 for r in (24, 30, 60, 120)] + [24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 100.0, 120.0]
_NEAR = 0.0005  # of a rate: 24 and 24000/1001 are twice as far apart
_TOLD = ("rank", "video_id", "similarity", "peak_seconds")


def export_edit_list(
    moments: pd.DataFrame,
    to: str | os.PathLike[str],
    *,
    store: FrameStore | None = None,
    name: str = "moments",
    progress: bool = True,
) -> None:
    """Write moments one after the other as an OpenTimelineIO file, which DaVinci Resolve, Premiere and others open.

    It refers to the videos and copies nothing of them. Times are frames from the first one, at each video's own rate: a
    timecode that a camera began with elsewhere than at 0 is not taken into account.

    Parameters
    ----------
    moments
        Columns video_id, start_seconds and end_seconds, as `find_moments` gives them, in the order of the rows; title,
        rank, similarity and peak_seconds are kept where they are there.
    to
        The .otio file to write.
    store
        The store that they were found in, which knows where their videos are. Without it the moments need a column
        source, of paths or http(s) addresses.
    name
        Of the timeline in the editor.
    progress
        Show a progress bar where a video has to be downloaded.

    Raises
    ------
    ValueError
        If there are no moments, a column is missing, a moment does not lie within its video, or `to` is no .otio in a
        folder that exists.
    StoreError
        If a video is not in the store any more.
    VideoReadError
        If a video's file is not where it was, or cannot be read.

    Notes
    -----
    The format: https://opentimelineio.readthedocs.io/en/stable/tutorials/otio-file-format-specification.html
    """
    target = Path(to)
    if target.suffix.lower() != ".otio" or not target.parent.is_dir():
        raise ValueError(f"to must be the path of an .otio file in a folder that exists, got {target}")
    paths = find_files(moments, store, progress=progress)
    media = {path: _Media(path) for path in dict.fromkeys(paths)}
    rows = moments.to_dict("records")
    tracks = []
    for kind in ("Video", "Audio"):
        clips = [media[path].cut(row, kind) for path, row in zip(paths, rows, strict=True)]
        if any(clip["OTIO_SCHEMA"] == "Clip.2" for clip in clips):
            tracks.append(_composition("Track.1", kind, clips) | {"kind": kind})
    timeline = _named("Timeline.1", name) | {
        "global_start_time": None,
        "tracks": _composition("Stack.1", "tracks", tracks),
    }
    with written_whole(target) as part:
        part.write_text(json.dumps(timeline, indent=4), encoding="utf-8")


class _Media:
    """A video as an edit list refers to it."""

    def __init__(self, path: Path) -> None:
        self.path, self.timeline = path, read_timeline(path)
        self.has_sound = sound_format(path) is not None
        own = self.timeline.frames_per_second
        near = min(_RATES, key=lambda rate: abs(rate - own))
        self.rate = near if abs(near - own) <= _NEAR * near else round(own, 3)

    def cut(self, moment: dict[Any, Any], kind: str) -> dict[str, Any]:
        """Refer to a moment; a gap stands for sound where there is none."""
        start, end = float(moment["start_seconds"]), float(moment["end_seconds"])
        check_part(start, end)
        length = float(self.timeline.duration)
        if start >= length:
            raise ValueError(
                f"start_seconds must lie within the video, got {start:g}: {self.path} ends before"
            )
        first, stop = (round(seconds * self.rate) for seconds in (start, min(end, length)))
        span = self._range(first, max(stop - first, 1))
        if kind == "Audio" and not self.has_sound:
            return _item("Gap.1", "", span)
        reference = _named("ExternalReference.1", self.path.name) | {
            "available_range": self._range(0, round(length * self.rate)),
            "available_image_bounds": None,
            "target_url": self.path.absolute().as_uri(),
        }
        told = {name: moment[name] for name in _TOLD if not pd.isna(moment.get(name))}
        return _item("Clip.2", title_of(moment, self.path), span) | {
            "metadata": {"videolib": told},
            "media_references": {"DEFAULT_MEDIA": reference},
            "active_media_reference_key": "DEFAULT_MEDIA",
        }

    def _range(self, start: int, duration: int) -> dict[str, Any]:
        times = (
            {"OTIO_SCHEMA": "RationalTime.1", "rate": self.rate, "value": value}
            for value in (start, duration)
        )
        return {"OTIO_SCHEMA": "TimeRange.1"} | dict(zip(("start_time", "duration"), times, strict=True))


def _named(schema: str, name: str) -> dict[str, Any]:
    return {"OTIO_SCHEMA": schema, "metadata": {}, "name": name}


def _item(schema: str, name: str, source_range: dict[str, Any] | None) -> dict[str, Any]:
    return _named(schema, name) | {
        "source_range": source_range,
        "effects": [],
        "markers": [],
        "enabled": True,
    }


def _composition(schema: str, name: str, children: list[dict[str, Any]]) -> dict[str, Any]:
    return _item(schema, name, None) | {"children": children}
