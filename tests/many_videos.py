"""Makes folders of small videos in several formats, some of them damaged, some with the same content."""

import hashlib
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from tests.media import counter_picture, write_video
from videolib import FrameStore

FORMATS = [
    ("mp4", "libx264"),
    ("mkv", "libx264"),
    ("webm", "libvpx"),
    ("avi", "mpeg4"),
    ("mov", "libx264"),
    ("ts", "mpeg2video"),
]
VPX = {"deadline": "realtime", "cpu-used": "8"}
RATE = 5


def write_one(path: Path, codec: str, number: int, seconds: float, size: tuple[int, int] = (96, 64)) -> Path:
    """Write a video whose pictures are told by its number."""
    pictures = [counter_picture((number * 97 + place) % 4096, size) for place in range(round(seconds * RATE))]
    rate = 25 if codec == "mpeg2video" else RATE  # it knows no slower ones
    if rate != RATE:
        pictures = [picture for picture in pictures for _ in range(rate // RATE)]
    options = VPX if codec == "libvpx" else {"g": "25"}
    return write_video(path, codec, rate=rate, pictures=pictures, size=size, options=options)


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def damage(path: Path, way: int) -> str:
    """Damage a whole video in one of ten ways; returns what is then told, a regular expression."""
    content = path.read_bytes()
    noise = np.random.default_rng(way).bytes(len(content))
    if way == 6:
        Image.fromarray(counter_picture(1)).save(path, "PNG")
        return "still picture|no video"
    if way == 7:
        write_sound(path)
        return "no video"
    texts = {1: b"<html>not found</html>" * 20, 8: b"#EXTM3U\n#EXTINF:4,\npart1.ts\n"}
    pieces = {0: b"", 2: noise, 3: content[: len(content) // 2], 4: bytes(64) + content[64:]}
    pieces |= {5: content[:40], 9: bytes(len(content))}
    path.write_bytes((texts | pieces)[way])
    return {0: "is empty", 8: "playlist"}.get(way, "")


def make_folder(
    folder: Path, count: int, *, damaged: int = 0, same: int = 0, seconds: float = 4
) -> list[Path]:
    """Make `count` videos, some of them in a folder below: damaged ones, and ones of the same content as the first."""
    (folder / "more").mkdir(parents=True)
    paths = []
    for number in range(count):
        suffix, codec = FORMATS[number % len(FORMATS)]
        name = f"{number:03} {suffix}"
        path = (folder / "more" if number % 3 == 2 else folder) / f"{name}.{suffix}"
        is_same = 0 < number <= same
        if is_same:
            path = path.with_suffix(paths[0].suffix)
            path.write_bytes(paths[0].read_bytes())
        elif number >= count - damaged:
            write_one(path.with_suffix(".mp4"), "libx264", number, seconds)
            path = path.with_suffix(".mp4")
            damage(path, (count - 1 - number) % 10)
        else:
            write_one(path, codec, number, seconds + number % 3)
        paths.append(path)
    return paths


def rows_of(store: FrameStore) -> dict[str, Any]:
    """All that a store holds, in a form that can be compared; pictures and embeddings as digests."""
    held: dict[str, Any] = {}
    for video in store.list_videos().drop(columns="latest").to_dict("records"):
        frames = store.read_frames(video["video_id"])
        digest = hashlib.sha256(b"".join(frames["frame_data"]))
        digest.update(np.stack(list(frames["embedding_data"])).round(5).tobytes() if len(frames) else b"")
        times = list(zip(frames["frame_number"], frames["timestamp_seconds"], strict=True))
        held[video["video_id"]] = (video, times, digest.hexdigest())
    return held
