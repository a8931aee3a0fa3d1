"""What is marked on the explorer's screen stays in the store, for `evaluate`."""

from __future__ import annotations

import getpass
from typing import Any

from videolib.display.explorer_index import held, same_frames
from videolib.errors import StoreError
from videolib.store import FrameStore


def keep_mark(store: FrameStore, query_text: str, moment: dict[Any, Any], right: bool | None) -> str:
    """Keep what a person said of a moment, in place of what was said of it before; None takes that back.

    Returns
    -------
    Why it could not be kept; empty if it was.
    """
    who = _user()
    start, end = float(moment["start_seconds"]), float(moment["end_seconds"])
    mark = {"query": query_text, "video_id": moment["video_id"], "start_seconds": start, "end_seconds": end}
    try:
        with same_frames(store), held(store):
            old = store.read_marks(query=query_text, video_id=moment["video_id"])
            old = old[(old["who"] == who) & (old["start_seconds"] < end) & (old["end_seconds"] > start)]
            if right is not None:
                store.write_marks([mark | {"right": right}], who=who)
                old = old[(old["start_seconds"] != start) | (old["end_seconds"] != end)]
            store.delete_marks(old)
    except StoreError as error:
        return f"The mark counts here, and is not kept for later: {error}"
    return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without names
        return ""
