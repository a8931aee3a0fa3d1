"""``python -m benchmarks.singlestore_write``: rows a second into SingleStore, videolib's and the article's way.

Against ``SINGLESTOREDB_URL``, whose tables videos, frames and article_frames are dropped first, else against the
tests' stand-in, whose own work counts for both and tells nothing about a real server.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from contextlib import ExitStack

import numpy as np
import pandas as pd
from sqlalchemy import Engine, text

from tests.singlestore_standin import StandIn
from videolib import FrameStore, Video, normalize

DIMENSION, PICTURE_BYTES, CHUNK = 512, 10_000, 1000
CREATE = f"""CREATE TABLE IF NOT EXISTS article_frames (
    frame_number INT(10) UNSIGNED NOT NULL, embedding_data VECTOR({DIMENSION}) NOT NULL, frame_data TEXT,
    KEY(frame_number))"""


def _as_text(array: np.ndarray) -> str:
    return np.array2string(array, separator=", ", max_line_width=np.inf)


def _write_videolib(url: str, embeddings: np.ndarray, pictures: list[bytes]) -> None:
    store = FrameStore(url)
    video = Video("video", "video", "video.mp4", float(len(embeddings)), 1920, 1080, 30.0)
    store.write_video(video, model="random", dimension=DIMENSION, every_seconds=1.0)
    numbers = np.arange(len(embeddings))
    frames = {
        "video_id": "video",
        "frame_number": numbers + 1,
        "timestamp_seconds": numbers.astype(float),
        "embedding_data": list(embeddings),
        "frame_data": pictures,
    }
    table = pd.DataFrame(frames)
    for start in range(0, len(table), CHUNK):
        store.write_frames(table[start : start + CHUNK])


def _write_article(engine: Engine, embeddings: np.ndarray, frame: np.ndarray) -> None:
    with engine.begin() as connection:
        connection.execute(text(CREATE))
    frames = {
        "frame_number": np.arange(1, len(embeddings) + 1),
        "embedding_data": [_as_text(embedding) for embedding in embeddings],
        "frame_data": [_as_text(frame) for _ in embeddings],
    }
    pd.DataFrame(frames).to_sql("article_frames", engine, if_exists="append", index=False, chunksize=CHUNK)


def main() -> None:
    """Write both ways in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    embeddings = normalize(random.standard_normal((options.rows, DIMENSION), dtype=np.float32))
    pictures = [random.bytes(PICTURE_BYTES) for _ in embeddings]
    frame = random.integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    with ExitStack() as stack:
        url = os.environ.get("SINGLESTOREDB_URL") or stack.enter_context(StandIn()).url()
        engine = FrameStore(url).engine
        stack.callback(engine.dispose)
        seconds: dict[str, list[float]] = {"videolib": [], "article": []}
        for _ in range(options.rounds):
            for name in seconds:
                with engine.begin() as connection:
                    for table in ("frames", "videos", "article_frames"):
                        connection.execute(text(f"DROP TABLE IF EXISTS {table}"))
                started = time.perf_counter()
                if name == "videolib":
                    _write_videolib(url, embeddings, pictures)
                else:
                    _write_article(engine, embeddings, frame)
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    where = "SINGLESTOREDB_URL" if os.environ.get("SINGLESTOREDB_URL") else "the stand-in"
    print(f"{options.rows} rows of {DIMENSION} dimensions to {where}, medians of {options.rounds}:")
    print(f"  videolib, pictures of {PICTURE_BYTES} bytes: {options.rows / medians['videolib']:,.0f} rows/s")
    print(f"  the article, texts without the pictures: {options.rows / medians['article']:,.0f} rows/s")
    print(f"  ratio {medians['article'] / medians['videolib']:.2f}")


if __name__ == "__main__":
    main()
