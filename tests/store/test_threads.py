"""A store that several threads share, in a file and in memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.conftest import make_frames, make_video
from videolib import FrameStore, normalize

pytestmark = pytest.mark.slow

DIMENSION = 16
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}
ROWS = normalize(np.random.default_rng(0).normal(size=(200, DIMENSION)))


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FrameStore:
    return FrameStore("duckdb:///:memory:" if request.param == "memory" else tmp_path / "store.duckdb")


def test_each_thread_gets_its_own_rows(store: FrameStore) -> None:
    store.write_video(make_video("v1"), **MODEL)
    store.write_frames(make_frames("v1", ROWS))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: store.search(ROWS[row % 200], 3), range(400)))
    assert [matches["frame_number"][0] for matches in found] == [row % 200 + 1 for row in range(400)]
    assert {tuple(matches["rank"]) for matches in found} == {(1, 2, 3)}


def test_each_thread_writes_its_own_rows_while_others_read(store: FrameStore) -> None:
    names = [f"v{number}" for number in range(8)]

    def write(name: str) -> list[int]:
        store.write_video(make_video(name), **MODEL)
        frames = make_frames(name, ROWS[:40])
        counts = []
        for first in range(0, 40, 10):
            store.write_frames(frames.iloc[first : first + 10])
            counts.append(len(store.read_frames(name)))
        store.mark_complete(name)
        return counts

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, names)) == [[10, 20, 30, 40]] * 8
    videos = store.list_videos()
    assert videos["frame_count"].tolist() == [40] * 8
    assert videos["complete"].all()


def test_threads_that_write_the_same_rows_take_turns(store: FrameStore) -> None:
    store.write_video(make_video("v1"), **MODEL)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.write_frames, [make_frames("v1", ROWS)] * 16))
    assert len(store.read_frames("v1")) == 200


def test_a_file_that_another_thread_is_opening_is_written_after_all(store: FrameStore) -> None:
    """One in a thousand openings meets this moment; here the first does."""
    failed = []

    def fail_first(_cursor: Any, statement: str, *_: Any) -> None:
        if statement == "register" and not failed:
            failed.append(statement)
            raise duckdb.CatalogException(
                "Catalog Error: Table Function with name pandas_scan does not exist!"
            )

    event.listen(Engine, "do_execute", fail_first)
    try:
        store.write_video(make_video("v1"), **MODEL)
    finally:
        event.remove(Engine, "do_execute", fail_first)
    assert failed
    assert store.list_videos()["video_id"].tolist() == ["v1"]


def test_two_stores_in_memory_are_two() -> None:
    one, other = FrameStore("duckdb:///:memory:"), FrameStore("duckdb:///:memory:")
    one.write_video(make_video("v1"), **MODEL)
    assert other.list_videos().empty
