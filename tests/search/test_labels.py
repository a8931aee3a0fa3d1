import numpy as np
import pandas as pd
import pytest

from videolib import NullQueries, ingest, label_frames, label_spans, normalize, null_queries
from videolib.demo import SAMPLE_VIDEO_PATH, sample_scenes
from videolib.search.labels import NONE_OF_THESE


@pytest.fixture(scope="module")
def frames(encoder, tmp_path_factory) -> pd.DataFrame:
    """The sample video's frames, and the object that is on screen."""
    from videolib import FrameStore

    store = FrameStore(tmp_path_factory.mktemp("labels") / "store.duckdb")
    video = ingest(SAMPLE_VIDEO_PATH, encoder, store, progress=False)
    frames, scenes = store.read_frames(video.video_id), sample_scenes()
    scene = scenes["start_seconds"].searchsorted(frames["timestamp_seconds"], side="right") - 1
    return frames.assign(object=scenes["object"].to_numpy()[scene], scene=scene)


LABELS = {"a car": "car", "a boat": "boat", "a tree": "tree", "a balloon": "balloon"}


def rows(frames: pd.DataFrame) -> np.ndarray:
    return np.stack(list(frames["embedding_data"]))


def test_frames_get_their_label_or_none(encoder, frames):
    table = label_frames(rows(frames), list(LABELS), encoder)
    assert table.columns.tolist() == [*LABELS, NONE_OF_THESE]
    np.testing.assert_allclose(table.sum(axis=1), 1)
    expected = frames["object"].map({name: label for label, name in LABELS.items()}).fillna(NONE_OF_THESE)
    is_right = table.idxmax(axis=1) == expected
    assert is_right[expected != NONE_OF_THESE].mean() > 0.7  # its combinations were never drawn in training
    assert is_right[expected == NONE_OF_THESE].mean() > 0.9


def test_labels_that_are_not_in_the_video_are_none_of_these(encoder, frames):
    """Without that answer, a softmax over the labels must choose one of them."""
    few = frames[~frames["object"].isin(["car", "boat"])]
    table = label_frames(rows(few), ["a car", "a boat"], encoder)
    assert (table.idxmax(axis=1) == NONE_OF_THESE).mean() > 0.95


def test_a_lower_level_gives_more_none_and_a_higher_scale_sharper_answers(encoder, frames):
    def share_of_none(level):
        table = label_frames(rows(frames), list(LABELS), encoder, level=level)
        return (table.idxmax(axis=1) == NONE_OF_THESE).mean()

    assert share_of_none(0.2) < share_of_none(0.01) < share_of_none(0.001)
    flat, sharp = (
        label_frames(rows(frames), list(LABELS), encoder, scale=s).max(axis=1).mean() for s in (5, 100)
    )
    assert flat < sharp


def test_it_takes_one_frame_two_frames_none_and_frames_all_equal(encoder, frames):
    one = rows(frames)[:1]
    for some in (one, rows(frames)[:2], np.repeat(one, 30, axis=0)):
        table = label_frames(some, ["a house", "a car"], encoder)
        assert len(table) == len(some)
        np.testing.assert_allclose(table.sum(axis=1), 1)
    assert label_frames([], ["a car"], encoder).shape == (0, 2)
    assert len(label_spans([], label_frames([], ["a car"], encoder))) == 0


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([], {}, "labels must be descriptions, each once"),
        (["a car", "a car"], {}, "each once"),
        (["a car", NONE_OF_THESE], {}, "not 'none of these'"),
        (["a car", " "], {}, "labels must be descriptions"),
        (["a car", 3], {}, "labels must be descriptions"),
        (["a car"], {"level": 0}, "level must lie between 0 and 1"),
        (["a car"], {"scale": 0}, "scale above 0"),
        (["a car"], {"nulls": NullQueries((), np.zeros((0, 512), np.float32))}, "at least one description"),
    ],
)
def test_it_refuses(encoder, labels, options, message):
    with pytest.raises(ValueError, match=message):
        label_frames(normalize(np.ones((3, 512))), labels, encoder, **options)


def test_one_label_may_come_as_it_is(encoder, frames):
    table = label_frames(rows(frames), "a car", encoder, nulls=null_queries(encoder))
    assert table.columns.tolist() == ["a car", NONE_OF_THESE]


def table(labels: str) -> pd.DataFrame:
    """Probabilities of a and b: a letter for each frame, a dash for neither."""
    columns = {"a": "a", "b": "b", NONE_OF_THESE: "-"}
    return pd.DataFrame(
        {name: [0.8 if one == letter else 0.1 for one in labels] for name, letter in columns.items()}
    )


def spans(labels: str, seconds=None) -> list[tuple[str, float, float]]:
    seconds = np.arange(len(labels)) if seconds is None else seconds
    found = label_spans(seconds, table(labels))
    assert (found["probability"] > 0).all()
    return list(found[["label", "start_seconds", "end_seconds"]].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("aaabb", [("a", 0, 2.5), ("b", 2.5, 4.5)]),
        ("--aa--", [("a", 1.5, 3.5)]),
        ("aa-aa", [("a", 0, 4.5)]),  # one frame of something else is noise
        ("aabaa", [("a", 0, 4.5)]),
        ("--a--", []),
        ("aa--aa", [("a", 0, 1.5), ("a", 3.5, 5.5)]),
        ("a", [("a", 0, 0)]),
        ("ab", [("a", 0, 0.5), ("b", 0.5, 1.5)]),
        ("-----", []),
    ],
)
def test_runs_of_a_label_are_spans(labels, expected):
    assert spans(labels) == expected


def test_a_span_ends_where_frames_are_missing():
    seconds = [0, 1, 2, 3, 4, 5, 60, 61, 62, 63, 64, 65]
    assert spans("aaaaaaaaaaaa", seconds) == [("a", 0, 5.5), ("a", 59.5, 65.5)]
    assert spans("aaaaa-aaaaaa", seconds) == [("a", 0, 4.5), ("a", 59.5, 65.5)]


def test_uneven_samples_reach_half_way_to_the_next():
    assert spans("aab", [0, 4, 5]) == [("a", 0, 4.5), ("b", 4.5, 6.25)]


def test_the_probability_of_a_span_is_the_mean_of_its_frames():
    found = label_spans([0.0, 1, 2], pd.DataFrame({"a": [0.6, 0.8, 1.0], NONE_OF_THESE: [0.4, 0.2, 0]}))
    assert found["probability"].tolist() == [pytest.approx(0.8)]


@pytest.mark.parametrize("seconds", [[0, 1], [0, 0, 1], [2, 1, 0], [[0, 1, 2]]])
def test_times_must_fit(seconds):
    with pytest.raises(ValueError, match="timestamps_seconds must be 3 ascending times"):
        label_spans(seconds, table("aaa"))


def test_spans_of_the_sample_video_are_its_scenes(encoder, frames):
    found = label_spans(frames["timestamp_seconds"], label_frames(rows(frames), ["a car"], encoder))
    scenes = sample_scenes()
    cars = scenes[scenes["object"] == "car"]
    assert len(found) == len(cars)
    np.testing.assert_allclose(found["start_seconds"], cars["start_seconds"], atol=0.7)
    np.testing.assert_allclose(found["end_seconds"], cars["end_seconds"], atol=0.7)
