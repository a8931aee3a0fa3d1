import math

import numpy as np
import pytest
import pytrec_eval

from videolib.search.measures import average_precision, interval, ndcg_at, overlaps, ranks_of, recall_at


def random_case(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """Similarities with many ties, what is relevant (at times nothing, at times all), and a k, at times too large."""
    count = int(generator.integers(1, 60))
    similarities = generator.choice(np.linspace(-1, 1, int(generator.integers(1, 30))), count).astype(
        np.float32
    )
    share = generator.choice([0.0, 0.05, 0.3, 1.0])
    return similarities, np.flatnonzero(generator.random(count) < share), int(generator.integers(1, 80))


def test_they_are_those_of_trec_eval_in_1000_random_cases():
    generator = np.random.default_rng(7)
    seen = {"ties": 0, "nothing relevant": 0, "k beyond the list": 0}
    for number in range(1000):
        similarities, relevant, k = random_case(generator)
        # trec_eval gives ties to the name that comes last; here the earlier frame does.
        names = [f"d{99 - place:02}" for place in range(len(similarities))]
        wanted = {name: int(place in set(relevant)) for place, name in enumerate(names)}
        run = dict(zip(names, similarities.tolist(), strict=True))
        measures = {f"recall.{k}", "map", f"ndcg_cut.{k}"}
        theirs = pytrec_eval.RelevanceEvaluator({"q": wanted}, measures).evaluate({"q": run})["q"]
        ranks, count = ranks_of(similarities, relevant), len(relevant)
        mine = [recall_at(k, ranks, count), average_precision(ranks, count), ndcg_at(k, ranks, count)]
        if not count:  # where trec_eval says 0, there is nothing to measure
            assert np.isnan(mine).all()
            mine = [0.0] * 3
        expected = [theirs[f"recall_{k}"], theirs["map"], theirs[f"ndcg_cut_{k}"]]
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-9, err_msg=str(number))
        seen["ties"] += len(set(similarities)) < len(similarities)
        seen["nothing relevant"] += not count
        seen["k beyond the list"] += k > len(similarities)
    assert min(seen.values()) > 100, seen


def test_ranks_are_those_of_a_stable_sort():
    generator = np.random.default_rng(3)
    for _ in range(200):
        similarities, relevant, _ = random_case(generator)
        order = np.argsort(-similarities, kind="stable").tolist()
        assert ranks_of(similarities, relevant).tolist() == sorted(
            order.index(place) + 1 for place in relevant
        )


def test_what_is_relevant_and_not_in_the_ranking_counts_as_not_found():
    ranks = np.array([1, 3])
    assert recall_at(2, ranks, 4) == 1 / 4
    assert average_precision(ranks, 4) == pytest.approx((1 + 2 / 3) / 4)
    best = 1 + 1 / math.log2(3) + 1 / 2 + 1 / math.log2(5)
    assert ndcg_at(5, ranks, 4) == pytest.approx((1 + 1 / 2) / best)


def test_overlaps_are_those_of_a_plain_count_of_tenths_of_seconds():
    generator = np.random.default_rng(5)
    for _ in range(200):
        tenths = np.sort(generator.integers(0, 50, (6, 2)), axis=1) + np.array([0, 1])
        one, *others = [set(range(start, end)) for start, end in tenths.tolist()]
        expected = [len(one & other) / len(one | other) for other in others]
        spans = tenths / 10
        np.testing.assert_allclose(overlaps(tuple(spans[0]), spans[1:]), expected, atol=1e-12)


def test_spans_apart_do_not_overlap():
    assert overlaps((0, 1), np.array([[1, 2], [5, 9], [0, 1]])).tolist() == [0, 0, 1]
    assert overlaps((0, 1), np.zeros((0, 2))).tolist() == []


def test_the_interval_is_the_bootstrap_s_and_the_same_again():
    values = np.random.default_rng(0).random(50)
    low, high = interval(values, seed=1)
    assert (low, high) == interval(values, seed=1)
    assert (low, high) != interval(values, seed=2)
    # For a mean of 50 it is close to that of the normal distribution.
    error = values.std() / math.sqrt(50)
    np.testing.assert_allclose([low, high], values.mean() + np.array([-1.96, 1.96]) * error, atol=0.01)


def test_the_interval_covers_the_true_mean_about_95_times_in_100():
    generator = np.random.default_rng(11)
    covered = 0
    for number in range(200):
        low, high = interval(generator.random(40), seed=number)
        covered += low <= 0.5 <= high
    assert 180 <= covered <= 199


def test_missing_values_are_left_out_of_an_interval():
    assert interval([np.nan, 1.0, 1.0], seed=0) == (1.0, 1.0)
    assert np.isnan(interval([np.nan], seed=0)).all()
    assert np.isnan(interval([], seed=0)).all()
