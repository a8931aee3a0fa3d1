from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.light import LightEncoder
from tests.media import write_video
from videolib import ingest
from videolib.demo import SAMPLE_VIDEO_PATH


def test_a_slow_change_does_not_creep_by_as_one_still(store, tmp_path):
    """Each second is one grey level brighter than the one before: alike in pairs, not from end to end."""
    levels = np.repeat(np.arange(100, 130), 10)
    shown = [np.full((64, 96, 3), level, dtype=np.uint8) for level in levels]
    path = write_video(
        tmp_path / "dawn.mkv", "ffv1", rate=10, size=(96, 64), pictures=shown, pixel_format="bgr0"
    )
    encoder = LightEncoder()
    video = ingest(path, encoder, store, progress=False)
    assert encoder.count == 10
    assert store.read_frames(video.video_id)["frame_data"].nunique() == 10


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
