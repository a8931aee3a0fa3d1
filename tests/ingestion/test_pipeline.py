from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from tests.light import LightEncoder
from tests.media import write_video
from videolib import ingest
from videolib.demo import SAMPLE_VIDEO_PATH
from videolib.ingestion.pipeline import embed_samples
from videolib.video import plan_samples, read_timeline


def test_a_slow_change_does_not_creep_by_as_one_still(store, tmp_path):
    """Each second is one grey level brighter than the one before: alike in pairs, not from end to end."""
    levels = np.repeat(np.arange(100, 130), 10)
    shown = [np.full((64, 96, 3), level, dtype=np.uint8) for level in levels]
    path = write_video(
        tmp_path / "dawn.mkv", "ffv1", rate=10, size=(96, 64), pictures=shown, pixel_format="bgr0"
    )
    encoder = LightEncoder()
    video = ingest(path, encoder, store, progress=False)
    assert encoder.count == 12  # each third one of batches of 4, 4, 8 and 14
    assert store.read_frames(video.video_id)["frame_data"].nunique() == 12


def test_a_still_that_stays_is_embedded_once_a_batch(store, tmp_path):
    shown = [np.random.default_rng(0).integers(0, 256, size=(64, 96, 3), dtype=np.uint8)] * 100
    path = write_video(
        tmp_path / "slide.mkv", "ffv1", rate=1, size=(96, 64), pictures=shown, pixel_format="bgr0"
    )
    encoder = LightEncoder()
    ingest(path, encoder, store, progress=False)
    assert encoder.count == 7  # of 4, 4, 8, 16, 32, 32 and 4 frames


@pytest.mark.parametrize("fails", [False, True])
def test_torch_has_its_threads_back_after_an_ingest(encoder, store, fails):
    import torch

    class Failing:
        model, dimension, prepare = encoder.model, encoder.dimension, encoder.prepare

        def encode_images(self, images):
            raise ArithmeticError("no embedding today")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        if fails:
            with pytest.raises(ArithmeticError):
                ingest(SAMPLE_VIDEO_PATH, Failing(), store, every_seconds=50, progress=False)
        else:
            ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=50, progress=False)
        with ThreadPoolExecutor(1) as others:  # what torch was told last counts for every thread to come
            assert others.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


def batches(encoder, left_out=(), every_seconds=1.0):
    samples = plan_samples(read_timeline(SAMPLE_VIDEO_PATH), every_seconds=every_seconds).without(left_out)
    return embed_samples("v", samples, encoder, reuse_stills=True)


def test_the_first_batches_are_small_and_none_straddles_where_another_begins():
    numbers = [rows["frame_number"].tolist() for rows in batches(LightEncoder())]
    assert [len(each) for each in numbers] == [4, 4, 8, 16, 32, 32, 32, 15]
    starts = {each[0] for each in numbers}
    done = {2, 5, 6, 7, 8, 9, *range(40, 70), 100}
    resumed = [rows["frame_number"].tolist() for rows in batches(LightEncoder(), done)]
    assert sorted(done | {number for each in resumed for number in each}) == list(range(1, 144))
    for each in resumed:
        assert not starts & set(range(each[0] + 1, each[-1] + 1))


def test_rows_come_as_soon_as_they_are_embedded():
    """What comes behind them need not be embedded yet: here it is not, before they are taken."""
    taken = Event()

    class Patient(LightEncoder):
        def encode_images(self, images):
            if self.count >= 16:
                assert taken.wait(60)
            return super().encode_images(images)

    rows = batches(Patient())
    assert next(rows)["frame_number"].tolist() == [1, 2, 3, 4]
    taken.set()
    assert sum(map(len, rows)) == 139
