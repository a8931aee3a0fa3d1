import os
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from sqlalchemy.exc import IntegrityError

from tests.conftest import make_frames, make_video
from videolib import FrameStore, StoreError, match_frames, normalize
from videolib.store import reading

pytestmark = pytest.mark.filterwarnings("ignore:what is not complete")
DIMENSION = 32
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}


@pytest.fixture(params=["duckdb", pytest.param("singlestore", marks=pytest.mark.singlestore)])
def store_url(request, tmp_path) -> str:
    """An empty database of either kind."""
    if request.param == "duckdb":
        return f"duckdb:///{tmp_path}/store.duckdb"
    return request.getfixturevalue("singlestore_url")


@pytest.fixture
def store(store_url) -> FrameStore:
    return FrameStore(store_url)


@pytest.fixture
def duckdb_store(tmp_path) -> FrameStore:
    return FrameStore(tmp_path / "store.duckdb")


def random_rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)


def fill(store: FrameStore, video_id: str, rows: np.ndarray) -> pd.DataFrame:
    frames = make_frames(video_id, rows)
    store.write_video(make_video(video_id), **MODEL)
    store.write_frames(frames)
    return frames


def test_frames_come_back_as_they_were_written(store):
    frames = fill(store, "v1", random_rows(20))
    back = store.read_frames("v1")
    assert back.drop(columns="embedding_data").equals(frames.drop(columns="embedding_data"))
    np.testing.assert_array_equal(np.stack(back["embedding_data"]), np.stack(frames["embedding_data"]))
    assert back["embedding_data"][0].dtype == np.float32


def test_a_store_is_still_there_when_opened_again(tmp_path):
    fill(FrameStore(tmp_path / "kept.duckdb"), "v1", random_rows(3))
    assert len(FrameStore(f"duckdb:///{tmp_path}/kept.duckdb").read_frames("v1")) == 3


def test_a_store_in_memory_keeps_its_rows():
    store = FrameStore("duckdb:///:memory:")
    fill(store, "v1", random_rows(3))
    assert len(store.search(np.ones(DIMENSION))) == 3


def test_writing_again_changes_nothing(store):
    frames = fill(store, "v1", random_rows(10))
    fill(store, "v1", random_rows(10))
    assert len(store.read_frames("v1")) == len(frames)


def test_writing_a_frame_again_replaces_it(store):
    fill(store, "v1", random_rows(3))
    frames = make_frames("v1", random_rows(3, seed=9)).iloc[1:2].assign(frame_data=b"new")
    store.write_frames(frames)
    back = store.read_frames("v1")
    assert back["frame_data"].tolist() == [b"v1 1", b"new", b"v1 3"]
    np.testing.assert_array_equal(back["embedding_data"][1], frames["embedding_data"].iloc[0])


def test_a_failed_write_leaves_nothing(store):
    store.write_video(make_video(), **MODEL)
    frames = make_frames("v1", random_rows(3))
    frames.loc[2, "frame_data"] = None
    with pytest.raises(IntegrityError, match=r"NOT NULL|cannot be null"):
        store.write_frames(frames)
    assert store.read_frames("v1").empty


@pytest.mark.parametrize("k", [0, 1, 5, 300, 1000])
@pytest.mark.parametrize("tied", [False, True])
def test_the_database_and_numpy_find_the_same(store, k, tied):
    rows = random_rows(300)
    if tied:
        rows = rows[np.arange(300) % 7]
    frames = pd.concat([fill(store, "v2", rows[:150]), fill(store, "v1", rows[150:])])
    frames = frames.sort_values(["video_id", "frame_number"])
    query = normalize(random_rows(1, seed=5)[0])
    found = store.search(query, k)
    expected = match_frames(query, frames, k)
    assert found.columns.tolist() == expected.columns.tolist()
    for name in ("rank", "video_id", "frame_number", "timestamp_seconds", "frame_data"):
        assert found[name].tolist() == expected[name].tolist(), name
    np.testing.assert_allclose(found["similarity"], expected["similarity"], atol=1e-6)
    numbers = ["rank", "frame_number", "timestamp_seconds", "similarity"]
    assert found[numbers].dtypes.equals(expected[numbers].dtypes)


def test_search_within_a_video_and_a_time_range(store):
    fill(store, "v1", random_rows(10))
    fill(store, "v2", random_rows(10))
    found = store.search(random_rows(1)[0], 50, video_id="v2", start_seconds=3, end_seconds=6)
    assert found["video_id"].unique().tolist() == ["v2"]
    assert sorted(found["timestamp_seconds"]) == [3, 4, 5]
    assert found["rank"].tolist() == [1, 2, 3]


def test_a_videos_curve_has_every_frame_in_order_of_time_and_no_picture(store):
    rows = random_rows(1200)
    frames = fill(store, "v1", rows)
    fill(store, "v2", random_rows(3))
    query = normalize(random_rows(1, seed=5)[0])
    curve = store.similarities(query, "v1")
    assert curve.columns.tolist() == ["video_id", "frame_number", "timestamp_seconds", "similarity"]
    assert curve["timestamp_seconds"].tolist() == frames["timestamp_seconds"].tolist()
    np.testing.assert_allclose(curve["similarity"], normalize(rows) @ query, atol=1e-6)


def test_a_curve_of_an_unknown_video_or_a_wrong_query_is_refused(store):
    fill(store, "v1", random_rows(3))
    with pytest.raises(StoreError, match="got 'v9': see list_videos"):
        store.similarities(np.ones(DIMENSION), "v9")
    with pytest.raises(ValueError, match="query must fit the store's model"):
        store.similarities(np.ones(3), "v1")


def test_a_query_need_not_have_unit_length(store):
    fill(store, "v1", np.eye(DIMENSION))
    assert store.search(np.full(DIMENSION, 0.5), 1)["similarity"].tolist() == [0.5]


def test_an_empty_store_finds_nothing(store):
    store.write_video(make_video("v1"), **MODEL)
    store.delete_video("v1")
    found = store.search(np.ones(DIMENSION))
    assert found.empty
    assert "similarity" in found
    assert store.list_videos().empty


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        (np.ones(DIMENSION + 1), 5, f"'tiny'.*dimension {DIMENSION}.*got dimension {DIMENSION + 1}"),
        (np.ones((1, DIMENSION)), 5, "one embedding"),
        (np.full(DIMENSION, np.nan), 5, "finite"),
        (np.ones(DIMENSION), -1, "k must be 0 or more, got -1"),
    ],
)
def test_search_refuses(store, query, k, message):
    fill(store, "v1", random_rows(2))
    with pytest.raises(ValueError, match=message):
        store.search(query, k)


def test_search_without_exactness_finds_the_same_in_the_same_order_where_nothing_is_missed(store):
    rows = random_rows(40)[np.arange(40) % 7]
    fill(store, "v2", rows[:20])
    fill(store, "v1", rows[20:])
    query = random_rows(1, seed=5)[0]
    pd.testing.assert_frame_equal(store.search(query, 50, exact=False), store.search(query, 50))


def test_batches_are_the_frames_in_order(store):
    frames = fill(store, "v1", random_rows(25))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("videolib.store.reading.BATCH_SIZE", 10)
        batches = list(store.read_batches("v1", after=3))
    assert [len(batch) for batch in batches] == [10, 10, 2]
    back = pd.concat(batches, ignore_index=True)
    pd.testing.assert_frame_equal(back, store.read_frames("v1").iloc[3:].reset_index(drop=True))
    assert back["frame_data"].tolist() == frames["frame_data"].tolist()[3:]


def test_room_is_estimated_from_what_is_stored(store):
    assert store.check_room(1000) == 12_000_000
    fill(store, "v1", random_rows(3))
    assert store.check_room(1000) == 1000 * (len(b"v1 1") + 4 * DIMENSION)


def test_another_model_is_refused(store):
    store.write_video(make_video("v1"), **MODEL)
    with pytest.raises(StoreError, match=r"model must be 'tiny' \(dimension 32\).*got 'big'.*another store"):
        store.write_video(make_video("v2"), **MODEL | {"model": "big"})


def write_at(store: FrameStore, count: int, video_id: str = "v1", **how) -> str:
    """Write a video at one sampling, complete, with this many frames."""
    written = store.write_video(make_video(video_id), **MODEL | how)
    store.write_frames(make_frames(written, random_rows(count)))
    store.mark_complete(written)
    return written


def test_samplings_of_a_video_are_stored_side_by_side_under_ids_that_tell_them(store):
    ids = [
        write_at(store, 3),
        write_at(store, 6, every_seconds=0.5),
        write_at(store, 2, sampling="keyframes"),
        write_at(store, 1, sampling="shots", every_seconds=1 / 3),
    ]
    assert ids == ["v1", "v1@0.5s", "v1@keyframes-1s", "v1@shots-0.3333333333333333s"]
    videos = store.list_videos().set_index("video_id")
    assert videos["frame_count"].to_dict() == dict(zip(ids, (3, 6, 2, 1), strict=True))
    assert videos["content_id"].unique().tolist() == ["v1"]
    assert [len(store.read_frames(each)) for each in ids] == [3, 6, 2, 1]


def test_a_sampling_that_is_there_is_the_same_row_again(store):
    for _ in range(2):
        assert (write_at(store, 3), write_at(store, 6, every_seconds=0.5)) == ("v1", "v1@0.5s")
    assert store.list_videos()["frame_count"].tolist() == [3, 6]
    assert store.write_video(make_video("v1@0.5s"), **MODEL | {"every_seconds": 0.5}) == "v1@0.5s"
    assert store.write_video(make_video("v1@0.5s"), **MODEL) == "v1"  # of the same content


def test_an_id_that_another_video_has_is_never_mixed_with_it(store):
    write_at(store, 3, "v1@0.5s")
    write_at(store, 3, "v1")
    with pytest.raises(StoreError, match=r"got 'v1@0.5s', which another video has: delete_video it first"):
        write_at(store, 6, "v1", every_seconds=0.5)


def latest(store: FrameStore) -> set[str]:
    videos = store.list_videos()
    return set(videos["video_id"][videos["latest"]])


def test_a_search_of_all_videos_takes_the_latest_of_each(store):
    first, other = write_at(store, 3), write_at(store, 6, "v2")
    finer = write_at(store, 6, every_seconds=0.5)
    query = random_rows(1)[0]

    def searched() -> list[set[str]]:
        return [
            set(each["video_id"]) for each in (store.search(query, 99), store.load_index().search(query, 99))
        ]

    assert searched() == [{other, finer}] * 2
    assert latest(store) == {other, finer}
    assert store.write_video(make_video("v1"), **MODEL) == first  # it is asked for again
    assert searched() == [{other, first}] * 2
    assert latest(store) == {other, first}
    assert set(store.search(query, 99, video_id=finer)["video_id"]) == {finer}
    assert len(store.load_index([first, finer])) == 9
    store.delete_video(first)
    assert searched() == [{other, finer}] * 2
    assert len(store.read_frames(finer)) == 6


def test_a_search_takes_several_videos(store):
    for video_id in ("v1", "v2", "v3"):
        write_at(store, 4, video_id)
    query = random_rows(1)[0]
    for ids in (["v1", "v3"], ("v3", "v1", "v3"), store.list_videos()["video_id"].iloc[[0, 2]]):
        found = store.search(query, 99, video_id=ids)
        assert sorted(found["video_id"]) == ["v1"] * 4 + ["v3"] * 4
        loaded = store.load_index(ids).search(query, 99)
        pd.testing.assert_frame_equal(loaded, found, rtol=1e-5)
    assert store.search(query, 99, video_id=["v2"]).equals(store.search(query, 99, video_id="v2"))


@pytest.mark.parametrize("is_filled", [True, False])
def test_an_unknown_video_among_several_is_named(store, is_filled):
    write_at(store, 2, "v1")
    if not is_filled:
        store.delete_video("v1")
    for ids in ("v9", ["v1", "v9"]):
        name = "v9" if is_filled or isinstance(ids, str) else "v1"
        with pytest.raises(
            StoreError, match=rf"video_id must be of a video in the store, got '{name}': see list"
        ):
            store.search(np.ones(DIMENSION), video_id=ids)
        with pytest.raises(StoreError, match=rf"frames of video_id '{name}', and has none: see list_videos"):
            store.load_index(ids)


@pytest.mark.parametrize("video_id", [[], (), 5, ["v1", 5], np.array([])])
def test_what_is_no_id_is_refused(store, video_id):
    write_at(store, 2, "v1")
    for search in (
        lambda: store.search(np.ones(DIMENSION), video_id=video_id),
        lambda: store.load_index(video_id),
    ):
        with pytest.raises(ValueError, match="video_id must be an id or a list of ids, got "):
            search()


def test_matches_carry_the_title_and_the_source_on_request(store):
    write_at(store, 3, "v1")
    write_at(store, 3, "v2")
    query = random_rows(1)[0]
    for matches in (store.search(query, 6), store.load_index().search(query, 6)):
        assert matches.columns[:3].tolist() == ["rank", "video_id", "title"]
        assert matches["title"].tolist() == [f"title of {each}" for each in matches["video_id"]]
        with_source = matches.merge(store.list_videos()[["video_id", "source"]])
        assert with_source["source"].tolist() == [f"{each}.mp4" for each in matches["video_id"]]
    frames = store.read_frames("v1")
    assert match_frames(query, frames, 2)["title"].tolist() == ["", ""]
    assert match_frames(query, frames.assign(title="mine"), 2)["title"].tolist() == ["mine", "mine"]


def test_a_search_tells_of_videos_that_are_not_complete(store):
    write_at(store, 3, "v0")
    for video_id in ("v1", "v2"):
        store.write_video(make_video(video_id), **MODEL)
    store.write_frames(make_frames("v1", random_rows(2)))
    query = random_rows(1)[0]
    one = re.escape("searched as it is: 'title of v1' (v1, 2 frames so far); run ingest again")
    two = r"'title of v1' \(v1, 2 frames so far\), 'title of v2' \(v2, 0 frames so far\); run"
    ways = [
        (one, lambda: store.search(query, video_id="v1")),
        (one, lambda: store.search(query, video_id=["v0", "v1"], exact=False)),
        (one, lambda: store.similarities(query, "v1")),
        (one, lambda: store.load_index("v1")),
        (two, lambda: store.search(query)),
        (two, lambda: store.load_index()),
    ]
    for message, search in ways:
        with pytest.warns(UserWarning, match=message) as caught:
            search()
        assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.search(query, video_id="v0")
        store.similarities(query, "v0")
        store.load_index("v0")
        for video_id in ("v1", "v2"):
            store.mark_complete(video_id)
        store.search(query)


def test_many_videos_that_are_not_complete_are_not_all_named(store):
    for number in range(6):
        store.write_video(make_video(f"v{number}"), **MODEL)
    with pytest.warns(UserWarning, match=r"\(v2, 0 frames so far\) and 3 more; run ingest again$"):
        store.search(random_rows(1)[0])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda frames: frames.drop(columns="frame_data"), ValueError, "missing: frame_data"),
        (lambda frames: frames.assign(video_id="v9"), StoreError, "got 'v9'"),
        (lambda frames: frames.assign(embedding_data=[np.ones(3)] * 2), ValueError, "fit the store's model"),
        (lambda frames: frames.assign(embedding_data=[np.ones(DIMENSION)] * 2), ValueError, "unit length"),
        (
            lambda frames: frames.assign(embedding_data=[np.full(DIMENSION, np.nan)] * 2),
            ValueError,
            "unit length",
        ),
    ],
)
def test_wrong_frames_are_refused(store, change, error, message):
    store.write_video(make_video("v1"), **MODEL)
    with pytest.raises(error, match=message):
        store.write_frames(change(make_frames("v1", random_rows(2))))
    assert store.read_frames("v1").empty


def test_videos_are_listed_with_their_frames(store):
    fill(store, "v2", random_rows(4))
    store.write_video(make_video("v1"), **MODEL)
    store.mark_complete("v2")
    videos = store.list_videos().set_index("video_id")
    assert videos["frame_count"].to_dict() == {"v1": 0, "v2": 4}
    assert videos["last_frame_number"].to_dict() == {"v1": 0, "v2": 4}
    assert videos["complete"].to_dict() == {"v1": False, "v2": True}


def test_a_moved_file_gets_its_new_source_at_all_samplings(store):
    write_at(store, 2)
    write_at(store, 2, every_seconds=0.5)
    store.write_video(make_video("v1", source="elsewhere.mp4", title="new"), **MODEL)
    assert store.list_videos()[["source", "title"]].values.tolist() == [["elsewhere.mp4", "new"]] * 2


def test_a_moved_file_gets_its_new_source(store):
    fill(store, "v1", random_rows(2))
    store.write_video(make_video("v1", source="elsewhere.mp4", title="new"), **MODEL)
    videos = store.list_videos()
    assert videos[["source", "title", "frame_count"]].values.tolist() == [["elsewhere.mp4", "new", 2]]


def test_a_table_of_another_origin_is_left_alone(store):
    with store.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE frames (frame_number INT NOT NULL)")
    with pytest.raises(StoreError, match="'frames' of another origin"):
        store.write_video(make_video("v1"), **MODEL)


def test_delete_takes_the_video_and_its_frames_only(store):
    fill(store, "v1", random_rows(4))
    fill(store, "v2", random_rows(4))
    store.delete_video("v1")
    assert store.list_videos()["video_id"].tolist() == ["v2"]
    assert len(store.search(np.ones(DIMENSION), 99)) == 4


def test_a_store_that_was_emptied_takes_another_model(store):
    fill(store, "v1", random_rows(4))
    store.delete_video("v1")
    other = normalize(np.ones((1, 8)))
    store.write_video(make_video("v1"), model="other", dimension=8, every_seconds=1.0)
    store.write_frames(make_frames("v1", other))
    assert len(store.search(other[0])) == 1


@pytest.mark.parametrize("method", ["read_frames", "delete_video", "mark_complete"])
def test_an_unknown_video_is_an_error(store, method):
    fill(store, "v1", random_rows(2))
    with pytest.raises(
        StoreError, match=r"video_id must be of a video in the store, got 'v9': see list_videos"
    ):
        getattr(store, method)("v9")


def test_duckdb_has_no_vector_index(duckdb_store):
    for call in (duckdb_store.create_vector_index, duckdb_store.drop_vector_index):
        with pytest.raises(StoreError, match="no vector index, which SingleStore alone keeps"):
            call()


@pytest.mark.parametrize("url", ["sqlite:///x.db", "nonsense://x", "://"])
def test_an_unknown_database_is_refused(url):
    with pytest.raises(ValueError, match="url must be"):
        FrameStore(url)


def test_a_password_is_never_shown(tmp_path):
    with pytest.raises(ValueError, match="got 'postgresql") as caught:
        FrameStore("postgresql://user:secret-word@host/db")
    assert "secret-word" not in str(caught.value)


def test_a_file_that_is_no_database_is_an_error(tmp_path):
    path = tmp_path / "notes.duckdb"
    path.write_text("this is not a database" * 1000)
    with pytest.raises(StoreError, match=r"notes.duckdb.*cannot be opened"):
        FrameStore(path).list_videos()


HOLD_LOCK = (
    "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.readline()"
)


def test_a_lock_is_waited_for_and_then_named(tmp_path):
    path = tmp_path / "store.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=r"locked by another process for 0.2 s: close it there"):
            FrameStore(path, retry_seconds=0.2).list_videos()
        holder.communicate("\n")
    assert FrameStore(path).list_videos().empty


WRITE_BATCHES = textwrap.dedent("""
    import sys
    import time
    import numpy as np
    from tests.conftest import make_frames, make_video
    from videolib import FrameStore
    store = FrameStore(sys.argv[1])
    store.write_video(make_video("v1"), model="tiny", dimension=32, every_seconds=1.0)
    frames = make_frames("v1", np.random.default_rng(0).normal(size=(200, 32)))
    for first in range(0, 200, 10):
        store.write_frames(frames.iloc[first : first + 10])
        time.sleep(0.05)  # the others have their turn on a busy machine, too
    """)


def test_one_process_writes_while_another_searches(store, store_url):
    counts = []
    store.write_video(make_video("v1"), **MODEL)
    with subprocess.Popen([sys.executable, "-c", WRITE_BATCHES, store_url]) as writer:
        while writer.poll() is None:
            counts.append(len(store.search(np.ones(DIMENSION), 1000)))
    assert writer.returncode == 0
    assert counts == sorted(counts)
    assert all(count % 10 == 0 for count in counts)  # whole batches only
    assert len(set(counts)) > 2  # it did search in between
    assert len(store.read_frames("v1")) == 200


def test_two_processes_write_the_same_video_at_once(store, store_url):
    command = [sys.executable, "-c", WRITE_BATCHES, store_url]
    with subprocess.Popen(command) as one, subprocess.Popen(command) as other:
        pass
    assert (one.returncode, other.returncode) == (0, 0)
    back = store.read_frames("v1")
    assert back["frame_number"].tolist() == list(range(1, 201))
    assert back["frame_data"].tolist() == make_frames("v1", np.ones((200, 2)))["frame_data"].tolist()


def test_nothing_keeps_the_file_open(duckdb_store, tmp_path):
    fill(duckdb_store, "v1", random_rows(2))
    script = "import duckdb, sys; print(len(duckdb.connect(sys.argv[1]).sql('FROM frames').fetchall()))"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "store.duckdb"], capture_output=True, text=True
    )
    assert done.stdout == "2\n", done.stderr


def test_batches_go_to_the_log_and_a_complete_video_is_in_the_one_file(duckdb_store, tmp_path):
    fill(duckdb_store, "v1", random_rows(20))
    assert (tmp_path / "store.duckdb.wal").exists()  # else each batch would write the whole table anew
    duckdb_store.mark_complete("v1")
    assert not (tmp_path / "store.duckdb.wal").exists()
    assert (
        len(FrameStore((tmp_path / "store.duckdb").rename(tmp_path / "moved.duckdb")).read_frames("v1")) == 20
    )


def bytes_read() -> int:
    """Of this process, from files."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not os.access("/proc/self/io", os.R_OK), reason="no count of the bytes read")
def test_only_the_pictures_that_are_asked_for_are_read(duckdb_store, monkeypatch):
    rows = random_rows(2000)
    duckdb_store.write_video(make_video("v1"), **MODEL)
    pictures = [bytes([n % 256]) * 20_000 for n in range(2000)]
    duckdb_store.write_frames(make_frames("v1", rows).assign(frame_data=pictures))
    duckdb_store.mark_complete("v1")
    index = duckdb_store.load_index()
    monkeypatch.setattr(reading, "BATCH_SIZE", 10)
    query = normalize(rows[700])
    ways = {
        "search": lambda: duckdb_store.search(query),
        "index": lambda: index.search(query),
        "batches": lambda: next(duckdb_store.read_batches("v1")),
    }
    for name, read in ways.items():
        before = bytes_read()
        assert len(read()) in (5, 10)
        assert bytes_read() - before < 10e6, name  # of 40 MB


def test_the_tables_are_plain_sql(duckdb_store, tmp_path):
    fill(duckdb_store, "v1", random_rows(2))
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        types = dict(
            connection.sql(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'frames'"
            ).fetchall()
        )
    assert types == {
        "video_id": "VARCHAR",
        "frame_number": "INTEGER",
        "timestamp_seconds": "DOUBLE",
        "embedding_data": "FLOAT[32]",
        "frame_data": "BLOB",
    }
