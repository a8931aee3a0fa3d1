"""Cut clips: the frames and the sound of the part that was asked for, in step; and nothing half written."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media import can_encode, counter_picture, read_counter, remux, set_edits, write_fields, write_video
from tests.sounding import RATE, find_beep, find_flash, write_sounding
from videolib import Clip, VideoReadError, cut_clip, extract_frames, probe_video

IN_STEP = 0.04
AT = 1.5  # seconds of the flash and the beep
VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "15"}
X265 = {"preset": "ultrafast", "x265-params": "keyint=15:log-level=none"}
AV1 = {"preset": "12", "svtav1-params": "keyint=15"}
FILES = {  # file name: codec, sound, options, whether it can be copied
    "h264.mp4": ("libx264", "aac", {"g": "15"}, True),
    "closed.mp4": ("libx264", "aac", {"g": "15", "bf": "0"}, True),
    "h264.mkv": ("libx264", "libopus", {"g": "15"}, True),
    "mp3.mkv": ("libx264", "libmp3lame", {"g": "15"}, True),
    "pcm.mkv": ("libx264", "pcm_s16le", {"g": "15"}, True),
    "h264.ts": ("libx264", "aac", {"g": "15"}, True),
    "h264.flv": ("libx264", "aac", {"g": "15"}, True),
    "vp9.webm": ("libvpx-vp9", "libopus", VP9, True),
    "av1.mp4": ("libsvtav1", "aac", AV1, True),
    "vp8.webm": ("libvpx", "libopus", VP9, False),
    "hevc.mp4": ("libx265", "aac", X265, False),
    "mpeg4.mp4": ("mpeg4", "aac", {"g": "15"}, False),
    "mpeg4.avi": ("mpeg4", "libmp3lame", {"g": "15"}, False),
    "h264.avi": ("libx264", "libmp3lame", {"g": "15"}, False),
    "mpeg2.mpg": ("mpeg2video", "mp2", {"g": "15"}, False),
    "mjpeg.mov": ("mjpeg", "pcm_s16le", {}, False),
}


def write(folder: Path, name: str, **how) -> Path:
    codec, sound, options, _ = FILES[name]
    if not (can_encode(codec) and can_encode(sound)):
        pytest.skip(f"this PyAV has no encoder {codec} or {sound}")
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    return write_sounding(folder / name, codec, sound, options=options, pixel_format=pixel_format, **how)


def streams(path: Path) -> list[tuple[str, int]]:
    """The codec of each stream, and how many packets it has."""
    with av.open(str(path)) as container:
        counts = [0] * len(container.streams)
        for packet in container.demux():
            counts[packet.stream_index] += packet.size > 0
        names = [stream.codec_context.codec.canonical_name for stream in container.streams]
    return list(zip(names, counts, strict=True))


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    """Every frame and its time from the first, straight from FFmpeg."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return [(time - frames[0][0], image) for time, image in frames]


@pytest.mark.parametrize("name", FILES)
def test_an_exact_clip_shows_what_extract_frames_shows_at_each_time(name, tmp_path):
    path = write(tmp_path, name)
    clip = cut_clip(path, 0.9, 1.9, tmp_path / "clip.mp4")
    assert clip == Clip(0.9, 1.9, has_sound=True, is_copied=False)
    wanted = {
        round(frame.timestamp_seconds - 0.9, 2): frame.image
        for frame in extract_frames(path, every_seconds=0.01, start_seconds=0.9, end_seconds=1.9)
    }
    shown = {
        round(frame.timestamp_seconds, 2): frame.image
        for frame in extract_frames(tmp_path / "clip.mp4", every_seconds=0.01)
    }
    assert len(wanted) == 100
    assert shown.keys() >= wanted.keys()
    same = [read_counter(shown[time]) == read_counter(wanted[time]) for time in wanted]
    assert sum(same) >= 98  # Matroska and FLV round times to 1 ms, so that a sample may be one frame off
    for time in (0.2, 0.45, 0.75):
        assert np.abs(shown[time].astype(int) - wanted[time]).mean() < 6
    assert len(frames_of(tmp_path / "clip.mp4")) in (30, 31)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_the_sound_is_in_step(name, exact, tmp_path):
    path = write(tmp_path, name)
    late = find_beep(path) - AT  # by its encoder
    white = (f for f in extract_frames(path, every_seconds=1 / 60) if f.image[48:].mean() > 128)
    known = next(white).timestamp_seconds  # a frame later in AVI, which counts its packets
    clip = cut_clip(path, 1.1, 2.0, tmp_path / "clip.mp4", exact=exact)
    assert clip.has_sound
    assert clip.is_copied == (not exact and FILES[name][3])
    flash, beep = find_flash(tmp_path / "clip.mp4"), find_beep(tmp_path / "clip.mp4")
    assert flash == pytest.approx(known - clip.start_seconds, abs=0.02)
    assert beep - late == pytest.approx(flash, abs=IN_STEP)
    sounds = [name for name, _ in streams(tmp_path / "clip.mp4")][1:]
    assert len(sounds) == 1
    assert sounds[0] in ("aac", "opus", "mp3")


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file[3]])
def test_a_copied_clip_has_the_packets_from_the_keyframe_before_the_start(name, tmp_path):
    path = write(tmp_path, name)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        first = min(packet.pts for packet in packets)
        keys = [float((p.pts - first) * stream.time_base) for p in packets if p.is_keyframe]
    clip = cut_clip(path, 1.1, 1.6, tmp_path / "clip.mp4", exact=False)
    assert clip.start_seconds == pytest.approx(max(key for key in keys if key <= 1.1), abs=1e-6)
    assert clip.start_seconds == pytest.approx(1.0, abs=0.002)
    assert 1.6 <= clip.end_seconds <= 1.7
    copied = frames_of(tmp_path / "clip.mp4")
    expected = range(RATE, round(clip.end_seconds * RATE))
    assert [read_counter(image) for _, image in copied] == pytest.approx(list(expected), abs=0)
    assert [time for time, _ in copied] == pytest.approx([n / RATE for n in range(len(copied))], abs=0.002)


@pytest.mark.parametrize("name", ["video.mp4", "video.mkv", "video.ts"])
def test_pictures_that_need_those_before_a_keyframe_are_not_copied(name, tmp_path):
    path = write_video(
        tmp_path / name, options={"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0"}
    )
    clip = cut_clip(path, 1.0, 1.4, tmp_path / "clip.mp4", exact=False)
    assert clip.is_copied
    first = round(clip.start_seconds * RATE)
    assert 15 <= first <= 30
    shown = [read_counter(image) for _, image in frames_of(tmp_path / "clip.mp4")]
    assert shown == list(range(first, first + len(shown)))
    assert 42 <= first + len(shown) <= 46
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert min(packet.pts for packet in container.demux(video=0) if packet.size) == 0


@pytest.mark.parametrize("name", ["video.mp4", "video.mkv"])
def test_an_intra_refresh_has_no_keyframe_to_copy_from(name, tmp_path):
    path = write_video(tmp_path / name, options={"x264-params": "intra-refresh=1:keyint=12"})
    clip = cut_clip(path, 1.0, 1.4, tmp_path / "clip.mp4", exact=False)
    assert not clip.is_copied
    shown = [read_counter(image) for _, image in frames_of(tmp_path / "clip.mp4")]
    assert shown == list(range(30, 42))


def test_pixels_that_are_not_square(tmp_path):
    path = write_video(tmp_path / "video.mp4", aspect=Fraction(2), options={"g": "15"})
    for exact in (True, False):
        clip = cut_clip(path, 1, 1.5, tmp_path / "clip.mp4", exact=exact)
        video = probe_video(tmp_path / "clip.mp4")
        assert (video.width, video.height, clip.is_copied) == (192, 64, not exact)


def test_a_variable_rate_is_kept(tmp_path):
    times = [0, 0.1, 0.15, 0.5, 0.55, 0.9, 1.4, 1.5, 1.52, 1.56, 2.2]
    path = write_sounding(tmp_path / "video.mp4", times=times, at=0.5)
    cut_clip(path, 0.3, 1.54, tmp_path / "clip.mp4")
    shown = frames_of(tmp_path / "clip.mp4")
    assert [time for time, _ in shown] == pytest.approx([0, 0.2, 0.25, 0.6, 1.1, 1.2, 1.22], abs=1e-4)
    assert [read_counter(image) for _, image in shown] == [2, 3, 4, 5, 6, 7, 8]
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(1.24, abs=1e-3)
    assert find_beep(tmp_path / "clip.mp4") == pytest.approx(0.2, abs=IN_STEP)


@pytest.mark.parametrize("exact", [True, False])
def test_a_rotated_video_is_upright(exact, tmp_path):
    path = write_sounding(tmp_path / "video.mp4", rotation=90)
    clip = cut_clip(path, 0.5, 1, tmp_path / "clip.mp4", exact=exact)
    assert not clip.is_copied
    wanted = next(extract_frames(path, every_seconds=0.5, start_seconds=0.5)).image
    shown = next(extract_frames(tmp_path / "clip.mp4")).image
    assert shown.shape == wanted.shape == (96, 64, 3)
    assert np.abs(shown.astype(int) - wanted).mean() < 6
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


@pytest.mark.parametrize("exact", [True, False])
def test_of_several_sound_tracks_it_has_the_default_one(exact, tmp_path):
    path = write_sounding(tmp_path / "video.mkv", at=1.2, beeps=[0.3, 1.2, 2.0], default=1)
    clip = cut_clip(path, 0, 2.4, tmp_path / "clip.mp4", exact=exact)
    assert len(streams(tmp_path / "clip.mp4")) == 2
    assert find_beep(tmp_path / "clip.mp4") == pytest.approx(1.2 - clip.start_seconds, abs=IN_STEP)


@pytest.mark.parametrize("exact", [True, False])
def test_a_video_without_sound(exact, tmp_path):
    path = write_video(tmp_path / "video.mp4")
    clip = cut_clip(path, 0.5, 1, tmp_path / "clip.mp4", exact=exact)
    assert not clip.has_sound
    assert [name for name, _ in streams(tmp_path / "clip.mp4")] == ["h264"]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("heard", [(0.0, 1.7), (1.2, 2.4), (0.0, 4.0), (1.45, 1.65)])
def test_sound_that_is_shorter_or_longer_than_the_pictures_stays_in_step(heard, exact, tmp_path):
    path = write_sounding(tmp_path / "video.mkv", heard=heard)
    clip = cut_clip(path, 1, 9, tmp_path / "clip.mp4", exact=exact)
    assert clip.end_seconds == pytest.approx(2.4, abs=0.002)
    assert find_flash(tmp_path / "clip.mp4") == pytest.approx(AT - clip.start_seconds, abs=0.002)
    assert find_beep(tmp_path / "clip.mp4") == pytest.approx(AT - clip.start_seconds, abs=IN_STEP)
    assert probe_video(tmp_path / "clip.mp4").duration_seconds == pytest.approx(1.4, abs=0.04)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.duration / av.time_base <= 1.4 + IN_STEP


@pytest.mark.parametrize("sample_rate", [11025, 44100, 96000])
def test_every_rate_of_samples(sample_rate, tmp_path):
    path = write_sounding(tmp_path / "video.mkv", sound="flac", sample_rate=sample_rate)
    for exact in (True, False):
        clip = cut_clip(path, 1.1, 2, tmp_path / "clip.mp4", exact=exact)
        assert find_beep(tmp_path / "clip.mp4") == pytest.approx(AT - clip.start_seconds, abs=IN_STEP)


def test_from_the_beginning_to_past_the_end(tmp_path):
    path = write_sounding(tmp_path / "video.mp4")
    for exact in (True, False):
        clip = cut_clip(path, 0, 99, tmp_path / "clip.mp4", exact=exact)
        assert (clip.start_seconds, clip.end_seconds) == pytest.approx((0, 2.4), abs=0.001)
        assert [read_counter(image) for _, image in frames_of(tmp_path / "clip.mp4")] == list(range(72))
        assert find_beep(tmp_path / "clip.mp4") == pytest.approx(AT, abs=IN_STEP)


@pytest.mark.parametrize("exact", [True, False])
def test_edit_lists(exact, tmp_path):
    moved = remux(write_video(tmp_path / "video.mp4"), tmp_path / "moved.mp4", shift_seconds=Fraction(-1, 2))
    edited = set_edits(
        tmp_path / "video.mp4",
        tmp_path / "edited.mp4",
        [(Fraction(1), Fraction(1)), (Fraction(0), Fraction(1))],
    )
    for path in (moved, edited):
        clip = cut_clip(path, 0.4, 1.2, tmp_path / "clip.mp4", exact=exact)
        assert clip.start_seconds >= 0  # what an edit list hides stays hidden
        wanted = [
            read_counter(frame.image)
            for frame in extract_frames(path, every_seconds=1 / 30, start_seconds=0.4, end_seconds=1.2)
        ]
        shown = [
            read_counter(frame.image)
            for frame in extract_frames(
                tmp_path / "clip.mp4", every_seconds=1 / 30, start_seconds=round(0.4 - clip.start_seconds, 6)
            )
        ]
        assert shown[: len(wanted)] == wanted


@pytest.mark.parametrize("exact", [True, False])
def test_two_recordings_in_a_row(exact, tmp_path):
    parts = [write_sounding(tmp_path / f"{place}.ts", at=at) for place, at in enumerate((0.5, 1.5))]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = cut_clip(path, 3, 4.5, tmp_path / "clip.mp4", exact=exact)
    assert not clip.is_copied
    assert find_flash(tmp_path / "clip.mp4") == pytest.approx(0.9, abs=0.04)
    assert find_beep(tmp_path / "clip.mp4") == pytest.approx(find_flash(tmp_path / "clip.mp4"), abs=IN_STEP)


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("exact", [True, False])
def test_pictures_in_two_fields(exact, joined, tmp_path):
    path = write_fields(tmp_path / "video.mkv", joined=joined)
    clip = cut_clip(path, 0.6, 1.2, tmp_path / "clip.mp4", exact=exact)
    shown = [
        read_counter(image)
        for time, image in frames_of(tmp_path / "clip.mp4")
        if 0.6 <= time + clip.start_seconds + 0.002 < 1.2
    ]
    assert list(dict.fromkeys(shown)) == list(range(18, 36))


def test_10_bits_are_not_copied(tmp_path):
    path = write_video(tmp_path / "video.mp4", pixel_format="yuv420p10le")
    assert not cut_clip(path, 0.5, 1, tmp_path / "clip.mp4", exact=False).is_copied


def test_a_clip_is_no_larger_than_asked_for(tmp_path):
    path = write_video(tmp_path / "video.mp4", size=(322, 178))
    for long_side, size in ((100, (100, 56)), (None, (322, 178)), (4000, (322, 178)), (1, (2, 2))):
        cut_clip(path, 0, 0.2, tmp_path / "clip.mp4", long_side=long_side)
        video = probe_video(tmp_path / "clip.mp4")
        assert (video.width, video.height) == size


def test_frames_are_left_out_where_there_are_too_many(tmp_path):
    path = write_video(tmp_path / "video.mp4")
    cut_clip(path, 0.5, 1.5, tmp_path / "clip.mp4", frames_per_second=10)
    assert [read_counter(image) for _, image in frames_of(tmp_path / "clip.mp4")] == list(range(15, 45, 3))


def test_it_begins_at_once_in_a_browser(tmp_path):
    path = write_sounding(tmp_path / "video.mp4")
    for exact in (True, False):
        cut_clip(path, 0.5, 1, tmp_path / "clip.mp4", exact=exact)
        content = (tmp_path / "clip.mp4").read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("exact", [True, False])
def test_to_an_open_file(exact, tmp_path):
    path = write_sounding(tmp_path / "video.mp4")
    buffer = io.BytesIO()
    clip = cut_clip(path, 1.1, 2, buffer, exact=exact)
    assert find_flash(buffer.getvalue()) == pytest.approx(AT - clip.start_seconds, abs=0.002)


def test_the_picture_is_in_the_colours_of_extract_frames(tmp_path):
    red = [np.full((64, 96, 3), (220, 30, 20), dtype=np.uint8)] * 10
    hd = [np.full((720, 1280, 3), (220, 30, 20), dtype=np.uint8)] * 3
    for path in (
        write_video(tmp_path / "sd.mp4", pictures=red),
        write_video(tmp_path / "hd.mp4", pictures=hd, size=(1280, 720)),
        write_video(
            tmp_path / "hdr.mkv",
            "ffv1",
            pictures=red,
            pixel_format="yuv444p10le",
            color={"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1},
        ),
    ):
        cut_clip(path, 0, 1, tmp_path / "clip.mp4")
        wanted = next(extract_frames(path)).image.mean(axis=(0, 1))
        shown = next(extract_frames(tmp_path / "clip.mp4")).image.mean(axis=(0, 1))
        np.testing.assert_allclose(shown, wanted, atol=4)


def test_what_is_damaged_is_left_out_with_a_warning(tmp_path):
    path = write_video(tmp_path / "video.mkv", options={"g": "60"}, count=90)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"samples could not be read"):
        clip = cut_clip(path, 0, 3, tmp_path / "clip.mp4")
    assert clip.end_seconds == pytest.approx(3, abs=0.01)
    assert probe_video(tmp_path / "clip.mp4").duration_seconds == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (-1, 1, "start_seconds must be finite and not negative, got -1; pass 0"),
        (float("nan"), 1, "start_seconds must be finite"),
        (1, 1, r"end_seconds must be finite and greater than start_seconds=1, got 1; pass"),
        (1, float("inf"), "end_seconds must be finite"),
        (2, 3, "start_seconds must lie within the video, got 2: .* lasts 2.000 seconds"),
        (50, 60, "start_seconds must lie within the video, got 50: .* lasts 2.000 seconds"),
    ],
)
@pytest.mark.parametrize("exact", [True, False])
def test_wrong_parts_are_refused_and_leave_nothing(start, end, message, exact, tmp_path):
    path = write_video(tmp_path / "video.mp4")
    with pytest.raises(ValueError, match=message):
        cut_clip(path, start, end, tmp_path / "clip.mp4", exact=exact)
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_targets_are_refused(tmp_path):
    path = write_video(tmp_path / "video.mp4")
    before = path.read_bytes()
    (tmp_path / "link.mp4").symlink_to(path)
    for to, message in (
        (path, "to must not be the video itself"),
        (tmp_path / "link.mp4", "to must not be the video itself"),
        (tmp_path / "clip.webm", r"to must be the path of an .mp4 file, got .*clip.webm; name it clip.mp4"),
        (tmp_path / "none" / "clip.mp4", r"to must lie in a folder that exists, got .*; make .*none first"),
    ):
        with pytest.raises(ValueError, match=message):
            cut_clip(path, 0, 1, to)
    for options in ({"long_side": 0}, {"frames_per_second": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be 1 or more, got 0; pass None"):
            cut_clip(path, 0, 1, tmp_path / "clip.mp4", **options)
    assert path.read_bytes() == before
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_no_video_is_an_error_and_an_older_clip_stays(exact, tmp_path):
    older = tmp_path / "clip.mp4"
    older.write_bytes(b"older")
    (tmp_path / "text.mp4").write_text("no video " * 100)
    with pytest.raises(VideoReadError, match=r"missing.mp4 does not exist"):
        cut_clip(tmp_path / "missing.mp4", 0, 1, older, exact=exact)
    with pytest.raises(VideoReadError, match=r"text.mp4"):
        cut_clip(tmp_path / "text.mp4", 0, 1, older, exact=exact)
    with pytest.raises(ValueError, match=r"path must be a local file"):
        cut_clip("https://host.example/video.mp4", 0, 1, older, exact=exact)
    assert older.read_bytes() == b"older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "text.mp4"]


def test_a_part_without_a_readable_frame_is_an_error_and_leaves_nothing(tmp_path):
    pictures = [counter_picture(number) for number in range(60)]
    path = write_video(
        tmp_path / "video.mkv",
        "ffv1",
        pictures=pictures,
        pixel_format="yuv444p",
        options={"g": "1", "slicecrc": "1", "level": "3"},
    )
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for place, size in places[30:45]:
        content[place + size // 2 : place + size // 2 + 40] = bytes(40)
    path.write_bytes(content)
    with (
        pytest.warns(UserWarning, match="could not be read"),
        pytest.raises(VideoReadError, match=r"no readable frame from 1 to 1.5 seconds"),
    ):
        cut_clip(path, 1.0, 1.5, tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == [path]
