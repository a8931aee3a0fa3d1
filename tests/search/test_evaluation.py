import numpy as np
import pandas as pd
import pytest
import pytrec_eval

from tests.conftest import make_frames, make_video
from tests.light import LightEncoder
from videolib import (
    FrameStore,
    NullQueries,
    compare_evaluations,
    evaluate,
    find_moments,
    judge,
    normalize,
    null_queries,
)

ENCODER = LightEncoder()
MODEL = {"model": ENCODER.model, "dimension": ENCODER.dimension, "every_seconds": 1.0}
TEXTS = [f"description {number}" for number in range(12)]
NULLS = NullQueries(tuple(map(str, range(99))), ENCODER.encode_texts(map(str, range(99))))


def scene(text: str, count: int, generator: np.random.Generator, share: float = 0.5) -> np.ndarray:
    """Frames that look a little like a text."""
    noise = generator.normal(size=(count, ENCODER.dimension)) / np.sqrt(ENCODER.dimension)
    return share * ENCODER.encode_texts([text]) + noise


@pytest.fixture(scope="module")
def filled() -> FrameStore:
    """Three videos of 40 seconds; every text has a scene of five in one of them; some frames are stills."""
    store, generator = FrameStore(":memory:"), np.random.default_rng(0)
    for number in range(3):
        own = TEXTS[number * 4 : number * 4 + 4]
        frames = np.concatenate(
            [part for text in own for part in (scene(text, 5, generator), generator.normal(size=(5, 48)) / 7)]
        )
        frames[[7, 8]] = frames[6]
        frames[[21, 22]] = frames[20]
        store.write_video(make_video(f"v{number}", duration_seconds=40.0), **MODEL)
        store.write_frames(make_frames(f"v{number}", frames))
        store.mark_complete(f"v{number}")
    return store


def mark(text: str, video_id: str, *span: float, right: bool = True) -> dict[str, object]:
    start, end = span or (None, None)
    return {"query": text, "video_id": video_id, "start_seconds": start, "end_seconds": end, "right": right}


def make_marks() -> list[dict[str, object]]:
    """Each text's scene, some with edges off, a second span, wrong ones, and videos that are without it."""
    marks = []
    for number, text in enumerate(TEXTS):
        video, start = f"v{number // 4}", 10.0 * (number % 4)
        marks.append(mark(text, video, max(0, start - 0.4 * (number % 3)), start + 4.5 + number % 2))
        if number % 3 == 0:
            marks.append(mark(text, f"v{(number // 4 + 1) % 3}", 6, 9))
        if number % 4 == 0:
            marks.append(mark(text, video, 30, 33, right=False))
        if number % 3 == 1:
            marks.append(mark(text, f"v{(number // 4 + 1) % 3}", right=False))
    return marks


def trec(order: list[bool], k: int) -> list[float]:
    """Recall, average precision and nDCG of a ranking, by trec_eval."""
    names = [f"d{place:04}" for place in range(len(order))]
    run = {"q": {name: float(-place) for place, name in enumerate(names)}}
    wanted = {"q": {name: int(right) for name, right in zip(names, order, strict=True)}}
    measures = {f"recall.{k}", "map", f"ndcg_cut.{k}"}
    found = pytrec_eval.RelevanceEvaluator(wanted, measures).evaluate(run)["q"]
    return [found[f"recall_{k}"], found["map"], found[f"ndcg_cut_{k}"]]


def is_right(marks: pd.DataFrame, video_id: str, seconds: float) -> bool:
    own = marks[(marks["video_id"] == video_id) & marks["right"]]
    return bool(((own["start_seconds"] <= seconds) & (seconds < own["end_seconds"])).any())


def iou(one: tuple[float, float], other: tuple[float, float]) -> float:
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return shared / (one[1] - one[0] + other[1] - other[0] - shared)


@pytest.mark.parametrize("ranked", ["frames", "frames_of_video"])
def test_it_is_what_searching_moment_finding_and_judging_one_by_one_gives(filled, ranked):
    marks, k = pd.DataFrame(make_marks()), 7
    found = evaluate(filled, ENCODER, marks, k, ranked=ranked, nulls=NULLS)
    keys = ["query", "video_id"] if ranked == "frames_of_video" else ["query"]
    assert len(found.per_query) == len(marks[keys].drop_duplicates())
    for row in found.per_query.to_dict("records"):
        own = marks[marks["query"] == row["query"]]
        video_id = row.get("video_id")
        own = own[own["video_id"] == video_id] if video_id else own
        query = ENCODER.encode_texts([row["query"]])[0]
        matches = filled.search(query, 1000, video_id=video_id)
        order = [
            is_right(own, *each)
            for each in zip(matches["video_id"], matches["timestamp_seconds"], strict=True)
        ]
        assert row["relevant"] == sum(order)
        measured = [row[f"recall@{k}"], row["average_precision"], row[f"ndcg@{k}"]]
        if any(order):
            np.testing.assert_allclose(measured, trec(order, k), rtol=0, atol=1e-9)
            best = find_moments(filled, query, 1, video_id=video_id).iloc[0]
            span = best["start_seconds"], best["end_seconds"]
            right = own[own["right"] & (own["video_id"] == best["video_id"])]
            ious = [iou(span, (each.start_seconds, each.end_seconds)) for each in right.itertuples()]
            assert row["R1@0.5"] == (max(ious, default=0) >= 0.5)
            assert row["R1@0.7"] == (max(ious, default=0) >= 0.7)
        else:
            assert np.isnan(measured).all()
        told = {True: [], False: []}
        for each, some in own.groupby("video_id"):
            best = judge(find_moments(filled, query, 1, video_id=each), query, filled, NULLS, video_id=each)
            if some["right"].any():
                told[True].append(best["found"][0])
            elif some["start_seconds"].isna().any():
                told[False].append(not best["found"][0])
        for name, key in (("present", True), ("absent", False)):
            assert (np.isnan(row[name]) and not told[key]) or row[name] == np.mean(told[key])
    assert 0 < found.overall["mean"]["R1@0.7"] < 1
    assert 0 < found.overall["mean"]["average_precision"] < 1
    assert found.overall["count"]["absent"] == 4


def test_videos_are_ranked_by_their_best_frame(filled):
    marks = [mark(text, f"v{number // 4}") for number, text in enumerate(TEXTS)]
    marks.append(mark(TEXTS[0], "v2"))
    found = evaluate(filled, ENCODER, marks, 1, ranked="videos", nulls=NULLS)
    for row in found.per_query.to_dict("records"):
        query = ENCODER.encode_texts([row["query"]])[0]
        order = filled.search(query, 1000)["video_id"].drop_duplicates()
        right = {each["video_id"] for each in marks if each["query"] == row["query"]}
        expected = trec([each in right for each in order], 1)
        np.testing.assert_allclose(
            [row["recall@1"], row["average_precision"], row["ndcg@1"]], expected, atol=1e-9
        )
    assert found.overall["count"]["R1@0.5"] == 0  # no span was marked
    assert np.isnan(found.overall["mean"]["R1@0.5"])


def test_pairs_are_ranked_by_the_means_of_the_videos_each_for_itself(filled):
    """The protocol of MSR-VTT's zero-shot baseline; a sentence that two videos have is asked twice."""
    pairs = [(f"ret{number}", TEXTS[number % 6], f"v{number % 3}") for number in range(12)]
    marks = [mark(key, video_id) for key, _, video_id in pairs]
    queries = {key: ENCODER.encode_texts([text])[0] for key, text, _ in pairs}
    index = filled.load_index()
    means = {}
    for video_id in ("v0", "v1", "v2"):
        frames = np.concatenate(list(index.read_embeddings(video_id))).astype(float)
        means[video_id] = frames.mean(axis=0) / np.linalg.norm(frames.mean(axis=0))
    places = [
        1 + sum(means[other] @ queries[key] > means[video_id] @ queries[key] for other in means)
        for key, _, video_id in pairs
    ]
    for k in (1, 2):
        found = evaluate(index.mean_of_videos(), ENCODER, marks, k, ranked="videos", queries=queries)
        assert found.per_query[f"recall@{k}"].tolist() == [place <= k for place in places]
        np.testing.assert_allclose(1 / found.per_query["average_precision"], places)
    assert set(places) == {1, 2, 3}


def test_a_right_span_that_no_frame_lies_in_is_not_found(filled):
    found = evaluate(filled, ENCODER, [mark("a", "v0", 0, 1), mark("a", "v0", 3.2, 3.8)], 500, nulls=NULLS)
    assert found.per_query["relevant"].tolist() == [2]
    assert found.overall["mean"]["recall@500"] == 0.5


def test_a_span_ends_before_its_end_and_overlapping_ones_count_once(filled):
    marks = [
        mark("a", "v0", 2, 4),
        mark("a", "v0", 3, 5) | {"who": "Bob"},
        mark("a", "v0", 2, 4) | {"who": "Bob"},
    ]
    assert evaluate(filled, ENCODER, marks, nulls=NULLS).per_query["relevant"].tolist() == [3]


def test_a_mark_counts_for_every_sampling_of_its_video(filled):
    store = FrameStore(":memory:")
    store.write_video(make_video("v0"), **MODEL)
    finer = store.write_video(make_video("v0"), **MODEL | {"every_seconds": 0.5})
    frames = make_frames(finer, np.random.default_rng(0).normal(size=(20, 48)))
    store.write_frames(frames.assign(timestamp_seconds=frames["timestamp_seconds"] / 2))
    store.mark_complete(finer)
    for video_id in ("v0", finer):
        found = evaluate(store, ENCODER, [mark("a", video_id, 2, 4)], nulls=NULLS)
        assert found.per_query["relevant"].tolist() == [4]
    index = store.load_index(finer)
    assert evaluate(index, ENCODER, [mark("a", "v0", 2, 4)], nulls=NULLS).per_query["relevant"].tolist() == [
        4
    ]


def test_an_index_gives_the_same_and_one_of_half_precision_nearly(filled):
    marks = make_marks()
    one = evaluate(filled, ENCODER, marks, nulls=NULLS)
    other = evaluate(filled.load_index(), ENCODER, marks, nulls=NULLS)
    half = evaluate(filled.load_index(dtype="float16"), ENCODER, marks, nulls=NULLS)
    pd.testing.assert_frame_equal(one.overall, other.overall)
    pd.testing.assert_frame_equal(one.overall, half.overall, atol=0.05, rtol=0)


def test_small_blocks_give_the_same(filled, monkeypatch):
    from videolib.search import evaluation

    one = evaluate(filled, ENCODER, make_marks(), nulls=NULLS)
    monkeypatch.setattr(evaluation, "BLOCK_VALUES", 300)
    pd.testing.assert_frame_equal(
        one.per_query, evaluate(filled, ENCODER, make_marks(), nulls=NULLS).per_query
    )


def test_marks_of_other_videos_are_left_out_with_a_warning(filled):
    with pytest.warns(UserWarning, match="marks of videos that are not stored are left out: 2 of 3"):
        found = evaluate(
            filled, ENCODER, [mark("a", "v0", 1, 2), *[mark("b", "gone", 1, 2)] * 2], nulls=NULLS
        )
    assert found.per_query["query"].tolist() == ["a"]


def test_other_queries_are_asked_as_they_are_and_get_no_verdicts(filled):
    marks = [mark("mine", "v0", 0, 5), mark(TEXTS[5], "v1", 10, 15)]
    queries = {"mine": 3 * ENCODER.encode_texts([TEXTS[0]])[0]}
    found = evaluate(filled, ENCODER, marks, queries=queries)
    assert found.overall["mean"]["average_precision"] > 0.9
    assert found.overall["count"][["present", "absent"]].tolist() == [0, 0]
    with_nulls = evaluate(filled, ENCODER, marks, queries=queries, nulls=NULLS)
    assert with_nulls.overall["mean"]["present"] == 1
    other = evaluate(filled, ENCODER, marks, queries={"mine": normalize(-queries["mine"])})
    assert other.per_query["average_precision"][0] < 0.3


def test_it_tells_what_it_found(filled):
    text = repr(evaluate(filled, ENCODER, [mark(TEXTS[0], "v0", 0, 5)], 5, nulls=NULLS))
    assert text.startswith("Evaluation(1 queries, k=5, ranked='frames')\n  recall@5 ")
    assert "to" in text.splitlines()[1]
    assert text.endswith("absent            no marks of it")


def test_the_same_seed_gives_the_same_interval(filled):
    one, other, third = (
        evaluate(filled, ENCODER, make_marks(), nulls=NULLS, seed=seed).overall for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, other)
    assert one["mean"].equals(third["mean"])
    assert not one["low"].equals(third["low"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be 1 or more .* got 0"),
        ({"k": 2.5}, "k must be a whole number"),
        ({"ranked": "moments"}, "ranked one of frames, frames_of_video, videos, got 10 and 'moments'"),
        ({"marks": [mark("a", "gone", 1, 2)]}, "marks must be of videos that are stored, got 1 of others"),
        ({"marks": []}, "marks must be of videos that are stored, got none: make some with explore"),
        (
            {"marks": [mark("a", "v0", 1, 2), mark("a", "v0", right=False)]},
            "marks must agree, got 'a' as right in 'v0'",
        ),
        (
            {"queries": {"a": np.ones(3)}},
            r"queries must be embeddings of shape \(48,\), .* got shape \(3,\) for 'a'",
        ),
        ({"queries": {"a": np.zeros(48)}}, "finite and not 0"),
        ({"level": 0.001}, "level must lie between"),
        ({"open_at": 2}, "extend_to and open_at must be shares"),
    ],
)
def test_what_cannot_be_is_refused(filled, options, message):
    options = {"marks": [mark("a", "v0", 1, 2)], "nulls": NULLS} | options
    with pytest.raises(ValueError, match=message):
        evaluate(filled, ENCODER, options.pop("marks"), options.pop("k", 10), **options)


@pytest.mark.slow
def test_the_null_queries_are_the_model_s_unless_others_are_given(encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEOLIB_MODEL_DIR", str(tmp_path))
    store = FrameStore(":memory:")
    store.write_video(make_video("v1"), model=encoder.model, dimension=encoder.dimension, every_seconds=1.0)
    texts = ["a red car in the city", "an azure fish at sea"]
    store.write_frames(make_frames("v1", encoder.encode_texts(texts)))
    store.mark_complete("v1")
    marks = [mark(texts[0], "v1", 0, 1), mark("a cup in the desert", "v1", right=False)]
    one, other = (evaluate(store, encoder, marks, nulls=nulls) for nulls in (None, null_queries(encoder)))
    pd.testing.assert_frame_equal(one.overall, other.overall)
    assert one.overall["count"][["present", "absent"]].tolist() == [1, 1]


def test_two_evaluations_are_compared_query_by_query(filled):
    marks = make_marks()
    before = evaluate(
        filled, ENCODER, marks, queries={text: np.random.default_rng(1).normal(size=48) for text in TEXTS}
    )
    after = evaluate(filled, ENCODER, marks, nulls=NULLS)
    table = compare_evaluations(before, after)
    assert table.index.tolist() == before.overall.index.tolist()
    row = table.loc["average_precision"]
    one, other = (each.per_query["average_precision"] for each in (before, after))
    assert row["change"] == pytest.approx((other - one).mean())
    assert row["low"] <= row["change"] <= row["high"]
    assert row[["better", "worse", "same"]].sum() == 12
    assert row["better"] == (other > one).sum() > 9
    assert table.loc["present"].isna()["change"]
    same = compare_evaluations(after, after)
    assert same.loc["recall@10", ["change", "low", "high", "same"]].tolist() == [0, 0, 0, 12]


def test_what_differs_in_more_than_the_answers_is_not_compared(filled):
    marks = make_marks()
    one = evaluate(filled, ENCODER, marks, nulls=NULLS)
    with pytest.raises(ValueError, match="must have the same k and ranked, got 10 'frames' and 5 'frames'"):
        compare_evaluations(one, evaluate(filled, ENCODER, marks, 5, nulls=NULLS))
    with pytest.raises(ValueError, match="must have queries in common"):
        compare_evaluations(one, evaluate(filled, ENCODER, [mark("else", "v0", 1, 2)], nulls=NULLS))
