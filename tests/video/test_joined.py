"""Several recordings in one file: laid one after the other, or refused by name; never mixed."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import pytest

from tests.media import can_encode, counter_picture, read_counter, remux, write_video
from videolib import VideoReadError, extract_frames, probe_video
from videolib.video import read_timeline
from videolib.video.demux import read_packets
from videolib.video.joined import lay_in_a_row

T = TypeVar("T")
FIRST, SECOND = range(40), range(100, 160)
GOP = {"options": {"g": "15"}}
MPEG2 = {"options": {"bf": "2", "g": "12"}}
X265 = {"options": {"preset": "ultrafast", "x265-params": "keyint=15:log-level=none"}}
VP8 = {"options": {"deadline": "realtime", "cpu-used": "8", "g": "15"}}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def write_joined(path: Path, codec: str, *parts: range, **how) -> Path:
    """Write several videos of the same kind, one after the other, into one file."""
    content = b""
    for place, numbers in enumerate(parts):
        part = path.with_name(f"part{place}-{path.name}")
        write_video(part, codec, pictures=[counter_picture(number) for number in numbers], **how)
        content += part.read_bytes()
    path.write_bytes(content)
    return path


def numbers_of(path: Path, **how) -> list[int]:
    return [read_counter(frame.image) for frame in extract_frames(path, every_seconds=1 / 30, **how)]


def whole(call: Callable[..., T], *arguments: object) -> T:
    """Call with no other warning than the one of the joint.

    The packets of a transport stream are counted, and where the count begins anew FFmpeg marks the last two
    pictures as damaged: nobody knows whether they are whole.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings(
            "ignore", r".*\.ts: (it is damaged; keyframes or shots|\d+ of \d+ samples could not)"
        )
        return call(*arguments)


def missing(got: list[int], *parts: range) -> set[int]:
    """The pictures that did not come; none came that should not."""
    expected = {number for part in parts for number in part}
    assert set(got) <= expected
    return expected - set(got)


@pytest.mark.parametrize(
    ("file", "codec", "how"),
    [
        ("h264.ts", "libx264", GOP),
        ("hevc.ts", "libx265", X265),
        ("mpeg2.ts", "mpeg2video", MPEG2),
        ("program.mpg", "mpeg2video", MPEG2),
        ("dvd.vob", "mpeg2video", MPEG2),
        ("raw.h264", "libx264", GOP),
        ("raw.m2v", "mpeg2video", MPEG2),
    ],
)
def test_the_second_recording_comes_after_the_first(file, codec, how, tmp_path):
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no encoder {codec}")
    path = write_joined(tmp_path / file, codec, FIRST, SECOND, **how)
    timeline = read_timeline(path)
    assert float(timeline.duration) == pytest.approx(100 / 30, abs=0.05)
    got = whole(numbers_of, path)
    # a new part may begin one frame late, where its pictures are shown later than they are decoded
    assert got == sorted(got)
    lost = missing(got, FIRST, SECOND)
    assert lost <= {*FIRST[-4:]}  # the last two in the file
    assert len(lost) <= 2 * file.endswith(".ts")
    late = numbers_of(path, start_seconds=2.6)
    assert len(late) == len(SECOND) - 38
    assert late == got[-len(late) :]


def test_three_in_a_row_whose_clocks_go_up_and_down(tmp_path):
    parts = [range(20, 50), range(300, 330), range(600, 640)]
    files = []
    for place, (numbers, later) in enumerate(zip(parts, (500, 5000, 480), strict=True)):
        pictures = [counter_picture(number) for number in numbers]
        times = [30 * later + number for number in range(len(numbers))]
        files.append(write_video(tmp_path / f"{place}.ts", pictures=pictures, times=times, **GOP))
    path = tmp_path / "three.ts"
    path.write_bytes(b"".join(file.read_bytes() for file in (files[1], files[0], files[2])))
    timeline = read_timeline(path)
    # FFmpeg takes a clock that is over a minute lower for one that has gone round once
    assert float(timeline.duration) == pytest.approx(100 / 30, abs=0.05)
    got = list(dict.fromkeys(whole(numbers_of, path)))
    lost = missing(got, *parts)
    assert lost <= {*parts[0][-4:], *parts[1][-4:]}
    assert len(lost) <= 4
    assert got == [number for part in (parts[1], parts[0], parts[2]) for number in part if number in got]


def test_what_lacks_its_keyframe_is_left_out(tmp_path):
    first = write_video(tmp_path / "first.ts", pictures=[counter_picture(n) for n in FIRST], **GOP)
    other = write_video(tmp_path / "other.ts", pictures=[counter_picture(n) for n in SECOND], **GOP)
    second = remux(other, tmp_path / "second.ts", first_packet=5)
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    got = whole(numbers_of, path)
    assert got == sorted(got)
    lost = missing(got, FIRST, range(115, 160))
    assert lost <= {*FIRST[-4:]}
    assert len(lost) <= 2


@pytest.mark.parametrize("sampling", ["keyframes", "shots"])
def test_other_samplings_see_both(sampling, tmp_path):
    path = write_joined(tmp_path / "two.ts", "libx264", FIRST, SECOND, **GOP)
    frames = whole(lambda: list(extract_frames(path, every_seconds=0.2, sampling=sampling)))
    times = [frame.timestamp_seconds for frame in frames]
    assert times == sorted(times)
    numbers = [read_counter(frame.image) for frame in frames]
    if sampling == "keyframes":
        assert numbers == [0, 15, 30, 100, 115, 130, 145]
        assert times == pytest.approx([n / 30 for n in (0, 15, 30, 40, 55, 70, 85)], abs=0.001)
    else:
        assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("file", "codec", "how"),
    [
        ("h264.mkv", "libx264", GOP),
        ("vp8.webm", "libvpx", VP8),
        ("fragmented.mp4", "libx264", GOP | {"container_options": FRAGMENTS}),
        ("plain.mp4", "libx264", GOP),
        ("fast.mp4", "libx264", GOP | {"container_options": {"movflags": "faststart"}}),
        ("plain.mov", "mpeg4", {}),
    ],
)
@pytest.mark.parametrize("lengths", [(40, 60), (60, 40), (20, 200)])
def test_what_ffmpeg_reads_by_half_is_refused(file, codec, how, lengths, tmp_path):
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no encoder {codec}")
    parts = [range(start, start + length) for start, length in zip((0, 300), lengths, strict=True)]
    path = write_joined(tmp_path / file, codec, *parts, **how)
    with pytest.raises(VideoReadError, match=r"holds several videos in a row.*join the videos by"):
        probe_video(path)


SLIDES = [*range(0, 100_000, 10_000), *range(100_000, 103_000, 100)]  # ms
REORDERED = {"x264-params": "bframes=8:b-pyramid=normal:ref=4:keyint=30:scenecut=0"}


@pytest.mark.parametrize("file", ["a.mkv", "a.mp4", "a.ts"])
def test_slides_and_reordered_pictures_are_no_new_recording(file, tmp_path):
    times = {"times": SLIDES, "count": len(SLIDES), "time_base": Fraction(1, 1000)}
    path = write_video(tmp_path / file, options=REORDERED, **times)
    timeline = read_timeline(path)
    assert timeline.table.shifts is None
    assert float(timeline.duration) == pytest.approx(103, abs=1)


def test_a_damaged_time_is_no_new_recording(tmp_path):
    path = write_video(tmp_path / "a.mkv", count=300, options={"g": "15"})
    table = read_packets(path)
    for begin, end in ((100, 101), (100, 160), (200, 230)):  # one packet, and what a cluster holds
        for shift in (-2_000, 40_000):  # ms
            order = table.order.copy()
            order[begin:end] += shift
            assert lay_in_a_row(replace(table, order=order)).shifts is None
