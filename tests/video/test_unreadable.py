"""Files that FFmpeg opens but does not read right: read, or refused in a sentence that says why."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from tests.media import can_encode, counter_picture, read_counter, write_video
from videolib import VideoReadError, extract_frames, probe_video

KEYS = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}
AV1 = {"preset": "12", "svtav1-params": "keyint=20"}


def save_animation(path: Path, count: int = 20) -> Path:
    first, *others = [Image.fromarray(counter_picture(number)) for number in range(count)]
    first.save(path, save_all=bool(others), append_images=others, duration=100)
    return path


def assert_counts_to_twenty(path: Path) -> None:
    assert probe_video(path).duration_seconds == pytest.approx(2)
    frames = list(extract_frames(path, every_seconds=0.1))
    assert [read_counter(frame.image) for frame in frames] == [*range(20)]


def test_an_avif_sequence_is_more_than_its_still(tmp_path):
    if not can_encode("libsvtav1"):
        pytest.skip("this PyAV has no encoder libsvtav1")
    assert_counts_to_twenty(write_video(tmp_path / "a.avif", "libsvtav1", count=20, rate=10, options=AV1))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_an_avif_sequence_of_another_program(tmp_path):
    assert_counts_to_twenty(save_animation(tmp_path / "a.avif"))


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow writes no WebP")
def test_an_animated_webp_is_called_one(tmp_path):
    with pytest.raises(
        VideoReadError, match=r"a.webp is an animated WebP, which FFmpeg cannot read; convert"
    ):
        probe_video(save_animation(tmp_path / "a.webp"))
    with pytest.raises(VideoReadError, match="is a text or a still picture"):
        probe_video(save_animation(tmp_path / "still.webp", count=1))


@pytest.mark.parametrize("flags", ["faststart", "disable_chpl", "+frag_keyframe+empty_moov"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_an_encrypted_mp4_is_called_one(codec, flags, tmp_path):
    path = write_video(tmp_path / "locked.mp4", codec, container_options=KEYS | {"movflags": flags})
    with pytest.raises(VideoReadError, match=r"locked.mp4 is encrypted; pass a copy without protection"):
        probe_video(path)


def test_an_mp4_that_says_encv_is_not_thereby_encrypted(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures=[np.zeros((64, 96, 3), np.uint8)] * 3)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"VideoHandler", b"encv Handler"))
    assert path.read_bytes() != content
    assert len(list(extract_frames(path, every_seconds=0.1))) == 1
