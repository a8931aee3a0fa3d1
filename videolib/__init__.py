"""Find moments in video by describing them."""

from typing import TYPE_CHECKING, Any

from videolib.copying import copy_videos
from videolib.database import FrameStore
from videolib.downloads import fetch_video
from videolib.errors import DownloadError, ModelError, StoreError, VideolibError, VideoReadError
from videolib.frames import Frame, Video, extract_frames, probe_video
from videolib.index import FrameIndex
from videolib.ingest import Preflight, embed_frames, ingest, preflight
from videolib.plotting import plot_frames, plot_timeline
from videolib.queries import combine, image_query, text_query
from videolib.similarity import match_frames, normalize, similarity, top_k
from videolib.widgets import play_clip

if TYPE_CHECKING:
    from videolib.encoding import ClipEncoder, Encoder

__all__ = [
    "ClipEncoder",
    "DownloadError",
    "Encoder",
    "Frame",
    "FrameIndex",
    "FrameStore",
    "ModelError",
    "Preflight",
    "StoreError",
    "Video",
    "VideoReadError",
    "VideolibError",
    "combine",
    "copy_videos",
    "embed_frames",
    "extract_frames",
    "fetch_video",
    "image_query",
    "ingest",
    "match_frames",
    "normalize",
    "play_clip",
    "plot_frames",
    "plot_timeline",
    "preflight",
    "probe_video",
    "similarity",
    "text_query",
    "top_k",
]


def __getattr__(name: str) -> Any:
    if name in (
        "ClipEncoder",
        "Encoder",
    ):  # torch takes seconds to import, and most of the library needs none
        from videolib import encoding

        return getattr(encoding, name)
    raise AttributeError(f"module 'videolib' has no attribute {name!r}")
