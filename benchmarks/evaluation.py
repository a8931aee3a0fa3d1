"""``python -m benchmarks.evaluation``: how long `evaluate` takes, of random embeddings, beside searching one by one."""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from benchmarks.cases import DIMENSION, measured
from videolib import FrameIndex, NullQueries, evaluate, find_moments, normalize

VIDEOS, NULLS, SEARCHES = 300, 200, 20


class Known:
    """Embeds the texts "0", "1", … as these rows."""

    model, dimension = "random", DIMENSION

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """The rows of some of them."""
        return self.rows[[int(text) for text in texts]]


def make_index(count: int, random: np.random.Generator) -> FrameIndex:
    """Random frames, a second apart, of some videos; there are no pictures."""
    videos = np.sort(np.arange(count) % VIDEOS)
    frames = pd.DataFrame({"video_id": [f"v{number:04}" for number in videos]})
    frames["frame_number"] = frames.groupby("video_id").cumcount() + 1
    frames["timestamp_seconds"] = frames["frame_number"] - 1.0
    embeddings = normalize(random.normal(size=(count, DIMENSION)).astype(np.float32))
    about = pd.DataFrame(
        {"video_id": frames["video_id"].unique(), "title": "", "duration_seconds": count / VIDEOS}
    )
    return FrameIndex(frames, embeddings, _no_pictures, about)


def _no_pictures(keys: pd.DataFrame) -> pd.DataFrame:
    return keys[["video_id", "frame_number"]].assign(frame_data=b"")


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=100_000)
    given = parser.parse_args()
    random = np.random.default_rng(0)
    index = make_index(given.frames, random)
    encoder = Known(normalize(random.normal(size=(given.queries, DIMENSION))))
    rows = []
    for number in range(given.queries):
        video, absent = (f"v{each:04}" for each in random.choice(VIDEOS, 2, replace=False))
        start = random.uniform(0, given.frames / VIDEOS - 20)
        span = {"start_seconds": start, "end_seconds": start + random.uniform(5, 20)}
        rows += [{"query": str(number), "video_id": video, "right": True, **span}]
        rows += [{"query": str(number), "video_id": absent, "right": False}]
    nulls = NullQueries(("",) * NULLS, normalize(random.normal(size=(NULLS, DIMENSION))))
    with measured() as all_at_once:
        print(evaluate(index, encoder, rows, nulls=nulls))  # type: ignore[arg-type]  # it embeds no images
    with measured() as one_by_one:
        for query in encoder.rows[:SEARCHES]:
            index.search(query, 10)
            find_moments(index, query, 1)
    print({name: round(all_at_once[name], 1) for name in ("seconds", "cpu_seconds", "extra_mb")})
    for name in ("seconds", "cpu_seconds"):
        print(f"a search and its best moment, {name}: {one_by_one[name] / SEARCHES:.3f}")


if __name__ == "__main__":
    main()
