"""What a notebook shows beside figures."""

from __future__ import annotations

import io
import os

import av
from IPython.display import Video as VideoDisplay

from videolib.images import resize
from videolib.video import extract_frames

CLIP_FRAMES_PER_SECOND = 15


def play_clip(
    path: str | os.PathLike[str],
    *,
    start_seconds: float = 0.0,
    duration_seconds: float = 8.0,
    height: int = 360,
) -> VideoDisplay:
    """Show a short part of a video in the notebook, re-encoded small and silent, whatever the file's format.

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
    buffer = io.BytesIO()
    frames = extract_frames(
        path,
        every_seconds=1 / CLIP_FRAMES_PER_SECOND,
        start_seconds=start_seconds,
        end_seconds=start_seconds + duration_seconds,
    )
    with av.open(buffer, "w", format="mp4") as container:
        stream = None
        for frame in frames:
            if stream is None:
                source_height, source_width = frame.image.shape[:2]
                height = min(height, source_height) // 2 * 2 or 2  # H.264 wants even sides
                width = round(source_width * height / source_height / 2) * 2 or 2
                stream = container.add_stream(
                    "libx264", CLIP_FRAMES_PER_SECOND, {"crf": "26", "preset": "veryfast"}
                )
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            picture = av.VideoFrame.from_ndarray(resize(frame.image, width, height), format="rgb24")
            container.mux(stream.encode(picture))
        if stream is None:
            raise ValueError(f"start_seconds must lie within the video, got {start_seconds:g}")
        container.mux(stream.encode())
    return VideoDisplay(  # type: ignore[no-untyped-call]
        buffer.getvalue(), embed=True, mimetype="video/mp4", html_attributes="controls loop muted"
    )
