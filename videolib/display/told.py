"""What is said of moments, in the same words wherever it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from videolib.errors import StoreError

if TYPE_CHECKING:
    from videolib.store import FrameStore


def tell_found(moments: pd.DataFrame) -> str:
    """Say how many of the judged moments stand out; without a full stop."""
    count, found = len(moments), int(moments["found"].sum())
    if not found:
        nearest = "nearest moment does" if count == 1 else f"{count} nearest moments do"
        return f"Probably not there: the {nearest} not stand out"
    return f"{found} of {count} moment{'s' * (count != 1)} stand{'s' * (found == 1)} out"


def stored_videos(moments: pd.DataFrame, store: FrameStore) -> pd.DataFrame:
    """List the videos of the store that moments were found in; StoreError if one of theirs is gone."""
    videos = store.list_videos()
    if gone := set(moments["video_id"]) - set(videos["video_id"]):
        raise StoreError(f"the store has no video {min(gone)!r} any more; leave its moments out")
    return videos
