from pathlib import Path

import numpy as np
import pytest

from tests.media import read_counter, write_video
from videolib import VideoReadError, read_frame


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds at 30 frames a second, each with its number."""
    return write_video(tmp_path_factory.mktemp("plain") / "plain.mp4", count=90, options={"g": "30"})


@pytest.mark.parametrize(
    ("seconds", "number"),
    [(0, 0), (0.05, 1), (1, 30), (1.99, 59), (2.95, 88), (2.99, 89), (3, 89), (1e9, 89)],
)
def test_it_is_the_frame_on_screen_then_or_the_last(path: Path, seconds: float, number: int) -> None:
    frame = read_frame(path, seconds)
    assert read_counter(frame.image) == number
    assert frame.timestamp_seconds == pytest.approx(min(seconds, 89 / 30))


def test_a_video_of_one_frame_has_it_at_any_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "one.mp4", count=1)
    np.testing.assert_array_equal(read_frame(path).image, read_frame(path, 15).image)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_what_is_no_time_is_refused(path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be finite and not negative"):
        read_frame(path, seconds)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(VideoReadError, match="does not exist"):
        read_frame("nowhere.mp4")
