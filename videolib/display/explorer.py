"""`explore`: type, look, play and refine, in a cell's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from videolib.display.explorer_search import Asked, Searcher
from videolib.extras import missing_extra

if TYPE_CHECKING:
    from videolib.display.explorer_widget import Explorer
    from videolib.encoding import Encoder
    from videolib.images import ImageSource
    from videolib.store import FrameStore


def explore(
    store: FrameStore,
    encoder: Encoder,
    *,
    query_text: str = "",
    without_text: str = "",
    query_image: ImageSource | None = None,
    weight: float = 0.5,
    video_id: str | Sequence[str] | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    k: int = 5,
) -> Explorer:
    """Explore a store in a notebook: what is typed is searched for at once, a moment that is chosen plays with sound.

    A moment that is marked as right or wrong refines the answer (`refine`). Where no kernel runs, as in a file that
    papermill executed or in the HTML of nbconvert, the same cell shows the answer to its parameters, with pictures.

    Parameters
    ----------
    store
        What is searched. Clips are cut from the files where the videos were when they were ingested; of one that
        is gone the stored pictures are shown.
    encoder
        The encoder that the store was filled with.
    query_text, without_text
        What to look for first, and what should not be there, which counts half as much; empty for none.
    query_image
        An image to search by, as `image_query` takes it.
    weight
        The text's share where there is an image, too: from 0 (the image alone) to 1.
    video_id
        Search this video only, or these.
    start_seconds, end_seconds
        Search this part of them only: frames with start_seconds <= timestamp_seconds < end_seconds.
    k
        How many moments at most.

    Returns
    -------
    The widget. Its `query`, `moments` and `marks` are what a person did on the screen, and can be set; ``explore(store,
    encoder, **explorer.query)`` begins again from there.

    Raises
    ------
    ValueError
        If an argument is out of its range, or does not fit the store.
    StoreError
        If there is no store, or a video is not in it.
    ImportError
        If anywidget is not installed.
    """
    try:
        from videolib.display.explorer_widget import Explorer
    except ModuleNotFoundError as error:
        if error.name != "anywidget":
            raise
        raise ImportError(missing_extra("the explorer needs anywidget", "notebooks")) from error
    asked = Asked().changed(
        query_text=query_text,
        without_text=without_text,
        query_image=query_image,
        weight=weight,
        video_id=video_id,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        k=k,
    )
    return Explorer(Searcher(store, encoder), asked)
