"""Rows per second through SingleStore's client: the store's way beside the article's.

The article turns embeddings and pictures into text with `np.array2string` and writes them with
`DataFrame.to_sql`; the store sends float32 bytes and JPEG files. Both write to the stand-in of the tests, one
after the other, several times. The time on the clock is mostly that of the stand-in, which reads SQL in Python
and is no measure of a real server; the processor time is the client's alone.

    python -m benchmarks.singlestore_write
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pandas as pd
from sqlalchemy import create_engine

from tests.conftest import make_video
from tests.singlestore_standin import StandIn
from videolib import FrameStore, normalize

COUNT, DIMENSION, JPEG_BYTES, ROUNDS = 400, 512, 10_000, 5


def main() -> None:
    generator = np.random.default_rng(0)
    embeddings = normalize(generator.normal(size=(COUNT, DIMENSION)))
    pictures = list(generator.integers(256, size=(COUNT, 270, 480, 3), dtype=np.uint8))
    jpegs = [generator.bytes(JPEG_BYTES) for _ in range(COUNT)]
    writers = {"article": write_as_the_article, "store": write_to_the_store}
    clock: dict[str, list[float]] = {name: [] for name in writers}
    processor: dict[str, list[float]] = {name: [] for name in writers}
    with StandIn(tuple(writers)) as server:
        engine = create_engine(server.url("article"))
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE frames (frame_number INT(10) UNSIGNED NOT NULL, embedding_data VECTOR(512) NOT NULL, "
                "frame_data TEXT, KEY(frame_number))"
            )
        store = FrameStore(server.url("store"))
        store.write_video(make_video("v1"), model="random", dimension=DIMENSION, every_seconds=1.0)
        targets = {"article": (engine, pictures), "store": (store, jpegs)}
        for turn in range(ROUNDS):
            for name, write in writers.items():
                server.clear()
                start, start_processor = time.perf_counter(), time.process_time()
                write(*targets[name], embeddings, turn * COUNT)
                clock[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - start_processor)
                if turn == ROUNDS - 1:
                    report(name, clock[name], processor[name], server.bytes_received)
    for name, times in (("clock", clock), ("processor", processor)):
        ratios = [article / ours for article, ours in zip(*times.values(), strict=True)]
        print(f"article / store, {name:9} {statistics.median(ratios):6.1f}")


def report(name: str, clock: list[float], processor: list[float], bytes_received: int) -> None:
    print(
        f"{name:8} {COUNT / statistics.median(clock):8,.0f} rows/s on the clock, "
        f"{COUNT / statistics.median(processor):8,.0f} rows/s of processor time, "
        f"{bytes_received / COUNT:8,.0f} bytes/row"
    )


def write_as_the_article(engine, pictures, embeddings, done: int) -> None:
    frames = pd.DataFrame(
        {
            "frame_number": np.arange(done + 1, done + COUNT + 1),
            "embedding_data": [
                np.array2string(row, separator=", ", max_line_width=np.inf) for row in embeddings
            ],
            "frame_data": [np.array2string(picture, separator=", ") for picture in pictures],
        }
    )
    frames.to_sql("frames", engine, if_exists="append", index=False, chunksize=1000)


def write_to_the_store(store: FrameStore, jpegs, embeddings, done: int) -> None:
    store.write_frames(
        pd.DataFrame(
            {
                "video_id": "v1",
                "frame_number": np.arange(done + 1, done + COUNT + 1),
                "timestamp_seconds": np.arange(done, done + COUNT, dtype=float),
                "embedding_data": list(embeddings),
                "frame_data": jpegs,
            }
        )
    )


if __name__ == "__main__":
    main()
