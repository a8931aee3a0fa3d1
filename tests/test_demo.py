"""The demo world: what the suite relies on when it says that the right frames are found."""

import numpy as np
import pandas as pd
import pytest

from videolib import extract_frames, probe_video, similarity
from videolib.demo import DEMO_MODEL_PATH, SAMPLE_VIDEO_PATH, sample_scenes

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
