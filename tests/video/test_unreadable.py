"""Files that FFmpeg opens but does not read right: read, or refused in a sentence that says why."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from tests.heif_files import write_heic
from tests.light import LightEncoder
from tests.media import can_encode, counter_picture, read_counter, write_video
from videolib import VideoReadError, extract_frames, ingest, open_image, probe_video

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
    with pytest.raises(VideoReadError, match="is a still picture, not a video"):
        probe_video(save_animation(tmp_path / "still.webp", count=1))


STILLS = [
    "JPEG",
    "PNG",
    "WEBP",
    "AVIF",
    "TIFF",
    "BMP",
    "GIF",
    "ICO",
    "PPM",
    "JPEG2000",
    "MPO",
    "HEIC",
    "tiles",
]


def save_still(path: Path, kind: str) -> Path:
    if kind in ("HEIC", "tiles"):
        path.write_bytes(write_heic(counter_picture(5), tile=64 if kind == "tiles" else None))
    else:
        Image.fromarray(counter_picture(5)).save(path, kind)
    return path


@pytest.mark.parametrize("kind", STILLS)
def test_a_still_picture_is_no_video(kind, tmp_path, store):
    if kind.lower() in ("avif", "webp") and not features.check(kind.lower()):
        pytest.skip(f"this Pillow writes no {kind}")
    if kind in ("HEIC", "tiles") and not can_encode("libx265"):
        pytest.skip("this PyAV has no encoder libx265")
    path = save_still(tmp_path / "picture.mp4", kind)
    assert open_image(path).mode == "RGB"
    for call in (
        lambda: probe_video(path),
        lambda: extract_frames(path),
        lambda: ingest(path, LightEncoder(), store, progress=False),
    ):
        with pytest.raises(VideoReadError, match=r"is a still picture, .*image_query.*open_image$"):
            call()
    assert store.list_videos(missing_ok=True).empty


@pytest.mark.parametrize("kind", ["GIF", "PNG", "AVIF"])
def test_an_animation_is_a_video(kind, tmp_path):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    path = tmp_path / "a.mp4"
    save_animation(tmp_path / f"a.{kind.lower()}").rename(path)
    assert len(list(extract_frames(path, every_seconds=0.1))) == 20


def test_a_video_of_one_frame_is_no_still(tmp_path):
    assert len(list(extract_frames(write_video(tmp_path / "one.mp4", count=1)))) == 1


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
