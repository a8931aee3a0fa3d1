import numpy as np
import pytest

from tests.conftest import make_frames, make_video
from videolib import FrameStore, normalize, refine, similarity

D = 16


def rows(count: int, seed: int = 0) -> np.ndarray:
    return normalize(np.random.default_rng(seed).normal(size=(count, D)))


def average_precision(similarities: np.ndarray, is_right: np.ndarray) -> float:
    right = is_right[np.argsort(-similarities, kind="stable")]
    return float((np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean())


def cars(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of cars, which are axis 0; the first half of them are red, which is axis 1."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(scale=0.15, size=(200, D))
    frames[:60, 0] += 1
    frames[:30, 1] += 0.5
    return normalize(frames), np.eye(D)[0], np.arange(200) < 30


def marked(query: np.ndarray, frames: np.ndarray, is_right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-similarity(query, frames), kind="stable")
    return frames[order[is_right[order]][:2]], frames[order[~is_right[order]][:2]]


@pytest.mark.parametrize("seed", range(5))
def test_two_marks_of_each_kind_tell_what_a_vague_query_meant(seed):
    frames, query, is_right = cars(seed)
    liked, disliked = marked(query, frames, is_right)
    before = average_precision(similarity(query, frames), is_right)
    new = refine(query, liked, disliked, embeddings=frames)
    assert average_precision(similarity(new, frames), is_right) > before + 0.1
    np.testing.assert_array_equal(new, refine(query, liked, disliked, embeddings=frames))
    np.testing.assert_allclose(np.linalg.norm(new), 1, atol=1e-6)


def test_liked_alone_and_disliked_alone_help_too():
    frames, query, is_right = cars()
    liked, disliked = marked(query, frames, is_right)
    before = average_precision(similarity(query, frames), is_right)
    for marks in ((liked, ()), ([], disliked)):
        new = refine(query, *marks, embeddings=frames)
        assert average_precision(similarity(new, frames), is_right) > before


def test_a_query_that_tells_the_marks_apart_stays_as_it_is():
    frames, query, _ = cars()
    order = np.argsort(-similarity(query, frames))
    new = refine(query, frames[order[:2]], frames[order[-2:]], embeddings=frames)
    np.testing.assert_allclose(new, query, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_it_never_runs_away_whatever_is_marked(seed):
    """Each part of unit spread, the query's twice as heavy: their curves go together."""
    frames, query = rows(300, seed), rows(1, seed + 100)[0]
    order = np.argsort(similarity(query, frames))
    new = refine(query, frames[order[:5]], frames[order[-5:]], embeddings=frames)  # all marks the wrong way
    correlation = np.corrcoef(similarity(new, frames), similarity(query, frames))[0, 1]
    assert 0.5 < correlation < 0.999


def test_marks_are_replayed_from_frame_numbers(tmp_path):
    frames, query, _ = cars()
    store = FrameStore(tmp_path / "store.duckdb")
    store.write_video(make_video(), model="m", dimension=D, every_seconds=1.0)
    store.write_frames(make_frames("v1", frames))
    stored = store.read_frames("v1").set_index("frame_number")["embedding_data"]
    liked, disliked = stored.loc[[3, 12]].tolist(), stored.loc[[40, 55]].tolist()
    sample = store.sample_embeddings()
    expected = refine(query, frames[[2, 11]], frames[[39, 54]], embeddings=frames)
    np.testing.assert_allclose(refine(query, liked, disliked, embeddings=sample), expected, atol=1e-6)


def test_no_marks_leave_the_query():
    frames, query, _ = cars()
    np.testing.assert_array_equal(refine(3 * query, [], [], embeddings=frames), query)


def test_one_frame_two_frames_and_frames_all_equal():
    query = rows(1)[0]
    for frames in (rows(1, 1), rows(2, 1), np.repeat(rows(1, 1), 9, axis=0)):
        for marks in ((frames[:1], frames[-1:]), (frames[:1], ()), ((), frames[:1])):
            new = refine(query, *marks, embeddings=frames)
            assert np.isfinite(new).all()
            assert new @ query > 0.8
    same = refine(rows(1, 1)[0], rows(1, 1), rows(1, 2), embeddings=rows(20, 3))  # the query is a frame
    np.testing.assert_allclose(same, rows(1, 1)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"liked": rows(2)[:, :8]}, r"liked must be embeddings of shape \(m, 16\).* got \(2, 8\)"),
        ({"disliked": rows(1)[0]}, r"disliked must be embeddings of shape \(m, 16\)"),
        ({"embeddings": []}, "embeddings .* n above 0"),
        ({"liked": np.full((1, D), np.nan)}, "finite"),
        ({"query": np.zeros(D)}, "zeros"),
        ({"query": rows(2)}, r"query must be \(d,\)"),
        ({"embeddings": rows(5)[:, :8]}, r"shape \(n, 16\)"),
    ],
)
def test_it_refuses(change, message):
    given = {
        "query": rows(1)[0],
        "liked": rows(2),
        "disliked": rows(2, 1),
        "embeddings": rows(20, 2),
    } | change
    with pytest.raises(ValueError, match=message):
        refine(given.pop("query"), given.pop("liked"), given.pop("disliked"), **given)
