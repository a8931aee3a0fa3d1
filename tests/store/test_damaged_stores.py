"""What is wrong with a store is told in a sentence, by every method."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
from sqlalchemy.exc import IntegrityError

from tests.conftest import make_frames, make_video
from tests.store.damaged_stores import (
    METHODS,
    MODEL,
    QUERY,
    STATEMENTS,
    make_store,
    raw_errors,
    try_apart,
    variants,
)
from videolib import FrameStore, StoreError, copy_videos

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_damaged_stores_are_told_of_by_every_method(tmp_path):
    """Some of them; `python -m tests.store.damaged_stores` tries all."""
    some = list(itertools.islice(variants(tmp_path), 0, None, 6))
    assert len(some) > 15
    outcomes = {name: try_apart(path) for name, path in some}
    assert {name: raw for name, outcome in outcomes.items() if (raw := raw_errors(outcome))} == {}
    assert any(any(outcome.values()) for outcome in outcomes.values())


def test_a_sound_store_is_not_complained_of(tmp_path):
    make_store(tmp_path / "store.duckdb")
    assert try_apart(tmp_path / "store.duckdb") == dict.fromkeys(METHODS, "")


def change(path: Path, name: str) -> FrameStore:
    make_store(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute(STATEMENTS[name])
    return FrameStore(path, retry_seconds=0)


@pytest.mark.parametrize("method", METHODS)
def test_another_program_s_tables_are_named_as_such(tmp_path, method):
    store = change(tmp_path / "store.duckdb", "another program's videos")
    if method == "compact":  # whatever is in it
        METHODS[method](store)
        return
    with pytest.raises(
        StoreError, match=r"store.duckdb'\) cannot do this: .*another program's.*use another file$"
    ):
        METHODS[method](store)


def test_a_corrupt_block_is_named_as_such(tmp_path):
    path = tmp_path / "store.duckdb"
    make_store(path)
    data = bytearray(path.read_bytes())
    place = data.find(bytes([7]) * 9000)
    data[place : place + 10] = b"some damage"[:10]
    path.write_bytes(bytes(data))
    with pytest.raises(
        StoreError, match=r"cannot do this: .*Corrupt database file.*restore it from a copy"
    ) as caught:
        FrameStore(path).read_frames("v1")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_named_as_such():
    with pytest.raises(
        StoreError, match=r"cannot be opened: .*No space left on device; make room on the disk"
    ):
        FrameStore("/dev/full").list_videos()


@pytest.mark.parametrize("k", [2**31, 2**63 - 1, 2**63, 10**40])
def test_any_k_is_taken(tmp_path, k):
    make_store(tmp_path / "store.duckdb")
    store = FrameStore(tmp_path / "store.duckdb")
    assert len(store.search(QUERY, k)) == len(store.search(QUERY, k, exact=False)) == 40
    assert len(store.load_index().search(QUERY, k)) == 40


@pytest.mark.singlestore
@pytest.mark.parametrize("exact", [True, False])
def test_any_k_is_taken_by_singlestore(singlestore_url, exact):
    store = FrameStore(singlestore_url)
    store.write_video(make_video(), **MODEL)
    store.write_frames(make_frames("v1", np.eye(8)))
    assert len(store.search(QUERY, 2**63, exact=exact)) == 8


def test_a_row_that_the_tables_cannot_hold_is_a_store_error_and_sqlalchemy_s(store):
    store.write_video(make_video(), **MODEL)
    frames = make_frames("v1", np.eye(8)).assign(frame_data=None)
    for kind in (StoreError, IntegrityError):
        with pytest.raises(kind, match=r"store.duckdb'\) cannot do this: .*NOT NULL"):
            store.write_frames(frames)


ODD = os.fsdecode(b"caf\xe9")  # of a file system that writes Latin-1


def test_a_store_whose_name_is_not_utf8_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(StoreError, match=r"name in UTF-8, got .*caf\\udce9.duckdb: rename it"):
        FrameStore(tmp_path / f"{ODD}.duckdb")


@pytest.mark.singlestore
def test_a_video_whose_name_is_not_utf8_is_stored(request, tmp_path):
    for url in (tmp_path / "store.duckdb", request.getfixturevalue("singlestore_url")):
        store = FrameStore(url)
        for _ in range(2):
            store.write_video(
                make_video("v1", title=ODD, source=f"{ODD}.mp4"), **MODEL | {"model": f"{ODD}-1"}
            )
        store.write_frames(make_frames("v1", np.eye(8)))
        assert store.list_videos()[["title", "source"]].values.tolist() == [["caf\ufffd", "caf\ufffd.mp4"]]
        copy = FrameStore("duckdb:///:memory:")
        copy_videos(store, copy, progress=False)
        assert len(copy.read_frames("v1")) == 8
        with pytest.raises(StoreError):
            store.read_frames(ODD)
        assert len(store.read_frames("v1")) == 8  # the database is still alive


def test_an_odd_name_leaves_no_native_stack_trace(tmp_path):
    script = """
        import sys
        from tests.conftest import make_video
        from videolib import FrameStore
        store = FrameStore(sys.argv[1])
        store.write_video(make_video("v1", title=chr(0xdce9)), model="tiny", dimension=8, every_seconds=1.0)
    """
    lines = "\n".join(line.strip() for line in script.splitlines())
    command = [sys.executable, "-c", lines, tmp_path / "store.duckdb"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
