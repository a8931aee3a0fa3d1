"""Moments and sequences from DuckDB, from SingleStore and from memory: the same, whatever is stored."""

import itertools

import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_frames, make_video
from videolib import FrameStore, StoreError, find_moments, find_sequences, moments_of, normalize

pytestmark = pytest.mark.slow

DIMENSION = 24
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}
RANDOM = np.random.default_rng(7)
AXES = np.eye(DIMENSION)
FIRST, SECOND, THIRD = AXES[0], AXES[1], AXES[2]


@pytest.fixture(params=["duckdb", pytest.param("singlestore", marks=pytest.mark.singlestore)])
def store(request, tmp_path) -> FrameStore:
    if request.param == "duckdb":
        return FrameStore(tmp_path / "store.duckdb")
    return FrameStore(request.getfixturevalue("singlestore_url"))


def shots(*places: int, seconds: int = 5, seed: int = 0) -> np.ndarray:
    """Frames of shots that show the things of these axes, each with some of what else is there."""
    rows = np.repeat(AXES[list(places)], seconds, axis=0)
    return rows + 0.1 * np.random.default_rng(seed).normal(size=rows.shape)


def fill(store: FrameStore, video_id: str, rows: np.ndarray, **fields) -> pd.DataFrame:
    frames = make_frames(video_id, rows)
    store.write_video(make_video(video_id, duration_seconds=float(len(rows)), **fields), **MODEL)
    store.write_frames(frames)
    store.mark_complete(video_id)
    return frames


def check_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    numbers = [name for name in ("similarity", "least_z") if name in found]
    pd.testing.assert_frame_equal(found.drop(columns=numbers), expected.drop(columns=numbers))
    for name in numbers:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


@pytest.fixture
def filled(store) -> FrameStore:
    """Nine videos of ten shots; in each the things are others, and two shots show the same."""
    for number in range(9):
        places = np.random.default_rng(number).choice(DIMENSION, 9, replace=False)
        fill(store, f"v{number}", shots(*places, places[2], seed=number))
    return store


@pytest.mark.parametrize("k", [0, 1, 3, 40])
@pytest.mark.parametrize("scope", [{}, {"video_id": "v3"}, {"video_id": ["v1", "v5", "v3"]}])
@pytest.mark.parametrize("window", [{}, {"start_seconds": 12.0, "end_seconds": 31.5}])
def test_a_store_and_an_index_find_the_same_moments(filled, k, scope, window):
    query = normalize(AXES[4] + 0.2 * RANDOM.normal(size=DIMENSION))
    found = find_moments(filled, query, k, **scope, **window)
    check_same(find_moments(filled.load_index(), query, k, **scope, **window), found)
    assert min(k, 1) <= len(found) <= k


def test_moments_are_those_of_the_curves_in_memory(filled):
    query = normalize(AXES[4] + AXES[5])
    found = find_moments(filled, query, 1000, same_at=2.0)
    curves = [filled.similarities(query, f"v{number}") for number in range(9)]
    videos = filled.list_videos()[["video_id", "title", "duration_seconds"]]
    check_same(
        found.drop(columns="frame_data"),
        moments_of(pd.concat(curves).merge(videos)).drop(columns="frame_data"),
    )
    assert found["frame_data"].tolist() == [
        f"{name} {number}".encode()
        for name, number in zip(found["video_id"], found["frame_number"], strict=True)
    ]
    for k in (1, 4, 9):
        check_same(find_moments(filled, query, k, same_at=2.0), found.head(k))


def test_an_index_has_the_curve_of_a_video(filled):
    query = AXES[3]
    check_same(filled.load_index().similarities(query, "v2"), filled.similarities(query, "v2"))
    with pytest.raises(StoreError, match="must be of a video in the index, got 'v77'"):
        filled.load_index().similarities(query, "v77")


def test_a_query_equal_to_a_frame_finds_its_shot(store):
    frames = fill(store, "v1", shots(0, 1, 2, 3))
    found = find_moments(store, frames["embedding_data"][12], 1).iloc[0]
    assert (found["frame_number"], found["start_seconds"], found["end_seconds"]) == (13, 9.5, 14.5)
    assert found["similarity"] == pytest.approx(1.0)
    assert found["title"] == "title of v1"


def test_the_same_picture_takes_one_place_however_many_videos_open_with_it(store):
    opening = shots(0)
    for number in range(12):
        fill(
            store,
            f"v{number:02}",
            np.concatenate([opening, shots(*range(number + 1, number + 6), seed=number)]),
        )
    fill(store, "v99", 0.7 * shots(0, seed=3) + 0.7 * shots(15, seed=4))
    for searched in (store, store.load_index()):
        found = find_moments(searched, FIRST, 2)
        assert found["video_id"].tolist() == ["v00", "v99"]
        assert len(find_moments(searched, FIRST, 12, same_at=2.0)["video_id"].unique()) == 12


def test_frames_that_are_all_equal_are_one_moment(store):
    fill(store, "v1", np.tile(AXES[0] + AXES[1], (30, 1)))
    for searched in (store, store.load_index()):
        (row,) = find_moments(searched, FIRST).to_dict("records")
        assert (row["start_seconds"], row["peak_seconds"], row["end_seconds"]) == (0.0, 0.0, 30.0)
        assert find_sequences(searched, [FIRST, SECOND]).empty


@pytest.mark.parametrize("count", [1, 2])
def test_one_frame_and_two(store, count):
    fill(store, "v1", AXES[:count])
    for searched in (store, store.load_index()):
        (row,) = find_moments(searched, FIRST).to_dict("records")
        assert (row["start_seconds"], row["end_seconds"]) == (0.0, 1.0 / count if count > 1 else 1.0)
        found = find_sequences(searched, [FIRST, SECOND])
        assert found["frame_number"].tolist() == ([1, 2] if count == 2 else [])


def test_an_empty_store_has_none(store):
    store.write_video(make_video("v1"), **MODEL)  # without a frame yet
    assert find_moments(store, FIRST).empty
    assert find_sequences(store, [FIRST, SECOND]).empty


def test_where_nothing_was_ever_stored_there_are_none():
    store = FrameStore(":memory:")
    assert find_moments(store, FIRST).empty
    assert find_sequences(store, [FIRST, SECOND]).empty


def test_a_deleted_video_is_not_found_and_its_picture_is_missing_from_an_index(store):
    fill(store, "v1", shots(0, 1, 2))
    fill(store, "v2", 0.5 * shots(0, 1, 2) + AXES[9])
    index = store.load_index()
    store.delete_video("v1")
    assert set(find_moments(store, FIRST, 9)["video_id"]) == {"v2"}
    assert set(find_sequences(store, [FIRST, SECOND])["video_id"]) == {"v2"}
    found = find_moments(index, FIRST, 2)
    assert found["video_id"].tolist() == ["v1", "v2"]
    assert found["frame_data"].isna().tolist() == [True, False]
    sequences = find_sequences(index, [FIRST, SECOND], k=1)
    assert sequences["frame_data"].isna().all()


def test_titles_are_known_in_memory(filled):
    found = find_moments(filled.load_index(), AXES[4], 2)
    assert found["title"].tolist() == [f"title of {name}" for name in found["video_id"]]


@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize("scope", [{}, {"video_id": "v3"}, {"video_id": ["v1", "v5"]}])
@pytest.mark.parametrize("within_seconds", [1.0, 7.5, 100.0])
def test_a_store_and_an_index_find_the_same_sequences(filled, steps, scope, within_seconds):
    queries = normalize(AXES[4 : 4 + steps] + 0.3 * RANDOM.normal(size=(steps, DIMENSION)))
    found = find_sequences(filled, queries, within_seconds, 8, **scope)
    check_same(find_sequences(filled.load_index(), queries, within_seconds, 8, **scope), found)
    assert len(found) % steps == 0
    times = found["timestamp_seconds"].to_numpy().reshape(-1, steps)
    assert (np.diff(times) > 0).all()
    assert (np.diff(times) <= within_seconds).all()


def best_by_trying_all(curves: pd.DataFrame, steps: int, within_seconds: float) -> float:
    """The highest least z of all frames that could follow each other."""
    best = -np.inf
    for _, curve in curves.groupby("video_id"):
        z = curve[[f"z_{step}" for step in range(steps)]].to_numpy()
        seconds = curve["timestamp_seconds"].to_numpy()
        for places in itertools.combinations(range(len(curve)), steps):
            if (np.diff(seconds[list(places)]) <= within_seconds).all():
                best = max(best, min(z[place, step] for step, place in enumerate(places)))
    return best


@pytest.mark.parametrize("steps", [2, 3])
def test_the_first_sequence_is_the_best_of_all(store, steps):
    for number in range(3):
        fill(store, f"v{number}", np.random.default_rng(number).normal(size=(14, DIMENSION)))
    curves = []
    for step in range(steps):
        curve = pd.concat([store.similarities(AXES[step], f"v{number}") for number in range(3)])
        value = curve.pop("similarity")
        curves.append(curve.assign(**{f"z_{step}": (value - value.mean()) / value.std(ddof=0)}))
    table = curves[0]
    for curve in curves[1:]:
        table = table.merge(curve)
    found = find_sequences(store, AXES[:steps], 4.0, 1)
    assert found["least_z"].tolist() == pytest.approx(
        [best_by_trying_all(table, steps, 4.0)] * steps, abs=1e-5
    )


def test_first_this_then_that_and_not_the_other_way_round(store):
    fill(store, "v1", shots(9, 1, 0, 8, 0, 7, 1, 5))  # the second before the first, and ten seconds after it
    fill(store, "v2", shots(9, 0, 1, 8, 6, 5, 4, 2))
    found = find_sequences(store, [FIRST, SECOND], within_seconds=5)
    good = found[found["least_z"] > 1]
    assert good["rank"].tolist() == [1, 1]
    assert good["step"].tolist() == [1, 2]
    assert good["video_id"].tolist() == ["v2", "v2"]
    first, second = good["timestamp_seconds"]
    assert 5 <= first < 10 <= second < 15
    later = find_sequences(store, [FIRST, SECOND], within_seconds=10)
    assert set(later.loc[later["least_z"] > 1, "video_id"]) == {"v1", "v2"}


def test_no_frame_is_used_twice(store):
    fill(store, "v1", shots(0, 1, 0, 1, 5, 0, 1, 2, 3))
    found = find_sequences(store, [FIRST, SECOND], within_seconds=6, k=50)
    assert not found.duplicated(["video_id", "frame_number"]).any()
    good = found[found["least_z"] > 1]
    times = good["timestamp_seconds"].to_numpy().reshape(-1, 2)
    starts, ends = times[np.argsort(times[:, 0])].T
    assert (ends[:-1] < starts[1:]).all()
    assert [(int(start // 5), int(end // 5)) for start, end in zip(starts, ends, strict=True)] == [
        (0, 1), (2, 3), (5, 6),
    ]  # fmt: skip


def test_a_frame_that_shows_both_is_not_followed_by_itself(store):
    rows = shots(5, 6, 7)
    rows[4] = AXES[0] + AXES[1]
    fill(store, "v1", rows)
    found = find_sequences(store, [FIRST, SECOND], k=50)
    assert not found.duplicated(["video_id", "frame_number"]).any()


def test_gaps_in_the_samples_do_not_bring_frames_together(store):
    frames = make_frames("v1", shots(0, 5, 1, 6))
    store.write_video(make_video("v1", duration_seconds=20.0), **MODEL)
    store.write_frames(frames[~frames["frame_number"].between(6, 10)])
    assert find_sequences(store, [FIRST, SECOND], within_seconds=5).empty
    assert len(find_sequences(store, [FIRST, SECOND], within_seconds=6)) == 2
    moments = find_moments(store, FIRST, 1)
    assert moments[["start_seconds", "end_seconds"]].to_numpy().tolist() == [[0.0, 4.5]]


def test_uneven_times_count_as_they_are(store):
    frames = make_frames("v1", shots(0, 1, 5, seconds=1)).assign(timestamp_seconds=[2.0, 14.0, 19.0])
    store.write_video(make_video("v1", duration_seconds=30.0), **MODEL | {"sampling": "shots"})
    store.write_frames(frames)
    assert find_sequences(store, [FIRST, SECOND], within_seconds=10).empty
    assert find_sequences(store, [FIRST, SECOND], within_seconds=12)["frame_number"].tolist() == [1, 2]
    assert find_moments(store, SECOND, 1)[["start_seconds", "end_seconds"]].to_numpy().tolist() == [
        [8.0, 16.5]
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([FIRST],), "queries must be two or more embeddings"),
        ((FIRST,), "queries must be two or more embeddings"),
        (([FIRST, SECOND], 0), "within_seconds must be above 0, got 0"),
        (([FIRST, SECOND], float("nan")), "within_seconds must be above 0"),
        (([FIRST, SECOND], 10, -1), "k must be 0 or more"),
        (([FIRST[:5], SECOND[:5]],), r"to fit|must fit"),
    ],
)
def test_wrong_arguments_are_refused(filled, arguments, message):
    for searched in (filled, filled.load_index()):
        with pytest.raises(ValueError, match=message):
            find_sequences(searched, *arguments)


def test_a_wrong_query_is_refused(filled):
    for searched in (filled, filled.load_index()):
        for query in (np.ones(3), np.full(DIMENSION, np.nan)):
            with pytest.raises(ValueError, match=r"query|embeddings"):
                find_moments(searched, query)


def test_pictures_and_embeddings_are_added_to_any_rows(filled):
    rows = pd.DataFrame(
        {"note": ["x", "y", "z"], "video_id": ["v2", "v1", "v2"], "frame_number": [5, 7, 999]}
    )
    back = filled.add_pictures(rows)
    assert back["note"].tolist() == ["x", "y", "z"]
    assert back["frame_data"].tolist()[:2] == [b"v2 5", b"v1 7"]
    assert pd.isna(back["frame_data"][2])
    pd.testing.assert_frame_equal(filled.load_index().add_pictures(rows), back)
    stored = filled.read_frames("v1").set_index("frame_number")["embedding_data"]
    for searched in (filled, filled.load_index()):
        np.testing.assert_array_equal(searched.add_embeddings(rows[:2])["embedding_data"][1], stored[7])
        assert searched.add_embeddings(rows[:0]).empty
