import numpy as np
import pytest

from tests.conftest import make_frames
from videolib import match_frames, normalize, similarity, top_k


def test_normalize_gives_unit_float32_rows():
    rows = normalize([[3, 4], [0, 2]])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 1]])


def test_normalize_takes_one_embedding():
    np.testing.assert_allclose(normalize([3, 4]), [0.6, 0.8])


def test_normalize_survives_values_whose_squares_overflow():
    np.testing.assert_allclose(normalize([1e30, 1e30]), [0.5**0.5] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [([[0, 0], [1, 0]], "row of zeros"), ([[np.nan, 1]], "finite"), ([[np.inf, 1]], "finite")],
)
def test_normalize_refuses(rows, message):
    with pytest.raises(ValueError, match=message):
        normalize(rows)


def test_similarity_is_the_cosine_of_unit_rows():
    rows = normalize(np.random.default_rng(0).normal(size=(50, 8)))
    expected = [np.dot(row, rows[7]) / np.linalg.norm(row) / np.linalg.norm(rows[7]) for row in rows]
    np.testing.assert_allclose(similarity(rows[7], rows), expected, atol=1e-6)


def test_similarity_of_equal_rows_is_equal_to_the_bit():
    row = normalize(np.random.default_rng(1).normal(size=512))
    assert len(set(similarity(row, np.tile(row, (1001, 1))).tolist())) == 1


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 4))])
def test_similarity_to_nothing_is_empty(nothing):
    assert similarity([1, 0, 0, 0], nothing).shape == (0,)


@pytest.mark.parametrize(
    ("query", "embeddings", "message"),
    [
        ([[1, 0]], [[1, 0]], r"query must be one embedding of shape \(d,\), got shape \(1, 2\)"),
        ([1, 0, 0], [[1, 0]], r"shape \(n, 3\) to fit the query, got \(1, 2\)"),
        ([1, np.nan], [[1, 0]], "query must hold finite"),
        ([1, 0], [[np.inf, 0]], "embeddings must hold finite"),
    ],
)
def test_similarity_refuses(query, embeddings, message):
    with pytest.raises(ValueError, match=message):
        similarity(query, embeddings)


def test_top_k_orders_by_similarity_then_position():
    assert top_k([0.1, 0.9, 0.5, 0.9, 0.5, 0.9], 4).tolist() == [1, 3, 5, 2]


@pytest.mark.parametrize(("k", "expected"), [(0, []), (1, [0]), (3, [0, 1, 2]), (99, [0, 1, 2])])
def test_top_k_never_gives_more_than_there_is(k, expected):
    assert top_k([0.5, 0.5, 0.5], k).tolist() == expected


def test_top_k_of_nothing():
    assert top_k([], 5).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_top_k_equals_a_stable_full_sort(seed):
    values = np.random.default_rng(seed).integers(0, 10, size=200) / 10
    expected = sorted(range(200), key=lambda position: (-values[position], position))
    for k in (1, 7, 50, 200):
        assert top_k(values, k).tolist() == expected[:k]


@pytest.mark.parametrize(
    ("values", "k", "message"),
    [
        ([0.5], -1, "k must be 0 or more, got -1"),
        ([0.5], 1.5, "k must be a whole number"),
        ([0.5, np.nan], 1, "NaN"),
        ([[0.5]], 1, r"shape \(n,\), got \(1, 1\)"),
    ],
)
def test_top_k_refuses(values, k, message):
    with pytest.raises(ValueError, match=message):
        top_k(values, k)


def test_match_frames_gives_rows_of_the_frames_table():
    frames = make_frames("v", np.eye(4))
    matches = match_frames(normalize([1, 2, 0, 0]), frames, k=2)
    assert matches["frame_number"].tolist() == [2, 1]
    assert matches["rank"].tolist() == [1, 2]
    assert matches["frame_data"].tolist() == [b"v 2", b"v 1"]
    np.testing.assert_allclose(matches["similarity"], [2 / 5**0.5, 1 / 5**0.5], rtol=1e-6)
