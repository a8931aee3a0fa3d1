"""The demo world: what the suite relies on when it says that the right frames are found."""

import numpy as np
import pandas as pd
import pytest

from videolib import (
    FrameIndex,
    combine,
    extract_frames,
    find_moments,
    find_sequences,
    judge,
    label_frames,
    label_spans,
    null_queries,
    probe_video,
    refine,
    similarity,
    text_query,
)
from videolib.demo import DEMO_MODEL_PATH, SAMPLE_MARKS_PATH, SAMPLE_VIDEO_PATH, sample_scenes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenes() -> pd.DataFrame:
    return sample_scenes()


@pytest.fixture(scope="module")
def frames():
    """The sample video at every second, each picture shrunk to a sixth of its sides."""
    return [(f.timestamp_seconds, f.image[::6, ::6].copy()) for f in extract_frames(SAMPLE_VIDEO_PATH)]


@pytest.fixture(scope="module")
def times(frames) -> np.ndarray:
    return np.array([time for time, _ in frames])


@pytest.fixture(scope="module")
def embeddings(frames, encoder) -> np.ndarray:
    return encoder.encode_images([image for _, image in frames])


@pytest.fixture(scope="module")
def captions(scenes, encoder) -> np.ndarray:
    return encoder.encode_texts(scenes["caption"])


def scene_at(times: np.ndarray, scenes: pd.DataFrame) -> np.ndarray:
    return np.searchsorted(scenes["start_seconds"], times, side="right") - 1


def test_the_marks_are_those_of_the_scenes(scenes):
    marks = pd.read_csv(SAMPLE_MARKS_PATH)
    assert set(marks["title"]) == {SAMPLE_VIDEO_PATH.stem}
    for query, own in marks.groupby("query"):
        colour, thing = ["", *query.split()[1:]][-2:]
        wanted = [
            (row.start_seconds, row.end_seconds)
            for row in scenes.itertuples()
            for pair in ((row.object, row.colour), (row.second_object, row.second_colour))
            if pair[0] == thing and colour in ("", pair[1])
        ]
        assert own["right"].tolist() == ([True] * len(wanted) if wanted else [False])
        assert list(zip(own["start_seconds"].dropna(), own["end_seconds"].dropna(), strict=True)) == wanted
    assert marks["right"].sum() == 60
    assert (~marks["right"]).sum() == 12


def recall(captions: np.ndarray, embeddings: np.ndarray, scene: np.ndarray) -> float:
    """Share of the captions whose most similar frame lies in their scene."""
    found = [scene[np.argmax(similarity(caption, embeddings))] for caption in captions]
    return float(np.mean(np.array(found) == np.arange(len(captions))))


def test_the_shipped_files_are_small_and_fit_together(scenes):
    assert DEMO_MODEL_PATH.stat().st_size < 8_000_000
    assert SAMPLE_VIDEO_PATH.stat().st_size < 6_000_000
    video = probe_video(SAMPLE_VIDEO_PATH)
    assert (video.width, video.height) == (1920, 1080)
    assert scenes["end_seconds"].iloc[-1] == pytest.approx(video.duration_seconds, abs=0.01)
    np.testing.assert_array_equal(scenes["start_seconds"][1:], scenes["end_seconds"][:-1])


def test_each_scene_is_found_by_its_caption(captions, embeddings, times, scenes):
    assert recall(captions, embeddings, scene_at(times, scenes)) >= 23 / 24


def test_swapped_channels_would_be_noticed(captions, frames, encoder, times, scenes):
    swapped = encoder.encode_images([image[..., ::-1].copy() for _, image in frames])
    assert recall(captions, swapped, scene_at(times, scenes)) < 0.4


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_shift_by_a_second_would_be_noticed(shift, captions, embeddings, times, scenes):
    scene = scene_at(times, scenes)
    told = np.argmax(embeddings @ captions.T, axis=1)  # (n,)
    right = np.mean(told == scene)
    moved = scene_at(np.clip(times + shift, 0, times[-1]), scenes)
    assert right > 0.9
    assert np.mean(told == moved) < right - 0.1


def test_the_cuts_lie_where_the_table_says(embeddings, scenes):
    """Neighbouring frames differ most exactly where a scene begins: off by one second, none would fit."""
    alike = np.sum(embeddings[1:] * embeddings[:-1], axis=1)  # (n - 1,)
    cuts = np.sort(np.argsort(alike)[: len(scenes) - 1]) + 1  # sample k lies at k seconds
    np.testing.assert_array_equal(cuts, np.ceil(scenes["start_seconds"][1:]))


WHERE = {
    "city": "in the city",
    "sea": "at sea",
    "night": "at night",
    "meadow": "in a meadow",
    "snow": "in the snow",
    "desert": "in the desert",
}


class TestPictureAndText:
    """What notebook 4 says of the plain mean and of the balanced query."""

    @staticmethod
    def with_article(words: str) -> str:
        return f"an {words}" if words[0] in "aou" else f"a {words}"

    def texts(self, scenes: pd.DataFrame) -> dict[str, dict[str, str]]:
        """Texts that name one or two of an object, a colour and a setting of the video."""
        objects, colours = (
            sorted({*scenes[name], *scenes[f"second_{name}"].dropna()} - {""})
            for name in ("object", "colour")
        )
        a = self.with_article
        return (
            {where: {"setting": setting} for setting, where in WHERE.items()}
            | {a(name): {"object": name} for name in objects}
            | {a(f"{c} {name}"): {"object": name, "colour": c} for name in objects for c in colours}
            | {
                f"{a(name)} {where}": {"object": name, "setting": setting}
                for name in objects
                for setting, where in WHERE.items()
            }
            | {f"something {colour}": {"colour": colour} for colour in colours}
        )

    def test_balancing_helps_more_often_than_it_hurts(self, times, embeddings, encoder, scenes):
        """A right frame shows what the picture does, but for what the text names, in another scene."""
        at = scene_at(times, scenes)
        shown = scenes[["object", "colour", "setting"]].to_dict("records")
        gains = []
        texts = self.texts(scenes)
        for named, text in zip(texts.values(), encoder.encode_texts(list(texts)), strict=True):
            for place, scene in enumerate(at):
                wanted = shown[scene] | named
                right = [number for number, other in enumerate(shown) if other == wanted and number != scene]
                if not right:
                    continue
                plain, balanced = (
                    combine(text, embeddings[place], weight=0.5, **options)
                    for options in ({"balance": "none"}, {"embeddings": embeddings})
                )
                first = [np.argsort(-(embeddings @ query), kind="stable")[:5] for query in (plain, balanced)]
                was, now = (int(np.isin(at[five], right).sum()) for five in first)
                gains.append(now - was)
        assert len(gains) == 908
        assert np.mean(np.array(gains) > 0) == pytest.approx(0.25, abs=0.04)
        assert np.mean(np.array(gains) < 0) == pytest.approx(0.07, abs=0.04)

    def test_the_question_of_the_notebook(self, times, embeddings, encoder, scenes):
        at = scene_at(times, scenes)
        text, image = text_query("something yellow", encoder), embeddings[49]
        queries = {
            "text": text,
            "image": image,
            "plain": combine(text, image, weight=0.5, balance="none"),
            "balanced": combine(text, image, weight=0.5, embeddings=embeddings),
        }
        found = {
            name: {scenes["caption"][at[place]] for place in np.argsort(-(embeddings @ query))[:5]}
            for name, query in queries.items()
        }
        assert found["image"] == found["plain"] == {"a cyan boat at sea"}
        assert found["balanced"] == {"a yellow boat and a pink house at sea"}
        assert not found["text"] & found["balanced"]


class TestAskingMorePrecisely:
    """The questions of notebook 10: a plain description fails, and the way that is taught there does not."""

    @pytest.fixture
    def ask(self, encoder):
        return lambda text: text_query(text, encoder)

    @pytest.fixture
    def captions_at(self, times, embeddings, scenes):
        """The caption of the scene that each query finds first."""
        at = scene_at(times, scenes)
        return lambda query: scenes["caption"][at[np.argmax(similarity(query, embeddings))]]

    @pytest.fixture
    def index(self, times, embeddings):
        keys = pd.DataFrame(
            {"video_id": "v", "frame_number": np.arange(len(times)) + 1, "timestamp_seconds": times}
        )
        return FrameIndex(
            keys, embeddings, lambda rows: rows[["video_id", "frame_number"]].assign(frame_data=b"")
        )

    @pytest.mark.filterwarnings("ignore:text should say what is there")
    def test_without(self, ask, captions_at, embeddings):
        assert captions_at(ask("a flower without the city")).endswith("in the city")
        query = combine(ask("a flower"), ask("the city"), weights=[1, -0.5], embeddings=embeddings)
        assert captions_at(query) == "a pink flower in the desert"

    def test_first_this_then_that(self, ask, captions_at, index, times, scenes):
        assert "boat" not in captions_at(ask("a balloon, then a boat"))
        found = find_sequences(index, [ask("a balloon"), ask("a boat")], within_seconds=10, k=2)
        at = scene_at(found["timestamp_seconds"].to_numpy(), scenes)
        assert scenes["caption"][at].tolist() == [
            "a blue balloon in a meadow",
            "a cyan boat at sea",
            "a red balloon in a meadow",
            "a yellow boat at night",
        ]

    def test_more_like_this(self, ask, captions_at, embeddings):
        vague = ask("a car")
        assert captions_at(vague) == "a blue car in the city"
        liked, disliked = embeddings[[121]], embeddings[[64]]
        assert captions_at(refine(vague, liked, disliked, embeddings=embeddings)) == "a red car in the snow"

    def test_labels(self, times, embeddings, encoder, scenes):
        labels = ["a car", "a boat", "a balloon", "a cat"]
        spans = label_spans(times, label_frames(embeddings, labels, encoder))
        middles = (spans["start_seconds"] + spans["end_seconds"]) / 2
        captions = scenes["caption"][scene_at(middles.to_numpy(), scenes)]
        assert set(spans["label"]) == set(labels)
        assert all(
            label.split()[1] in caption for label, caption in zip(spans["label"], captions, strict=True)
        )

    def test_what_is_not_there_is_said_not_to_be(self, ask, index, encoder):
        nulls = null_queries(encoder)
        for text, is_there in [("a red car in the city", True), ("zebra", False), ("a dog", False)]:
            moments = judge(find_moments(index, ask(text), 1), ask(text), index, nulls)
            assert moments["found"].tolist() == [is_there]
