"""What a notebook shows beside figures."""

from __future__ import annotations

import io
import os

from IPython.display import Video as VideoDisplay

from videolib.addresses import is_address, local_path
from videolib.errors import VideoReadError
from videolib.video import encode_clip, read_timeline, written

CLIP_FRAMES_PER_SECOND = 15


def play_clip(
    path: str | os.PathLike[str],
    *,
    start_seconds: float = 0.0,
    duration_seconds: float = 8.0,
    height: int = 360,
) -> VideoDisplay:
    """Show a short part of a video in the notebook, re-encoded small, with its sound, whatever the file's format.

    Eight seconds take some hundred kilobytes: a whole file would pass through the kernel and stay in the
    notebook.

    Parameters
    ----------
    path
        The video file.
    start_seconds, duration_seconds
        Which part; 60 seconds at most.
    height
        Of the picture, in pixels.

    Raises
    ------
    ValueError
        If the part is longer than 60 seconds or begins after the video's end.
    VideoReadError
        If the file is no readable video.
    """
    if not 0 < duration_seconds <= 60:
        raise ValueError(f"duration_seconds must lie between 0 and 60, got {duration_seconds}")
    if height < 2:
        raise ValueError(f"height must be 2 or more, got {height}")
    if not is_address(path) and not local_path(path).exists():
        raise VideoReadError(
            f"{local_path(path)} does not exist: check the path; if the file of a stored video was moved, the store "
            "learns it by relocate_video(video_id, path)"
        )
    timeline = read_timeline(path)
    height = min(height, timeline.height) // 2 * 2 or 2  # H.264 wants even sides
    width = round(timeline.width * height / timeline.height / 2) * 2 or 2
    buffer = io.BytesIO()
    with written(buffer, sources=[]) as target:
        encode_clip(
            timeline,
            start_seconds,
            start_seconds + duration_seconds,
            target,
            width=width,
            height=height,
            frames_per_second=CLIP_FRAMES_PER_SECOND,
        )
    return VideoDisplay(  # type: ignore[no-untyped-call]
        buffer.getvalue(), embed=True, mimetype="video/mp4", html_attributes="controls loop"
    )
