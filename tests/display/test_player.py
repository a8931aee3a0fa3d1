import io

import av
import numpy as np
import pytest

from tests.media import write_video
from tests.sounding import find_beep, find_flash, write_sounding
from videolib import VideoReadError, play_clip

X265 = {"preset": "ultrafast", "x265-params": "keyint=15:log-level=none"}


def decode(clip) -> list[np.ndarray]:
    with av.open(io.BytesIO(clip.data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "red.mp4"
    red = np.full((362, 642, 3), (220, 30, 20), dtype=np.uint8)
    write_video(path, count=90, rate=30, size=(642, 362), pictures=[red] * 90)
    return path


def test_the_clip_is_short_small_and_in_its_true_colours(path):
    clip = play_clip(path, start_seconds=1, duration_seconds=1, height=180)
    frames = decode(clip)
    assert len(frames) == 15
    assert frames[0].shape == (180, 320, 3)
    np.testing.assert_allclose(frames[7][90, 160], (220, 30, 20), atol=12)
    assert len(clip.data) < 50_000


def test_a_clip_ends_with_the_video_and_is_never_enlarged(path):
    frames = decode(play_clip(path, start_seconds=2, duration_seconds=8, height=4000))
    assert len(frames) == 15
    assert frames[0].shape == (362, 642, 3)


def test_it_plays_with_its_sound_in_step(tmp_path):
    path = write_sounding(tmp_path / "video.mkv", "libx265", "flac", options=X265)
    clip = play_clip(path, start_seconds=1)
    assert find_flash(clip.data) == pytest.approx(0.5, abs=0.04)
    assert find_beep(clip.data) == pytest.approx(0.5, abs=0.04)
    assert "muted" not in clip._repr_html_()


def test_it_is_embedded_in_the_notebook(path):
    html = play_clip(path, duration_seconds=1)._repr_html_()
    assert "data:video/mp4;base64," in html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration_seconds": 0}, "duration_seconds must lie between 0 and 60, got 0"),
        ({"duration_seconds": 61}, "duration_seconds must lie between 0 and 60, got 61"),
        ({"start_seconds": 3}, "start_seconds must lie within the video, got 3"),
        ({"start_seconds": -1}, "start_seconds must be finite and not negative, got -1"),
        ({"height": 0}, "height must be 2 or more, got 0"),
    ],
)
def test_wrong_parts_are_refused(path, options, message):
    with pytest.raises(ValueError, match=message):
        play_clip(path, **options)


def test_what_is_no_video_is_an_error(tmp_path):
    with pytest.raises(VideoReadError, match=r"/missing.mp4 does not exist.* relocate_video\(video_id"):
        play_clip(tmp_path / "missing.mp4")


@pytest.mark.parametrize("size", [(64, 1), (1, 1), (641, 1), (2, 2), (3, 3)])
def test_a_clip_of_a_video_without_two_rows(size, tmp_path):
    black = [np.zeros((size[1], size[0], 3), np.uint8)] * 10
    path = write_video(tmp_path / "row.mkv", "ffv1", size=size, pictures=black, pixel_format="yuv444p")
    frames = decode(play_clip(path))
    assert len(frames) == 5
    assert all(side >= 2 and side % 2 == 0 for side in frames[0].shape[:2])
