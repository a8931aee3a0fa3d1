"""A reel shows its moments one after the other, in one size, under their titles and times, and in step."""

import io
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_video
from tests.media import counter_picture, write_video
from tests.sounding import find_beep, find_flash, write_sounding
from videolib import StoreError, VideoReadError, extract_frames, make_reel, probe_video, read_frame

SIZE = {"width": 320, "height": 180, "progress": False}


def make_moments(*rows: tuple[object, float, float], **columns) -> pd.DataFrame:
    """One row for each (source, start_seconds, end_seconds)."""
    return pd.DataFrame(rows, columns=["source", "start_seconds", "end_seconds"]).assign(**columns)


def test_it_joins_the_moments_in_their_order(tmp_path):
    first = write_video(tmp_path / "first.mp4", size=(320, 180))
    second = write_video(tmp_path / "second.mkv", "libx264", size=(320, 180), rate=25)
    moments = make_moments((second, 1.0, 1.6), (first, 0.5, 1.0), (second, 0.0, 0.4))
    before = moments.copy()
    make_reel(moments, tmp_path / "reel.mp4", **SIZE)
    pd.testing.assert_frame_equal(moments, before)
    shown = {
        round(frame.timestamp_seconds, 2): frame.image
        for frame in extract_frames(tmp_path / "reel.mp4", every_seconds=0.1)
    }
    assert sorted(shown) == [n / 10 for n in range(15)]
    drawn = np.array([counter_picture(number, (320, 180))[60:] for number in range(60)], dtype=int)
    for time, number in {0.3: 32, 0.7: 18, 0.8: 21, 0.9: 24, 1.2: 2}.items():
        below_the_label = shown[time][60:].astype(int)
        assert np.abs(drawn - below_the_label).mean(axis=(1, 2, 3)).argmin() == number
    assert probe_video(tmp_path / "reel.mp4").duration_seconds == pytest.approx(1.5, abs=0.005)


def test_each_has_its_title_and_its_time_in_the_corner(tmp_path):
    black = [np.zeros((180, 320, 3), np.uint8)] * 130
    path = write_video(tmp_path / "dark.mp4", size=(320, 180), pictures=black, rate=1)
    titles = ["one", "$x_1$ {0}", "车 🚗 " + "é" * 300, None, ""]
    moments = make_moments(*[(path, 65.0, 67.0)] * 4, (path, 66.0, 68.0), title=titles, rank=range(1, 6))
    make_reel(moments, tmp_path / "reel.mp4", **SIZE)
    corners = [read_frame(tmp_path / "reel.mp4", 2 * n + 0.5).image.astype(int) for n in range(5)]
    for image in corners:
        assert (image[:60] > 150).sum() > 60  # letters
        assert image[60:].max() < 40
        assert image[:, -2:].max() < 60
    for one, other in pairwise(corners):
        assert np.abs(one - other).max() > 100


def test_every_shape_fits_into_one_size(tmp_path):
    white = np.full((96, 96, 3), 255, np.uint8)
    tall = write_video(tmp_path / "tall.mp4", size=(32, 96), pictures=[white[:, :32]] * 10)
    wide = write_video(tmp_path / "wide.mp4", size=(96, 16), pictures=[white[:16]] * 10)
    make_reel(make_moments((tall, 0, 0.3), (wide, 0, 0.3)), tmp_path / "reel.mp4", **SIZE)
    first, second = (read_frame(tmp_path / "reel.mp4", time).image for time in (0.1, 0.4))
    assert first.shape == second.shape == (180, 320, 3)
    assert first[90].mean(axis=-1).astype(int)[[100, 160, 220]].tolist() == pytest.approx([0, 255, 0], abs=8)
    assert (first[90] > 128).all(axis=-1).sum() == pytest.approx(60, abs=3)
    assert (second[:, 160] > 128).all(axis=-1).sum() == pytest.approx(53, abs=3)


def test_the_sound_of_each_is_in_step_and_silence_stands_for_none(tmp_path):
    mute = write_video(tmp_path / "mute.mp4", pictures=[np.zeros((64, 96, 3), np.uint8)] * 60)
    mono = write_sounding(tmp_path / "mono.mp4", sample_rate=44100)
    moments = make_moments((mute, 0, 1.51), (mono, 0, 0.7), (mono, 1.0, 1.9))
    make_reel(moments, tmp_path / "reel.mp4", **SIZE)
    flash = find_flash(tmp_path / "reel.mp4")
    assert flash == pytest.approx(1.51 + 0.7 + 0.5, abs=0.002)
    assert find_beep(tmp_path / "reel.mp4") == pytest.approx(flash, abs=0.04)


def test_it_has_no_sound_if_no_video_has(tmp_path):
    path = write_video(tmp_path / "mute.mp4")
    buffer = io.BytesIO()
    make_reel(make_moments((path, 0, 0.5)), buffer, **SIZE)
    assert b"soun" not in buffer.getvalue()
    assert b"vide" in buffer.getvalue()


def test_the_store_knows_where_the_videos_are(store, tmp_path, capsys):
    path = write_video(tmp_path / "video.mp4")
    store.write_video(make_video("v1", source=str(path)), model="m", dimension=4, every_seconds=1.0)
    moments = make_moments(("elsewhere.mp4", 0.5, 1.0), video_id="v1").drop(columns="source")
    make_reel(moments, tmp_path / "reel.mp4", store=store, **SIZE | {"progress": True})
    assert probe_video(tmp_path / "reel.mp4").duration_seconds == pytest.approx(0.5, abs=0.005)
    assert "1/1" in capsys.readouterr().err
    with pytest.raises(StoreError, match=r"the store has no video 'v2' any more; leave its moments out"):
        make_reel(moments.assign(video_id="v2"), tmp_path / "reel.mp4", store=store)


def test_a_file_that_was_moved_is_found_again_once_the_store_knows(store, tmp_path):
    path = write_video(tmp_path / "video.mp4")
    video = probe_video(path)
    store.write_video(video, model="m", dimension=4, every_seconds=1.0)
    moments = make_moments((path, 0.5, 1.0), video_id=video.video_id).drop(columns="source")
    moved = path.rename(tmp_path / "elsewhere.mp4")
    with pytest.raises(
        VideoReadError, match=r"/video.mp4 is gone.* tell the store by relocate_video\(video_id, path"
    ):
        make_reel(moments, tmp_path / "reel.mp4", store=store, **SIZE)
    store.relocate_video(video.video_id, moved)
    make_reel(moments, tmp_path / "reel.mp4", store=store, **SIZE)
    assert probe_video(tmp_path / "reel.mp4").duration_seconds == pytest.approx(0.5, abs=0.005)


def test_a_video_that_is_gone_is_named_with_its_place_before_anything_is_written(tmp_path):
    path = write_video(tmp_path / "video.mp4")
    moments = make_moments((path, 0, 1), (tmp_path / "gone.mp4", 0, 1))
    with pytest.raises(
        VideoReadError, match=r"/.*gone.mp4 is gone.*: if a file was moved, put its path into"
    ):
        make_reel(moments, tmp_path / "reel.mp4", **SIZE)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda m: m.head(0), {}, "moments must have at least one row"),
        (lambda m: m.drop(columns="source"), {}, "missing: source; pass store, which knows the sources"),
        (lambda m: m.drop(columns="end_seconds"), {}, "missing: end_seconds"),
        (
            lambda m: m.assign(start_seconds=9.0, end_seconds=10.0),
            {},
            "start_seconds must lie within the video",
        ),
        (
            lambda m: m.assign(end_seconds=0.0),
            {},
            "end_seconds must be finite and greater than start_seconds",
        ),
        (lambda m: m, {"width": 321}, "width and height must be even and 2 or more, got 321 x 180"),
        (lambda m: m, {"height": 0}, "width and height must be even"),
    ],
)
def test_what_cannot_be_joined_is_refused_and_leaves_nothing(change, options, message, tmp_path):
    path = write_video(tmp_path / "video.mp4")
    moments = change(make_moments((path, 0.0, 1.0)))
    with pytest.raises(ValueError, match=message):
        make_reel(moments, tmp_path / "reel.mp4", **SIZE | options)
    with pytest.raises(ValueError, match="to must not be the video itself"):
        make_reel(make_moments((path, 0.0, 1.0)), path, **SIZE)
    assert list(tmp_path.iterdir()) == [path]
