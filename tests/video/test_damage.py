"""Damaged files: what the decoder, a checksum or the container tells of is never given out, nor kept silent."""

import re
import struct
import tracemalloc
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks import damaged_files
from tests.media import can_encode, read_counter, write_video
from videolib import Frame, extract_frames, probe_video
from videolib.video.frames import read_timeline
from videolib.video.sampling import plan_samples

CLOSED_GOP = {"x264-params": "keyint=30:min-keyint=30:bframes=2:scenecut=0"}
VP8 = {"g": "30", "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
GAP = 100_000  # seconds


def read(path: Path, every_seconds: float = 1 / 30, **options) -> tuple[list[Frame], list[str]]:
    """Return a file's samples and warnings."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        frames = list(extract_frames(path, every_seconds=every_seconds, **options))
    return frames, [str(each.message) for each in record]


def packets_of(path: Path) -> list[tuple[int, int]]:
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def assert_right(frames: list[Frame], whole: Path, every_seconds: float = 1 / 30) -> None:
    right = {f.frame_number: f.image for f in extract_frames(whole, every_seconds=every_seconds)}
    assert all(np.array_equal(f.image, right[f.frame_number]) for f in frames)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


# Each gave out, in silence, pictures that FFmpeg itself doubts.
DOUBTED = """
H.264 mp4/bits/0, H.264 mp4, index first/zeroed/0, H.264 mp4, fragments/bits/3, H.264 mkv/inserted/3,
H.264 ts/inserted/1, H.264 flv/bits/3, H.264 avi/bits/3, H.264 raw/zeroed/3, HEVC mp4/bits/1, HEVC mkv/bits/0,
MPEG-2 ts/zeroed/0, MPEG-2 mpg/bits/0, MPEG-4 avi/bits/0, MPEG-4 mp4/zeroed/3, Sorenson flv/bits/1,
WMV2 asf/zeroed/2, WMV2 asf/inserted/0
"""


@pytest.mark.parametrize("sampling", damaged_files.SAMPLINGS)
@pytest.mark.parametrize("seed", re.findall(r"[A-Z].+?/\w+/\d", DOUBTED))
def test_what_ffmpeg_doubts_is_not_given_out_in_silence(
    seed: str, sampling: str, sources: Path, tmp_path: Path
) -> None:
    name, kind, _ = seed.split("/")
    if not can_encode(damaged_files.SOURCES[name].codec):
        pytest.skip("this PyAV has no such encoder")
    whole = damaged_files.make_source(name, sources)
    path = tmp_path / f"damaged{whole.suffix}"
    path.write_bytes(damaged_files.damage(whole, kind, seed))
    found = damaged_files.judge(path, whole, sampling) | {"exit": 0}
    assert damaged_files.classify(found) != "wrong in silence, noticed"


@pytest.mark.parametrize("every_seconds", [1 / 30, 0.7])
def test_checksum_of_ffv1_is_heeded(every_seconds: float, tmp_path: Path) -> None:
    options = {"level": "3", "slicecrc": "1", "slices": "4", "g": "1"}
    whole = write_video(tmp_path / "whole.mkv", "ffv1", options=options)
    place, size = packets_of(whole)[21]
    content = bytearray(whole.read_bytes())
    content[place + size // 2] ^= 4
    path = tmp_path / "damaged.mkv"
    path.write_bytes(content)
    frames, told = read(path, every_seconds)
    assert len(told) == 1
    assert len(frames) == (59 if every_seconds < 0.1 else 2)
    assert_right(frames, whole, every_seconds)


@pytest.mark.parametrize("options", [{"level": "3", "slicecrc": "0"}, {"level": "1"}])
def test_ffv1_without_checksums_is_read(options: dict[str, str], tmp_path: Path) -> None:
    path = write_video(tmp_path / "plain.mkv", "ffv1", options=options)
    frames, told = read(path)
    assert (len(frames), told) == (60, [])


def test_checksum_of_png_is_heeded(tmp_path: Path) -> None:
    whole = write_video(
        tmp_path / "whole.mov", "png", pixel_format="rgb24", options={"compression_level": "0"}
    )
    content = bytearray(whole.read_bytes())
    for place, size in packets_of(whole)[10:20]:
        content[place + size // 2] ^= 4
    path = tmp_path / "damaged.mov"
    path.write_bytes(content)
    frames, told = read(path)
    assert [f.frame_number for f in frames] == [*range(1, 11), *range(21, 61)]
    assert len(told) == 1
    assert_right(frames, whole)


def test_a_stream_that_damage_makes_up_is_no_error(sources: Path, tmp_path: Path) -> None:
    whole = damaged_files.make_source("MPEG-2 ts", sources)
    path = tmp_path / "damaged.ts"
    path.write_bytes(damaged_files.damage(whole, "bits", "MPEG-2 ts/bits/1"))
    frames, _ = read(path)
    assert len(frames) > 50


CUT = {
    "ts": ("libx264", CLOSED_GOP),
    "flv": ("libx264", CLOSED_GOP),
    "mpg": ("mpeg2video", {"g": "15", "bf": "2"}),
    "h264": ("libx264", CLOSED_GOP),
    "mjpeg": ("mjpeg", None),
    "gif": ("gif", None),
    "asf": ("wmv2", {"g": "15"}),
    "mkv": ("libx264", CLOSED_GOP),
    "webm": ("libvpx", VP8),
}


@pytest.mark.parametrize("suffix", CUT)
def test_cut_file_gives_no_torn_picture_and_one_warning(suffix: str, tmp_path: Path) -> None:
    codec, options = CUT[suffix]
    pixel_format = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(suffix, "yuv420p")
    whole = write_video(
        tmp_path / f"whole.{suffix}", codec, count=90, pixel_format=pixel_format, options=options
    )
    every_seconds = 0.04 if suffix in ("mjpeg", "gif") else 1 / 30
    content, count = whole.read_bytes(), len(read(whole, every_seconds)[0])
    path = tmp_path / f"cut.{suffix}"
    for share in (0.35, 0.6, 0.85, 0.97):
        path.write_bytes(content[: int(len(content) * share) // 188 * 188 + 100])
        frames, told = read(path, every_seconds)
        assert len(frames) > 10
        assert len(told) <= 1
        assert told or len(frames) == count
        assert_right(frames, whole, every_seconds)


def test_lost_keyframe_is_told(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", count=150, options=CLOSED_GOP)
    place, size = packets_of(whole)[60]
    content = bytearray(whole.read_bytes())
    content[place - 30 : place + size - 30] = bytes(size)  # its head, too
    path = tmp_path / "damaged.mkv"
    path.write_bytes(content)
    frames, told = read(path, sampling="keyframes")
    assert [read_counter(f.image) for f in frames] == [0, 30, 90, 120]
    assert len(told) == 1


def _claim(path: Path, seconds: float) -> None:
    """Write another length into the header of an mp4, Matroska or FLV file."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".mp4":
        for name, ticks in ((b"mvhd", 12), (b"mdhd", 12), (b"tkhd", 20)):
            place = content.index(name) + 4
            scale = int.from_bytes(content[place + 12 : place + 16], "big") if name != b"tkhd" else 1000
            content[place + ticks + 4 : place + ticks + 8] = int(seconds * scale).to_bytes(4, "big")
    elif path.suffix == ".mkv":
        place = content.index(b"\x44\x89\x88") + 3
        content[place : place + 8] = struct.pack(">d", seconds * 1000)
    else:
        place = content.index(b"duration") + 9
        content[place : place + 8] = struct.pack(">d", seconds)
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv"])
def test_damaged_time_stamps_make_no_endless_still(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"gap.{suffix}"
    times = [*range(24), *range(24 + GAP * 30, 48 + GAP * 30)]
    write_video(path, count=48, times=times, options=CLOSED_GOP)
    _claim(path, 1.6)
    frames, told = read(path, 0.1)
    assert len(frames) <= 18
    assert all(read_counter(f.image) == 3 * i for i, f in enumerate(frames[:8]))
    assert len(told) == 1
    assert "samples could not be read" in told[0]


@pytest.mark.parametrize(
    ("suffix", "chunk", "place", "bit", "most"),
    [("mp4", b"stts", 16, 16, 90), ("avi", b"strh", 30, 64, 3600 * 10)],  # the length of every frame
)
def test_damaged_rate_makes_no_endless_stills(
    suffix: str, chunk: bytes, place: int, bit: int, most: int, tmp_path: Path
) -> None:
    # an edit list would bound the whole by itself
    bare = {"use_editlist": "0"} if suffix == "mp4" else None
    path = write_video(tmp_path / f"slow.{suffix}", "mpeg4", count=90, container_options=bare)
    content = bytearray(path.read_bytes())
    content[content.index(chunk) + place] |= bit
    path.write_bytes(content)
    timeline = read_timeline(path)
    plan = plan_samples(timeline, every_seconds=0.1)
    assert len(plan) > 10_000
    assert sum(len(numbers) for numbers in plan.by_packet.values()) <= most
    frames, told = read(path, float(timeline.duration) / 10)
    assert len(frames) < 3
    assert len(told) == 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv", "ts"])
def test_long_still_that_is_meant_stays(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"slides.{suffix}"
    write_video(path, count=4, times=[0, 5, 605, 615], time_base=Fraction(1), rate=1, options={"bf": "0"})
    frames, told = read(path, 10.0)
    assert [read_counter(f.image) for f in frames] == [0, *[1] * 60, 2, *[3] * (len(frames) - 62)]
    assert told == []


def test_a_plan_of_many_samples_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "slides.mp4"
    write_video(path, count=3, times=[0, 5, 605], time_base=Fraction(1), rate=1, options={"bf": "0"})
    timeline = read_timeline(path)
    tracemalloc.start()
    plan = plan_samples(timeline, every_seconds=0.0001).without(range(2, 100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(plan) > 6_000_000
    assert peak < 1 << 20
    first = next(iter(plan.by_packet))
    samples = plan.samples_of(first)
    assert [next(samples), next(samples)] == [(1, 0.0), (100, pytest.approx(0.0099))]


@pytest.mark.parametrize("name", damaged_files.SOURCES)
def test_whole_files_are_not_called_cut(name: str, sources: Path) -> None:
    if not can_encode(damaged_files.SOURCES[name].codec):
        pytest.skip("this PyAV has no such encoder")
    path = damaged_files.make_source(name, sources)
    timeline = read_timeline(path)
    assert not timeline.table.is_cut
    assert not timeline.table.corrupt.any()
    assert probe_video(path).duration_seconds > 2.9


def test_checks_that_every_picture_fails_are_left_out(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mov", "png", count=20, pixel_format="rgb24")
    content = bytearray(whole.read_bytes())
    for place, size in packets_of(whole):
        content[content.index(b"pHYs", place, place + size) + 14] ^= 1  # in its CRC: the pixels are sound
    path = tmp_path / "odd.mov"
    path.write_bytes(content)
    frames, told = read(path)
    assert (len(frames), told) == (20, [])
    assert_right(frames, whole)
