"""What FFmpeg would read wrong or by half, or open other files for: told by the file's own bytes, beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av

# demuxers that open what a file names
NAMING_FORMATS = {"concat", "dash", "hls", "imf", "lavfi", "rtsp", "sdp", "vobsub", "webm_dash_manifest"}
ALLOWED_FORMATS = ",".join(sorted(av.formats_available - NAMING_FORMATS))

_LARGEST_MOVIE = 1 << 24  # bytes; the tracks' kinds stand before their tables


def find_reason(path: Path) -> str | None:
    """Say why a file is refused, and what to do; None if it is not."""
    with path.open("rb") as file:
        head = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith((b"#EXTM3U", b"ffconcat version")) or (head[:1] == b"<" and b"<MPD" in head):
        return (
            "is a playlist, not a video; pass a video that it names, or make one of it by "
            "ffmpeg -i playlist -c copy video.mp4"
        )
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[20:21] and head[20] & 2:
        return "is an animated WebP, which FFmpeg cannot read; convert it to a GIF or an MP4 first"
    if head[4:8] == b"ftyp":
        return _look_into_movie(path)
    return None


def walk_boxes(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, place and size of each box of an mp4 that stands in no other: ISO/IEC 14496-12, 4.2."""
    place = 0
    with path.open("rb") as file:
        while len(header := file.read(16)) >= 8:
            size, name = int.from_bytes(header[:4], "big"), header[4:8]
            if size == 1:
                size = int.from_bytes(header[8:], "big")
            yield name, place, size
            if size < 8:
                return
            place += size
            file.seek(place)


def _look_into_movie(path: Path) -> str | None:
    movies = 0
    for name, place, size in walk_boxes(path):
        if name == b"moof":
            return None  # fragments of one movie, or of several: their clocks tell
        if name == b"moov":
            movies += 1
            with path.open("rb") as file:
                file.seek(place)
                movie = file.read(min(size, _LARGEST_MOVIE))
            if b"encv" in movie and b"schm" in movie:  # ISO/IEC 14496-12, 8.12
                return "is encrypted; pass a copy without protection"
        if movies > 1:
            return (
                "holds several videos in a row, of which only the first can be read; join the videos by "
                "ffmpeg's concat demuxer instead"
            )
    return None
