"""Embeddings in parts and in a fair sample: the same from both databases and from memory."""

import numpy as np
import pytest

from tests.conftest import make_frames, make_video
from videolib import FrameStore, StoreError, normalize
from videolib.search import spread_evenly

pytestmark = pytest.mark.slow

D = 16
MODEL = {"model": "tiny", "dimension": D, "every_seconds": 1.0}
ROWS = normalize(np.random.default_rng(0).normal(size=(300, D)))


@pytest.fixture(params=["duckdb", pytest.param("singlestore", marks=pytest.mark.singlestore)])
def store(request, tmp_path) -> FrameStore:
    """Videos of 200, 70 and 30 frames, one of none, and one whose frames 3 to 20 are missing."""
    if request.param == "duckdb":
        store = FrameStore(tmp_path / "store.duckdb")
    else:
        store = FrameStore(request.getfixturevalue("singlestore_url"))
    for video_id in ("v1", "V2", "v3", "v4", "v5"):
        store.write_video(make_video(video_id), **MODEL)
    store.write_frames(make_frames("v3", ROWS[270:]))
    store.write_frames(make_frames("v1", ROWS[:200]))
    store.write_frames(make_frames("V2", ROWS[200:270]))
    store.write_frames(make_frames("v5", ROWS[:50]).drop(index=range(2, 20)))
    return store


ALL = np.concatenate([ROWS[200:270], ROWS[:200], ROWS[270:], ROWS[:2], ROWS[20:50]])  # by video_id


@pytest.mark.parametrize("n", [1, 2, 7, 100, 331, 332, 5000])
def test_a_sample_is_every_so_many_th_frame(store, n):
    sample = store.sample_embeddings(n)
    assert sample.dtype == np.float32
    np.testing.assert_allclose(sample, ALL[spread_evenly(len(ALL), n)], atol=1e-7)
    np.testing.assert_array_equal(store.sample_embeddings(n), sample)
    np.testing.assert_array_equal(store.load_index().sample_embeddings(n), sample)


@pytest.mark.parametrize(("video_id", "expected"), [("v1", ROWS[:200]), ("v5", ALL[-32:])])
def test_a_sample_of_one_video(store, video_id, expected):
    sample = store.sample_embeddings(20, video_id=video_id)
    np.testing.assert_array_equal(sample, expected[spread_evenly(len(expected), 20)])
    np.testing.assert_array_equal(store.load_index().sample_embeddings(20, video_id=video_id), sample)
    np.testing.assert_array_equal(store.load_index(video_id).sample_embeddings(20), sample)


def test_a_sample_is_fair():
    """Each video has its share, and no stretch of the whole is left out."""
    for count, n in ((1000, 10), (1001, 10), (37, 36), (10**12, 1000)):
        places = spread_evenly(count, n)
        assert len(places) == n
        steps = np.diff(np.r_[-1, places, count])
        assert places[0] >= 0
        assert places[-1] < count
        assert steps[1:-1].max() - steps[1:-1].min() <= 1
        assert abs(steps[0] - steps[-1]) <= 2


def test_many_videos_take_as_many_statements_as_they_need(store, monkeypatch):
    monkeypatch.setattr("videolib.store.embeddings.VIDEOS_PER_STATEMENT", 2)
    np.testing.assert_array_equal(store.sample_embeddings(100), ALL[spread_evenly(len(ALL), 100)])


def test_embeddings_come_in_parts(store, monkeypatch):
    monkeypatch.setattr("videolib.store.embeddings.INDEX_BATCH_SIZE", 64)
    parts = list(store.read_embeddings("v1"))
    assert [len(part) for part in parts] == [64, 64, 64, 8]
    np.testing.assert_array_equal(np.concatenate(parts), ROWS[:200])
    assert list(store.read_embeddings("v4")) == []
    index = store.load_index()
    for video_id in ("v1", "V2", "v3", "v5"):
        expected = np.concatenate(list(store.read_embeddings(video_id)))
        np.testing.assert_array_equal(np.concatenate(list(index.read_embeddings(video_id))), expected)
    videos = store.list_videos().sort_values("video_id", ignore_index=True)
    columns = ["video_id", "frame_count", "last_frame_number"]
    listed = videos.loc[videos["frame_count"] > 0, columns].to_numpy().tolist()
    assert index.list_videos()[columns].to_numpy().tolist() == listed


def test_without_frames_a_sample_is_empty(store):
    assert store.sample_embeddings(video_id="v4").shape == (0, D)
    assert FrameStore(":memory:").sample_embeddings().shape == (0, 0)


def test_a_deleted_video_is_in_no_sample(store):
    store.delete_video("v1")
    np.testing.assert_allclose(store.sample_embeddings(), ALL[np.r_[:70, 270:332]], atol=1e-7)
    with pytest.raises(StoreError, match="got 'v1'"):
        store.sample_embeddings(video_id="v1")
    with pytest.raises(StoreError, match="got 'v1'"):
        next(store.read_embeddings("v1"))


@pytest.mark.parametrize("n", [0, -1, 2.5, None, "9"])
def test_n_is_a_whole_number_above_0(store, n):
    with pytest.raises(ValueError, match="n must be a whole number above 0"):
        store.sample_embeddings(n)


def test_an_index_names_what_is_not_in_it(store):
    index = store.load_index("v1")
    for call in (
        lambda: next(index.read_embeddings("v0")),
        lambda: index.sample_embeddings(video_id="zz"),
    ):
        with pytest.raises(StoreError, match="must be of a video in the index"):
            call()


@pytest.mark.parametrize(
    ("start", "end"), [(10, 25), (None, 25), (20, None), (2, 20), (500, None), (None, None)]
)
def test_a_part_of_a_video(store, monkeypatch, start, end):
    monkeypatch.setattr("videolib.store.embeddings.INDEX_BATCH_SIZE", 7)
    monkeypatch.setattr("videolib.search.memory.CHUNK_SIZE", 7)
    low, high = (0 if start is None else start), (50 if end is None else end)
    numbers = [n for n in (*range(2), *range(20, 50)) if low <= n < high]
    for searched in (store, store.load_index()):
        parts = list(searched.read_embeddings("v5", start_seconds=start, end_seconds=end))
        assert all(len(part) <= 7 for part in parts)
        np.testing.assert_allclose(np.concatenate([ROWS[:0], *parts]), ROWS[numbers], atol=1e-7)
