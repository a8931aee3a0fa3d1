import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, event

from tests.conftest import make_frames, make_video
from videolib import FrameIndex, FrameStore, StoreError, normalize

pytestmark = pytest.mark.filterwarnings("ignore:what is not complete")
DIMENSION = 32
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}
QUERY = normalize(np.random.default_rng(5).normal(size=DIMENSION))


@pytest.fixture(params=["duckdb", pytest.param("singlestore", marks=pytest.mark.singlestore)])
def store(request, tmp_path) -> FrameStore:
    """Three videos: v1 of random frames, v2 of seven pictures again and again, v3 without frames."""
    if request.param == "duckdb":
        store = FrameStore(tmp_path / "store.duckdb")
    else:
        store = FrameStore(request.getfixturevalue("singlestore_url"))
    rows = np.random.default_rng(0).normal(size=(300, DIMENSION))
    for video_id in ("v2", "v1", "v3"):
        store.write_video(make_video(video_id), **MODEL)
    store.write_frames(make_frames("v2", rows[np.arange(300) % 7]))
    store.write_frames(make_frames("v1", rows))
    return store


@pytest.mark.parametrize("k", [0, 1, 5, 100, 1000])
def test_it_finds_what_the_store_finds(store, k):
    found, expected = store.load_index().search(QUERY, k), store.search(QUERY, k)
    pd.testing.assert_frame_equal(
        found.drop(columns="similarity"), expected.drop(columns="similarity"), check_dtype=k > 0
    )
    np.testing.assert_allclose(found["similarity"], expected["similarity"], atol=1e-6)


def test_it_finds_one_videos_frames(store):
    index = store.load_index("v2")
    assert len(index) == 300
    found, expected = index.search(QUERY), store.search(QUERY, video_id="v2")
    assert found["frame_number"].tolist() == expected["frame_number"].tolist()
    assert repr(index) == "FrameIndex(300 frames, dimension 32, 0 MB)"


def test_loading_takes_as_many_batches_as_it_needs(store, monkeypatch):
    monkeypatch.setattr("videolib.store.reading.INDEX_BATCH_SIZE", 70)
    assert store.load_index().search(QUERY, 600)["frame_data"].nunique() == 600


def test_small_videos_are_read_some_at_a_time(store, monkeypatch):
    monkeypatch.setattr("videolib.store.reading.INDEX_BATCH_SIZE", 70)
    names = [f"{'Vv'[number % 2]}{number:03}" for number in range(60)]
    rows = np.random.default_rng(1).normal(size=(180, DIMENSION))
    for number, video_id in enumerate(names):
        store.write_video(make_video(video_id), **MODEL)
        store.write_frames(make_frames(video_id, rows[3 * number : 3 * number + 3]))
    statements = []
    listen = (Engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    event.listen(*listen)
    try:
        index = store.load_index([*names, "v1"])
    finally:
        event.remove(*listen)
    of_frames = [text for text in statements if "embedding_data" in text]
    assert len(of_frames) == 3 + 5  # 23 videos of three frames at a time; and 300 frames, 70 at a time
    pd.testing.assert_frame_equal(
        index.search(QUERY, 480).drop(columns="similarity"),
        store.search(QUERY, 480, video_id=[*names, "v1"]).drop(columns="similarity"),
    )
    (stored,) = index.read_embeddings("V042")
    np.testing.assert_allclose(stored, normalize(rows[126:129]), atol=1e-6)


def test_float16_is_near(store):
    exact, near = store.load_index(), store.load_index(dtype="float16")
    found, expected = near.search(QUERY, 20), exact.search(QUERY, 20)
    np.testing.assert_allclose(found["similarity"], expected["similarity"], atol=1e-3)


@pytest.mark.parametrize("video_id", ["v3", "v9"])
def test_nothing_to_load_is_an_error(store, video_id):
    with pytest.raises(StoreError, match=f"must hold frames of video_id '{video_id}', and has none"):
        store.load_index(video_id)


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        (np.ones(3), 5, "to fit the query"),
        (np.full(DIMENSION, np.nan), 5, "finite"),
        (QUERY, -1, "k must be"),
    ],
)
def test_a_wrong_query_is_refused(store, query, k, message):
    with pytest.raises(ValueError, match=message):
        store.load_index().search(query, k)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_equal_rows_are_in_order_whatever_the_matrix_product_makes_of_them(dtype, monkeypatch):
    monkeypatch.setattr("videolib.search.memory.CHUNK_SIZE", 1000)
    count = 10_321
    embeddings = np.tile(normalize(np.random.default_rng(1).normal(size=512)), (count, 1)).astype(dtype)
    frames = pd.DataFrame({"video_id": "v", "frame_number": np.arange(count), "timestamp_seconds": 0.0})
    index = FrameIndex(
        frames, embeddings, lambda keys: keys[["video_id", "frame_number"]].assign(frame_data=b"")
    )
    found = index.search(np.random.default_rng(2).normal(size=512), 50)
    assert found["frame_number"].tolist() == list(range(50))
    assert found["similarity"].nunique() == 1


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_mean_of_a_videos_frames_is_found_by_the_frame_nearest_to_it(store, dtype):
    index = store.load_index(dtype=dtype)
    means = index.mean_of_videos()
    assert len(means) == 2
    found = means.search(QUERY).set_index("video_id")
    for video_id in ("v1", "v2"):
        rows = store.read_frames(video_id)
        frames = np.stack(list(rows["embedding_data"])).astype(float)
        mean = frames.mean(axis=0)
        mean /= np.linalg.norm(mean)
        assert found["similarity"][video_id] == pytest.approx(mean @ QUERY, abs=1e-3)
        nearest = rows.iloc[(frames @ mean).argmax()]
        assert found["frame_number"][video_id] == nearest["frame_number"]
        assert found["frame_data"][video_id] == nearest["frame_data"]
        assert found["title"][video_id] == f"title of {video_id}"
    pd.testing.assert_series_equal(means.list_videos()["content_id"], index.list_videos()["content_id"])
