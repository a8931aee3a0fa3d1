import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.conftest import make_frames, make_video
from tests.store.test_store import HOLD_LOCK, WRITE_BATCHES
from videolib import FrameStore, StoreError

pytestmark = pytest.mark.slow

DIMENSION = 32
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}


def frames_of(seed: int):
    dice = np.random.default_rng(seed)
    frames = make_frames("v1", dice.normal(size=(200, DIMENSION)))
    return frames.assign(frame_data=[dice.bytes(5000) for _ in range(200)])


def rewritten(path: Path, times: int = 15) -> FrameStore:
    store = FrameStore(path)
    store.write_video(make_video("v1"), **MODEL)
    for seed in range(times):
        store.write_frames(frames_of(seed))
    store.mark_complete("v1")
    return store


@pytest.mark.parametrize(
    "name", ["store.duckdb", 'it\'s "mine"; DROP TABLE frames --.duckdb', "ü?%41#.duckdb"]
)
def test_what_was_replaced_takes_no_room_afterwards(tmp_path, name):
    once = rewritten(tmp_path / "once.duckdb", 1)
    once_bytes = (tmp_path / "once.duckdb").stat().st_size
    path = tmp_path / name
    store = rewritten(path)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE notes AS SELECT 'mine' AS note")
    before = store.read_frames("v1"), store.list_videos()
    path.chmod(0o640)
    assert path.stat().st_size > 5 * once_bytes
    store.compact()
    assert path.stat().st_size < 1.5 * once_bytes
    assert path.stat().st_mode & 0o777 == 0o640
    for now, then in zip((store.read_frames("v1"), store.list_videos()), before, strict=True):
        assert json.loads(now.drop(columns="frame_data", errors="ignore").to_json()) == json.loads(
            then.drop(columns="frame_data", errors="ignore").to_json()
        )
    assert store.read_frames("v1")["frame_data"].tolist() == before[0]["frame_data"].tolist()
    with duckdb.connect(str(path)) as connection:
        assert connection.sql("FROM notes").fetchall() == [("mine",)]
    store.write_frames(frames_of(99))  # the keys are still there
    assert len(store.read_frames("v1")) == 200 == len(once.read_frames("v1"))
    assert {each.name for each in tmp_path.iterdir()} <= {name, f"{name}.wal", "once.duckdb"}


def test_batches_in_the_log_and_an_old_copy_do_no_harm(tmp_path):
    path = tmp_path / "store.duckdb"
    store = rewritten(path, 2)
    store.write_frames(frames_of(5))
    assert Path(f"{path}.wal").exists()
    Path(f"{path}.compact").write_bytes(b"of a compact that was killed")
    store.compact()
    assert store.read_frames("v1")["frame_data"].tolist() == frames_of(5)["frame_data"].tolist()


def test_a_store_in_memory_stays_as_it_is():
    store = FrameStore("duckdb:///:memory:")
    store.write_video(make_video("v1"), **MODEL)
    store.compact()
    assert len(store.list_videos()) == 1


@pytest.mark.singlestore
def test_singlestore_needs_none(singlestore_url):
    FrameStore(singlestore_url).compact()


def test_a_file_that_another_process_holds_is_not_compacted(tmp_path):
    path = tmp_path / "store.duckdb"
    store = rewritten(path, 1)
    store.retry_seconds = 0.1
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="locked by another process"):
            store.compact()
        holder.communicate("\n")
    assert len(store.read_frames("v1")) == 200


def test_nothing_is_lost_while_processes_and_threads_write(tmp_path):
    path = tmp_path / "store.duckdb"
    store = FrameStore(path)
    store.write_video(make_video("v2"), **MODEL)
    others = make_frames("v2", np.random.default_rng(1).normal(size=(120, DIMENSION)))
    with (
        subprocess.Popen([sys.executable, "-c", WRITE_BATCHES, path]) as writer,
        ThreadPoolExecutor(2) as pool,
    ):
        written = pool.submit(lambda: [store.write_frames(others[n : n + 10]) for n in range(0, 120, 10)])
        compacted = 0
        while writer.poll() is None or not written.done():
            store.compact()
            compacted += 1
    written.result()
    assert writer.returncode == 0
    assert compacted > 1
    assert store.read_frames("v1")["frame_number"].tolist() == list(range(1, 201))
    assert store.read_frames("v2")["frame_number"].tolist() == list(range(1, 121))
