"""Frames against an independent oracle: a plain one-thread decode, and the number drawn into every picture."""

import gc
import itertools
import os
import threading
import tracemalloc
import warnings
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media import can_encode, counter_picture, read_counter, remux, set_edits, write_fields, write_video
from videolib import Frame, VideoReadError, extract_frames, probe_video
from videolib.cores import available_cores
from videolib.video import decoding, plan_samples, read_timeline, sample_frames

pytestmark = pytest.mark.slow

MEDIA = Path(__file__).parents[3] / "shared" / "media"
STEPS = (0.1, 1 / 3, 0.7, 1 / 60)
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0"}
CLOSED_GOP = {"x264-params": "keyint=30:min-keyint=30:bframes=3:scenecut=0"}
INTRA_REFRESH = {"x264-params": "intra-refresh=1:keyint=20:bframes=0:scenecut=0"}
LONG_GOP = {"x264-params": "keyint=250:min-keyint=250:bframes=3:b-pyramid=normal:ref=4:scenecut=0:slices=1"}
INTERLACED = {"flags": "+ilme+ildct", "x264-params": "tff=1:keyint=20:min-keyint=20:scenecut=0"}
X265_CLOSED = {"preset": "medium", "x265-params": "keyint=20:min-keyint=20:open-gop=0:log-level=none"}
LAYERS = "keyint=32:temporal-layers=3:bframes=7:b-pyramid=1:b-adapt=0:log-level=none"
X265_LAYERS = {"preset": "medium", "x265-params": LAYERS}
X265 = {"preset": "ultrafast", "x265-params": "keyint=15:bframes=3:open-gop=1:log-level=none"}
VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "30"}
AV1 = {"preset": "12", "svtav1-params": "keyint=20"}
VARIABLE_TIMES = [0, 10, 50, 51, 60, *(100 + i * i for i in range(55))]  # ms


def _edit_list(path: Path) -> Path:
    source = write_video(path.with_name("edit-source.mp4"), count=90, options=CLOSED_GOP)
    return remux(source, path, shift_seconds=Fraction(-1, 2))


def _cut_middle(path: Path) -> Path:
    source = write_video(path.with_name("cut-source.mp4"), count=90, options=CLOSED_GOP)
    # picture 71 is no B-frame: FFmpeg shows an edit that begins with one up to three frames late
    return set_edits(source, path, [(Fraction(0), Fraction(1)), (Fraction(71, 30), Fraction(19, 30))])


def _mid_gop_start(path: Path) -> Path:
    source = write_video(path.with_name("mid-source.ts"), count=90, options=OPEN_GOP)
    return remux(source, path, first_packet=5)


# name: (file, encoder, how to make it, number of the first picture shown, true time of each picture in seconds)
FORMATS: dict[str, tuple[str, str, Callable[[Path], Path], int, Callable[[int], Fraction]]] = {}


def _add(
    name: str, file: str, codec: str, first: int = 0, make: Callable[[Path], Path] | None = None, **how
) -> None:
    rate, times, base = how.get("rate", 30), how.get("times"), how.get("time_base")

    def true_time(number: int) -> Fraction:
        return (times[number] - times[0]) * base if times else (number - first) / Fraction(rate)

    FORMATS[name] = (file, codec, make or (lambda path: write_video(path, codec, **how)), first, true_time)


_add("H.264 mp4, B-frames", "plain.mp4", "libx264")
_add("H.264 mp4, 23.976 fps", "film.mp4", "libx264", rate=Fraction(24000, 1001), options=CLOSED_GOP)
_add("H.264 mp4, 29.97 fps", "ntsc.mp4", "libx264", rate=Fraction(30000, 1001), options=CLOSED_GOP)
_add("H.264 mp4, 60 fps", "sixty.mp4", "libx264", rate=60, count=90, options=CLOSED_GOP)
_add("H.264 mp4, closed GOPs", "closed.mp4", "libx264", count=90, options=CLOSED_GOP)
_add("H.264 mp4, 250-frame GOPs", "long.mp4", "libx264", count=760, options=LONG_GOP)
_add("H.264 mp4, open GOPs", "open.mp4", "libx264", options=OPEN_GOP)
_add("H.264 mp4, interlaced", "interlaced.mp4", "libx264", options=INTERLACED)
_add("H.264 mp4, intra refresh", "refresh.mp4", "libx264", options=INTRA_REFRESH)
_add("H.264 mp4, edit list", "edit.mp4", "libx264", first=15, make=_edit_list)
_add(
    "H.264 mp4, cut by an edit list",
    "cut.mp4",
    "libx264",
    make=_cut_middle,
    times=[*range(30), *[30] * 41, *range(30, 50)],  # 1/30 s; pictures 30 to 70 are cut out
    time_base=Fraction(1, 30),
)
_add("H.264 mp4, odd size 98x65, 4:4:4", "odd.mp4", "libx264", size=(97, 65), pixel_format="yuv444p")
_add("H.264 mp4, rotated 90", "rotated.mp4", "libx264", rotation=90)
_add("H.264 mp4, fragmented", "fragmented.mp4", "libx264", container_options={"movflags": "frag_keyframe"})
_add(
    "H.264 mp4, variable rate",
    "variable.mp4",
    "libx264",
    times=VARIABLE_TIMES,
    time_base=Fraction(1, 1000),
)
_add("H.264 mkv, variable rate", "variable.mkv", "libx264", times=VARIABLE_TIMES, time_base=Fraction(1, 1000))
_add("H.264 mkv, open GOPs", "open.mkv", "libx264", options=OPEN_GOP)
_add("H.264 ts, open GOPs", "open.ts", "libx264", options=OPEN_GOP)
_add("H.264 ts, 250-frame GOPs", "long.ts", "libx264", count=520, options=LONG_GOP)
_add("H.264 ts, intra refresh", "refresh.ts", "libx264", options=INTRA_REFRESH)
_add("H.264 ts, field pictures", "fields.ts", "libx264", make=write_fields)
_add(
    "H.264 mkv, fields with own times",
    "own.mkv",
    "libx264",
    make=lambda path: write_fields(path, mixed=True, joined=False),
)
_add("H.264 ts, starts mid-GOP", "mid.ts", "libx264", first=-1, make=_mid_gop_start)
_add("H.264 avi (no pts)", "h264.avi", "libx264")
_add("H.264 raw (no pts)", "raw.h264", "libx264")
_add("HEVC 10-bit mp4, open GOPs", "hevc.mp4", "libx265", pixel_format="yuv420p10le", options=X265)
_add("HEVC mp4, closed GOPs", "hevc-closed.mp4", "libx265", options=X265_CLOSED)
_add("HEVC mp4, temporal layers", "hevc-layers.mp4", "libx265", options=X265_LAYERS)
_add("HEVC mkv, open GOPs", "hevc.mkv", "libx265", options=X265)
_add("HEVC ts, open GOPs", "hevc.ts", "libx265", options=X265)
_add("VP9 webm", "vp9.webm", "libvpx-vp9", options=VP9)
_add("VP8 webm", "vp8.webm", "libvpx", options=VP9)
_add("AV1 mp4", "av1.mp4", "libsvtav1", options=AV1)
_add("MPEG-2 ts", "mpeg2.ts", "mpeg2video", options={"bf": "2", "g": "12"})
_add("MPEG-2 program stream", "mpeg2.mpg", "mpeg2video", options={"bf": "2", "g": "12"})
_add("MPEG-4 avi", "mpeg4.avi", "mpeg4")
_add("ProRes mov, 10-bit", "prores.mov", "prores_ks", pixel_format="yuv422p10le")
_add("GIF", "loop.gif", "gif", rate=10, count=20, pixel_format="rgb8")


def oracle(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    """Decode all of a video in one thread; the times from the first frame, and the RGB images."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        frames = [frame for frame in container.decode(stream) if not frame.is_corrupt]
        images = [np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)) for frame in frames]
        if path.name in ("h264.avi", "raw.h264"):
            times = [Fraction(number, 30) for number in range(len(frames))]
        else:
            times = [(frame.pts - frames[0].pts) * stream.time_base for frame in frames]
    return times, images


def compare(name: str, folder: Path) -> tuple[int, int, int]:
    """Count the samples of a format, those equal to the oracle's, and those with the true number drawn in."""
    file, _, make, first, true_time = FORMATS[name]
    path = make(folder / file)
    times, images = oracle(path)
    first = read_counter(images[0]) if first < 0 else first
    total = equal = true = 0
    for step in STEPS:
        exact = Fraction(step).limit_denominator(1000)
        samples = list(extract_frames(path, every_seconds=step))
        duration = Fraction(probe_video(path).duration_seconds)
        assert [s.frame_number for s in samples] == [*range(1, len(samples) + 1)]
        assert abs(len(samples) - duration / exact) <= 1, (name, step, len(samples))
        for sample in samples:
            now = (sample.frame_number - 1) * exact
            assert sample.timestamp_seconds == float(now)
            total += 1
            equal += np.array_equal(sample.image, images[bisect_right(times, now) - 1])
            upright = np.rot90(sample.image, -1) if name.endswith("rotated 90") else sample.image
            number = read_counter(upright)
            # the container's clock may round a time by half a millisecond
            tick = Fraction(1, 1900)
            offset = true_time(first)
            in_time = true_time(number) - offset <= now + tick
            last = len(images) - 1 + first
            true += in_time and (number == last or now < true_time(number + 1) - offset + tick)
    return total, equal, true


def keyframe_oracle(path: Path) -> dict[float, np.ndarray]:
    """Decode all of a video in one thread; the keyframes' times from the first frame, and their RGB images."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    keys = {p.pts for p in packets if p.is_keyframe and not p.is_discard}
    times, images = oracle(path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        frames = [frame for frame in container.decode(stream) if not frame.is_corrupt]
        is_key = [f.key_frame if path.name in ("h264.avi", "raw.h264") else f.pts in keys for f in frames]
    return {float(times[i]): images[i] for i in np.flatnonzero(is_key)}


def exactness_table(folder: Path) -> str:
    """Tell per format how many samples equal a plain decode's frame, and how many show the true picture."""
    rows = [f"{'format':36} samples   equal    true"]
    for name, (_, codec, *_rest) in FORMATS.items():
        if can_encode(codec):
            rows.append(f"{name:36} " + " ".join(f"{count:7}" for count in compare(name, folder)))
        else:
            rows.append(f"{name:36} no encoder {codec}")
    return "\n".join(rows)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds at 30 frames a second, a keyframe each second."""
    return write_video(tmp_path_factory.mktemp("plain") / "plain.mp4", count=90, options=CLOSED_GOP)


@pytest.mark.parametrize("name", FORMATS)
def test_samples_are_the_frames_on_screen(name: str, tmp_path: Path) -> None:
    if not can_encode(FORMATS[name][1]):
        pytest.skip(f"this PyAV has no encoder {FORMATS[name][1]}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        total, equal, true = compare(name, tmp_path)
    assert total > 30
    assert (equal, true) == (total, total)


# what the quick ways leave to the careful one: keyframes that need others, and packets without a picture
GIVES_UP = {"H.264 mp4, intra refresh", "H.264 ts, intra refresh", "H.264 mkv, fields with own times"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_way_of_decoding_gives_the_same(name: str, tmp_path: Path) -> None:
    file, codec, make, *_ = FORMATS[name]
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no encoder {codec}")
    timeline = read_timeline(make(tmp_path / file))
    wanted = timeline.displayed()[0][3::7].tolist()
    careful = dict(decoding._stream(timeline, wanted, np.copy, careful=True))
    assert list(careful) == wanted
    if not timeline.is_untimed:
        gops = decoding._make_gops(timeline, wanted)
        for quick in (
            dict(decoding._decode_gops(timeline, gops, np.copy, None)),
            dict(decoding._stream(timeline, wanted, np.copy, careful=False)),
        ):
            assert list(quick) == wanted[: len(quick)]
            assert (len(quick) < len(wanted)) == (name in GIVES_UP)
            assert all(np.array_equal(image, careful[packet]) for packet, image in quick.items())


def test_unreferenced_pictures_are_not_decoded(tmp_path: Path) -> None:
    shares = {}
    for name in (
        "H.264 mp4, 250-frame GOPs",
        "H.264 ts, 250-frame GOPs",
        "HEVC mp4, closed GOPs",
        "HEVC ts, open GOPs",
    ):
        file, codec, make, *_ = FORMATS[name]
        if can_encode(codec):
            timeline = read_timeline(make(tmp_path / file))
            shares[name] = timeline.table.unreferenced.mean()
    assert all(0.25 < share < 0.5 for share in shares.values()), shares


@pytest.mark.parametrize("name", FORMATS)
def test_keyframes_are_the_files_own(name: str, tmp_path: Path) -> None:
    file, codec, make, *_ = FORMATS[name]
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no encoder {codec}")
    path = make(tmp_path / file)
    right = keyframe_oracle(path)
    frames = list(extract_frames(path, every_seconds=0.001, sampling="keyframes"))
    assert [f.timestamp_seconds for f in frames] == list(right)
    assert [f.frame_number for f in frames] == [*range(1, len(frames) + 1)]
    assert all(np.array_equal(f.image, right[f.timestamp_seconds]) for f in frames)
    apart = [f.timestamp_seconds for f in extract_frames(path, every_seconds=0.9, sampling="keyframes")]
    assert all(later - earlier >= 0.9 for earlier, later in itertools.pairwise(apart))
    assert set(apart) <= set(right)
    assert all(any(0 <= time - chosen < 0.9 for chosen in apart) for time in right)


@pytest.mark.parametrize("file", ["big_buck_bunny_30s.mp4", "car-detection.mp4"])
def test_real_footage_equals_plain_decode(file: str) -> None:
    path = MEDIA / file
    if not path.exists():
        pytest.skip(f"{path} is not here")
    wanted = {sample.timestamp_seconds: sample.image for sample in extract_frames(path, every_seconds=2.5)}
    assert len(wanted) == -(-Fraction(probe_video(path).duration_seconds) // Fraction(5, 2))
    pending, latest = sorted(wanted), None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            while pending and frame.pts * stream.time_base > pending[0] and latest is not None:
                assert np.array_equal(wanted[pending.pop(0)], latest.to_ndarray(format="rgb24"))
            latest = frame
    assert all(np.array_equal(wanted[t], latest.to_ndarray(format="rgb24")) for t in pending)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_and_mirroring_are_applied(rotation: int, mirrored: bool, tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", count=2, rotation=rotation, mirrored=mirrored)
    plain = next(extract_frames(write_video(tmp_path / "plain.mp4", count=2))).image
    image = next(extract_frames(path)).image
    with av.open(str(path)) as container:
        stated = next(container.decode(video=0)).rotation
    if not mirrored:
        assert stated % 360 == rotation
        assert np.array_equal(image, np.rot90(plain, rotation // 90))
    else:
        assert any(np.array_equal(image, np.rot90(plain[:, ::-1], turns)) for turns in (0, 1, 2, 3))
    assert (probe_video(path).width, probe_video(path).height) == (image.shape[1], image.shape[0])


@pytest.mark.parametrize(
    ("color", "pixel_format"),
    [
        ({"colorspace": 5, "color_range": 1}, "yuv420p"),
        ({"colorspace": 1, "color_range": 1}, "yuv420p"),
        ({"colorspace": 1, "color_range": 2}, "yuv420p"),
        ({"colorspace": 5, "color_range": 2}, "yuv420p"),
        ({"colorspace": 1, "color_range": 1}, "yuv420p10le"),
    ],
    ids=["601 limited", "709 limited", "709 full", "601 full", "709 limited 10-bit"],
)
@pytest.mark.parametrize("rgb", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40)])
def test_colours_come_back(
    color: dict[str, int], pixel_format: str, rgb: tuple[int, int, int], tmp_path: Path
) -> None:
    picture = np.full((64, 96, 3), rgb, dtype=np.uint8)
    path = write_video(
        tmp_path / "colour.mp4",
        pictures=[picture] * 3,
        pixel_format=pixel_format,
        color=color,
        options={"qp": "1"},
    )
    image = next(extract_frames(path)).image
    assert np.abs(image.reshape(-1, 3).mean(axis=0) - rgb).max() < 4


def test_square_pixels(tmp_path: Path) -> None:
    wide = write_video(tmp_path / "wide.mp4", count=2, aspect=Fraction(4, 3))
    tall = write_video(tmp_path / "tall.mp4", count=2, aspect=Fraction(1, 2))
    assert (probe_video(wide).width, probe_video(wide).height) == (128, 64)
    assert next(extract_frames(tall)).image.shape == (128, 96, 3)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    path = write_video(tmp_path / "alpha.mov", "qtrle", count=3, pixel_format="argb")
    assert read_counter(next(extract_frames(path, start_seconds=1 / 15, every_seconds=1 / 30)).image) == 2


def test_resolution_may_change(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.ts", "mpeg2video", count=30, size=(96, 64))
    large = write_video(tmp_path / "large.ts", "mpeg2video", count=30, size=(192, 128))
    later = remux(large, tmp_path / "later.ts", shift_seconds=Fraction(1))
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + later.read_bytes())
    shapes = [frame.image.shape for frame in extract_frames(path, every_seconds=0.5)]
    assert shapes[0] == (64, 96, 3)
    assert shapes[-1] == (128, 192, 3)


def test_probe_describes_the_file(plain: Path) -> None:
    video = probe_video(plain)
    assert (video.title, video.source) == ("plain", str(plain))
    assert (video.width, video.height) == (96, 64)
    assert video.duration_seconds == 3.0
    assert video.frames_per_second == 30.0


def test_video_id_is_the_content(plain: Path, tmp_path: Path) -> None:
    copy = tmp_path / "another name.mp4"
    copy.write_bytes(plain.read_bytes())
    assert probe_video(copy).video_id == probe_video(plain).video_id
    assert len(probe_video(copy).video_id) == 32
    copy.write_bytes(plain.read_bytes() + b"\0")
    assert probe_video(copy).video_id != probe_video(plain).video_id


@pytest.mark.parametrize(
    ("place", "is_read"), [(0, True), (1_150_000, False), (10_600_000, True), (-1, True)]
)
def test_video_id_of_a_large_file_samples_it(place: int, is_read: bool, plain: Path, tmp_path: Path) -> None:
    padding = bytearray(20_000_000)
    head = plain.read_bytes() + (len(padding) + 8).to_bytes(4, "big") + b"free"
    path = tmp_path / "large.mp4"
    path.write_bytes(head + padding)
    before = probe_video(path).video_id
    padding[place] = 1
    path.write_bytes(head + padding)
    assert (probe_video(path).video_id != before) == is_read


def test_name_with_a_colon_is_no_protocol(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talk: part 1.mp4").write_bytes(plain.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert probe_video("talk: part 1.mp4").title == "talk: part 1"


@pytest.mark.parametrize("step", [0.1, 1 / 3, 1 / 60, 0.7])
@pytest.mark.parametrize(
    ("start", "end"), [(0, 1.0), (1.0, 2.0), (0.95, 2.2), (2.9, None), (1.2, 99.0), (3.5, 9)]
)
def test_selection_is_a_slice_of_the_whole(step: float, start: float, end: float | None, plain: Path) -> None:
    whole = list(extract_frames(plain, every_seconds=step))
    part = list(extract_frames(plain, every_seconds=step, start_seconds=start, end_seconds=end))
    chosen = [f for f in whole if start <= f.timestamp_seconds < (end or 100)]
    assert [(f.frame_number, f.timestamp_seconds) for f in part] == [
        (f.frame_number, f.timestamp_seconds) for f in chosen
    ]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(part, chosen, strict=True))


def test_grid_does_not_drift(tmp_path: Path) -> None:
    path = write_video(tmp_path / "slow.mp4", count=400, rate=10, options={"preset": "ultrafast"})
    for step in (0.1, 0.3, 1 / 3):
        for frame in extract_frames(path, every_seconds=step):
            exact = (frame.frame_number - 1) * Fraction(step).limit_denominator(100)
            assert read_counter(frame.image) == exact * 10 // 1


def test_repeated_samples_do_not_share_an_image(plain: Path) -> None:
    first, second = itertools.islice(extract_frames(plain, every_seconds=1 / 90), 2)
    first.image[:] = 7
    assert not np.array_equal(first.image, second.image)


def test_frame_shows_its_shape(plain: Path) -> None:
    frame = next(extract_frames(plain))
    assert repr(frame) == "Frame(frame_number=1, timestamp_seconds=0, image=(64, 96, 3) uint8)"
    assert frame.image.flags.c_contiguous
    with pytest.raises(ValueError, match=r"image must be \(height, width, 3\) uint8 RGB, got \(4, 4\)"):
        Frame(1, 0.0, np.zeros((4, 4), dtype=np.uint8))


@pytest.mark.parametrize("sampling", ["interval", "keyframes", "shots"])
def test_every_sampling_can_be_planned_and_resumed(sampling: str, scenes: Path) -> None:
    whole = list(extract_frames(scenes, every_seconds=0.5, sampling=sampling))
    assert len(plan_samples(read_timeline(scenes), every_seconds=0.5, sampling=sampling)) == len(whole) > 2
    for begin, end in itertools.pairwise([*(f.timestamp_seconds for f in whole[::2]), None]):
        how = {"every_seconds": 0.5, "sampling": sampling, "start_seconds": begin, "end_seconds": end}
        part = list(extract_frames(scenes, **how))
        chosen = [f for f in whole if begin <= f.timestamp_seconds < (end or 100)]
        assert [(f.frame_number, f.timestamp_seconds) for f in part] == [
            (f.frame_number, f.timestamp_seconds) for f in chosen
        ]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(part, chosen, strict=True))
        assert len(plan_samples(read_timeline(scenes), **how)) == len(part)


SCENES = [0, 23, 60, 90, 141, 180]  # the pictures at which they begin, and the end


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds at 30 frames a second; five scenes of drifting coloured noise."""
    random = np.random.default_rng(5)
    pictures = []
    for begin, end in itertools.pairwise(SCENES):
        tint = random.integers(40, 216, 3)
        scene = np.clip(tint + random.normal(0, 20, (80, 200, 3)), 0, 255).astype(np.uint8)
        for number in range(begin, end):
            shift = (number - begin) // 2
            pictures.append(scene[:64, shift : shift + 96])
    path = tmp_path_factory.mktemp("scenes") / "scenes.mp4"
    return write_video(path, pictures=pictures, options=CLOSED_GOP)


def test_shots_give_the_middle_of_each(scenes: Path) -> None:
    frames = list(extract_frames(scenes, every_seconds=0.5, sampling="shots"))
    middles = [(begin + end) // 2 for begin, end in itertools.pairwise(SCENES)]
    assert [f.timestamp_seconds for f in frames] == [middle / 30 for middle in middles]
    assert [f.frame_number for f in frames] == [1, 2, 3, 4, 5]
    images = oracle(scenes)[1]
    assert all(np.array_equal(f.image, images[middle]) for f, middle in zip(frames, middles, strict=True))
    # the first scene lasts 0.77 s, the third 1 s
    assert 1 < len(plan_samples(read_timeline(scenes), every_seconds=1.1, sampling="shots")) < 5


def test_shots_are_found_at_a_variable_rate(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    red, blue = (np.full((64, 96, 3), colour, np.uint8) for colour in [(220, 40, 40), (40, 40, 220)])
    pictures = [
        np.clip(c + rng.integers(-9, 9, c.shape), 0, 255).astype(np.uint8) for c in [red] * 20 + [blue] * 40
    ]
    times = [*range(0, 2000, 100), *range(2000, 3000, 25)]  # ms
    path = write_video(tmp_path / "variable.mp4", pictures=pictures, times=times, time_base=Fraction(1, 1000))
    frames = extract_frames(path, every_seconds=0.5, sampling="shots")
    assert [f.timestamp_seconds for f in frames] == [1.0, 2.5]


def test_keyframes_that_are_never_shown(tmp_path: Path) -> None:
    source = write_video(tmp_path / "one.mp4", options={"g": "60"})
    path = remux(source, tmp_path / "late.mp4", shift_seconds=Fraction(-1, 2))
    with pytest.raises(VideoReadError, match=r'shows none of its keyframes; pass sampling="interval"'):
        extract_frames(path, sampling="keyframes")


def test_cut_short_says_so_where_the_samples_are_not_known(plain: Path, tmp_path: Path) -> None:
    whole = remux(plain, tmp_path / "whole.mp4", container_options={"movflags": "faststart"})
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[:-5000])
    with pytest.warns(
        UserWarning, match=r"was cut short after \d\.\d of 3\.0 seconds; what came then"
    ) as record:
        frames = list(extract_frames(path, sampling="keyframes"))
    assert len(record) == 1
    assert 1 <= len(frames) < 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(extract_frames(path, sampling="keyframes", end_seconds=0.5))) == 1


def _open_files(path: Path) -> int:
    links = Path("/proc/self/fd")
    return sum(os.path.realpath(link) == str(path.resolve()) for link in links.iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_closing_the_generator_closes_the_file(plain: Path) -> None:
    frames = extract_frames(plain)
    next(frames)
    assert _open_files(plain) == 1
    frames.close()
    assert _open_files(plain) == 0


def test_frames_are_a_stream(tmp_path: Path) -> None:
    size = (640, 360)
    picture = [counter_picture(number, size) for number in range(2)]
    path = write_video(
        tmp_path / "long.mp4", pictures=picture * 150, size=size, options={"preset": "ultrafast", "g": "30"}
    )
    peaks = []
    for count in (20, 300):
        tracemalloc.start()
        for _ in itertools.islice(extract_frames(path, every_seconds=1 / 30), count):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2 * 640 * 360 * 3


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds at 30 frames a second in 40 groups, so that several can be decoded at once."""
    options = {"preset": "ultrafast", "g": "30"}
    return write_video(tmp_path_factory.mktemp("groups") / "groups.mp4", count=1200, options=options)


def test_stopping_early_leaves_no_thread_and_no_file(groups: Path) -> None:
    before = set(threading.enumerate())
    frames = extract_frames(groups)
    next(frames)
    assert set(threading.enumerate()) - before
    frames.close()
    assert set(threading.enumerate()) == before
    assert not Path("/proc/self/fd").exists() or _open_files(groups) == 0


def test_failing_consumer_leaves_no_thread_and_no_file(groups: Path) -> None:
    def consume() -> None:
        for frame in extract_frames(groups):
            raise KeyError(frame.frame_number)

    before = set(threading.enumerate())
    with pytest.raises(KeyError, match="1"):
        consume()
    assert set(threading.enumerate()) == before
    assert not Path("/proc/self/fd").exists() or _open_files(groups) == 0


@pytest.mark.parametrize("every_seconds", [1.0, 1 / 30])
def test_failing_conversion_raises_at_its_place(every_seconds: float, groups: Path) -> None:
    def convert(image: np.ndarray) -> int:
        if read_counter(image) == 330:
            raise ArithmeticError("frame 330")
        return read_counter(image)

    before = set(threading.enumerate())
    samples = sample_frames(plan_samples(read_timeline(groups), every_seconds=every_seconds), convert)
    seen = []
    with pytest.raises(ArithmeticError, match="frame 330"):
        seen.extend(number for _, _, number in samples)
    assert set(threading.enumerate()) == before


def test_conversions_come_in_order_with_their_samples(groups: Path) -> None:
    samples = plan_samples(read_timeline(groups), every_seconds=0.4, start_seconds=3, end_seconds=20)
    got = list(sample_frames(samples, read_counter, converted_bytes=8))
    assert len(got) == len(samples)
    assert [number for number, _, _ in got] == [*range(9, 51)]
    assert all(
        seconds == (number - 1) * 2 / 5 and picture == (number - 1) * 12 for number, seconds, picture in got
    )


def test_pool_of_the_caller_does_the_work_and_stays(groups: Path) -> None:
    workers = set()

    def convert(image: np.ndarray) -> int:
        workers.add(threading.current_thread().name)
        return read_counter(image)

    with ThreadPoolExecutor(2, thread_name_prefix="ours") as pool:
        samples = sample_frames(plan_samples(read_timeline(groups)), convert, pool=pool)
        assert [number for _, _, number in samples] == [*range(0, 1200, 30)]
        assert workers <= {"ours_0", "ours_1"}
        stopped = sample_frames(plan_samples(read_timeline(groups)), convert, pool=pool)
        next(stopped)
        stopped.close()
        assert pool.submit(int, "7").result() == 7


def test_extractions_run_side_by_side(groups: Path, plain: Path) -> None:
    def numbers(path: Path) -> list[int]:
        return [read_counter(frame.image) for frame in extract_frames(path, every_seconds=0.5)]

    with ThreadPoolExecutor(6) as callers:
        got = list(callers.map(numbers, [groups, plain] * 3))
    assert got == [[*range(0, 1200, 15)], [*range(0, 90, 15)]] * 3


class _Counted:
    """What a picture is converted to; counts how many of its kind are alive."""

    alive = peak = 0
    lock = threading.Lock()

    def __init__(self, image: np.ndarray) -> None:
        with self.lock:
            _Counted.alive += 1
            _Counted.peak = max(_Counted.peak, _Counted.alive)

    def __del__(self) -> None:
        with self.lock:
            _Counted.alive -= 1


@pytest.mark.parametrize(
    ("options", "every_seconds", "most_held"),
    [
        ({"g": "9999", "x264-params": "scenecut=0"}, 0.5, 2),  # one group: a stream
        ({"g": "30"}, 1 / 30, 2),  # all is wanted: a stream
        ({"g": "60"}, 0.5, 4 * (2 + available_cores())),
    ],
)
def test_converted_pictures_do_not_pile_up(
    options: dict[str, str], every_seconds: float, most_held: int, tmp_path: Path
) -> None:
    path = write_video(tmp_path / "long.mp4", count=1500, options={"preset": "ultrafast", **options})
    _Counted.peak = 0
    for number, (frame_number, _, _) in enumerate(
        sample_frames(plan_samples(read_timeline(path), every_seconds=every_seconds), _Counted), start=1
    ):
        assert frame_number == number
    assert number == 50 / every_seconds
    assert _Counted.peak <= most_held
    assert _Counted.alive <= 1


def test_decoded_pictures_are_freed_without_the_garbage_collector(groups: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in extract_frames(groups, every_seconds=0.5):
            pass
        assert sum(type(thing) is av.VideoFrame for thing in gc.get_objects()) <= 1
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampling": "keyframe"}, "sampling must be one of interval, keyframes, shots, got 'keyframe'"),
        ({"every_seconds": 0}, "every_seconds must be positive and finite, got 0"),
        ({"every_seconds": float("nan")}, "every_seconds must be positive and finite, got nan"),
        ({"start_seconds": -1}, "start_seconds must be finite and not negative, got -1"),
        (
            {"start_seconds": 2, "end_seconds": 2},
            "end_seconds must be .* greater than start_seconds=2, got 2",
        ),
    ],
)
def test_bad_arguments_fail_at_the_call(arguments: dict[str, float], message: str, plain: Path) -> None:
    with pytest.raises(ValueError, match=message):
        extract_frames(plain, **arguments)


def test_url_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got the URL 'https://example\.org/a\.mp4'; download it first"):
        extract_frames("https://example.org/a.mp4")


def _without_moov(path: Path, plain: Path) -> None:
    content = plain.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])


def _audio_only(path: Path, plain: Path) -> None:
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))


def _still_picture(path: Path, plain: Path) -> None:
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(counter_picture(1), format="rgb24")))
        container.mux(stream.encode(None))


def _undecodable(path: Path, plain: Path) -> None:
    content = bytearray(plain.read_bytes())
    begin, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("missing.mp4", lambda path, plain: None, "does not exist; check the path"),
        ("folder", lambda path, plain: path.mkdir(), "is not a file; pass the path of one video"),
        ("empty.mp4", lambda path, plain: path.touch(), "is empty; download or copy"),
        ("text.txt", lambda path, plain: path.write_text("words\n" * 99), "is a text, not a video"),
        ("text.mp4", lambda path, plain: path.write_text("words\n" * 99), "is not a video that FFmpeg can"),
        ("picture.jpg", _still_picture, "is a still picture, not a video; pass it to image_query"),
        ("sound.wav", _audio_only, "has no video stream"),
        ("cut.mp4", _without_moov, r"has no index \(moov\): it was cut short; download"),
        ("zeros.mp4", _undecodable, "has no frame that can be decoded"),
    ],
)
def test_unreadable_files_say_why(
    name: str, make: Callable, message: str, plain: Path, tmp_path: Path
) -> None:
    make(tmp_path / name, plain)
    with pytest.raises(VideoReadError, match=message):
        probe_video(tmp_path / name)
    with pytest.raises(VideoReadError, match=message):
        extract_frames(tmp_path / name)


DAMAGED = {"mp4": "libx264", "mkv": "libx264", "ts": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4"}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi"])
def test_truncated_file_gives_its_good_part_and_one_warning(suffix: str, tmp_path: Path) -> None:
    options = VP9 if suffix == "webm" else CLOSED_GOP if suffix != "avi" else None
    whole = write_video(
        tmp_path / f"whole.{suffix}",
        DAMAGED[suffix],
        count=300,
        options=options,
        container_options={"movflags": "faststart"} if suffix == "mp4" else None,
    )
    content = whole.read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(content[: len(content) * 6 // 10])
    right = {f.frame_number: f.image for f in extract_frames(whole, every_seconds=0.1)}
    with pytest.warns(UserWarning, match=r"of 100 samples could not be read") as record:
        frames = list(extract_frames(path, every_seconds=0.1))
    assert len(record) == 1
    assert f" {100 - len(frames)} of 100 samples" in str(record[0].message)
    assert 40 <= len(frames) <= 62
    assert all(np.array_equal(f.image, right[f.frame_number]) for f in frames)
    assert probe_video(path).duration_seconds == pytest.approx(10)


def test_a_matroska_file_that_lacks_its_last_second_says_so(tmp_path: Path) -> None:
    """Keyframes each half second lie in clusters of their own, so that the cut leaves no broken one."""
    whole = write_video(tmp_path / "whole.mkv", count=120, options={"g": "15", "x264-params": "scenecut=0"})
    with av.open(str(whole)) as container:
        ends = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: ends[90]])
    with pytest.warns(UserWarning, match=r"of \d+ samples could not be read"):
        samples = list(extract_frames(cut, every_seconds=0.5))
    assert 4 <= len(samples) <= 6
    assert probe_video(cut).duration_seconds == pytest.approx(4, abs=0.05)


def test_damaged_middle_is_left_out_and_counted(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", count=300, options=CLOSED_GOP)
    with av.open(str(whole)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    hurt = packets[4 * 30]  # a keyframe: nothing up to the next one, a second later, can be right
    content = bytearray(whole.read_bytes())
    content[hurt.pos : hurt.pos + hurt.size] = bytes(hurt.size)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    with pytest.warns(
        UserWarning, match="10 of 100 samples could not be read, for the file is damaged"
    ) as record:
        frames = list(extract_frames(path, every_seconds=0.1))
    assert len(record) == 1
    assert [f.frame_number for f in frames] == [*range(1, 41), *range(51, 101)]
    assert all(read_counter(f.image) == 3 * (f.frame_number - 1) for f in frames)


@pytest.mark.parametrize("every_seconds", [0.9, 0.1])
@pytest.mark.parametrize("intact", [0, 8])
def test_any_damaged_packet_is_noticed(intact: int, every_seconds: float, tmp_path: Path) -> None:
    options = {"x264-params": "keyint=60:min-keyint=60:bframes=3:scenecut=0:b-adapt=0"}
    whole = write_video(tmp_path / "whole.mp4", count=180, options=options)
    right = {f.frame_number: f.image for f in extract_frames(whole, every_seconds=every_seconds)}
    with av.open(str(whole)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    path = tmp_path / "damaged.mp4"
    losses = []
    for packet in packets[60:90]:
        content = bytearray(whole.read_bytes())
        content[packet.pos + intact : packet.pos + packet.size] = bytes(packet.size - intact)
        path.write_bytes(content)
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            frames = list(extract_frames(path, every_seconds=every_seconds))
        assert all(np.array_equal(f.image, right[f.frame_number]) for f in frames)
        losses.append(len(right) - len(frames))
        assert len(record) == (losses[-1] > 0)
    assert losses[0] == max(losses) > 0  # a keyframe
    if intact == 8:  # bytes: a length and how much the picture matters
        assert min(losses) == 0


@pytest.mark.parametrize("suffix", ["mkv", "webm", "ts"])
def test_packets_lost_before_the_decoder_are_noticed(suffix: str, tmp_path: Path) -> None:
    whole = write_video(
        tmp_path / f"whole.{suffix}",
        DAMAGED[suffix],
        count=300,
        options=VP9 if suffix == "webm" else CLOSED_GOP,
    )
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(content)
    right = {f.frame_number: f.image for f in extract_frames(whole, every_seconds=1 / 30)}
    with pytest.warns(UserWarning, match="of 300 samples could not be read") as record:
        frames = list(extract_frames(path, every_seconds=1 / 30))
    assert len(record) == 1
    assert len(frames) > 200
    # one picture may be cut in its last bytes without the decoder's notice
    assert sum(not np.array_equal(f.image, right[f.frame_number]) for f in frames) <= 1


@pytest.mark.parametrize("lost", range(60, 68))
def test_lost_packet_spoils_no_sample(lost: int, tmp_path: Path) -> None:
    options = {"x264-params": "keyint=60:min-keyint=60:bframes=3:scenecut=0:b-adapt=0"}
    whole = write_video(tmp_path / "whole.ts", count=240, options=options)
    path = remux(whole, tmp_path / "lost.ts", without=lost)
    right = {f.frame_number: f.image for f in extract_frames(whole, every_seconds=0.9)}
    with pytest.warns(UserWarning, match="of 9 samples could not be read"):
        frames = list(extract_frames(path, every_seconds=0.9))
    assert {1, 2, 3, 6, 7, 8, 9} <= {f.frame_number for f in frames}
    assert all(np.array_equal(f.image, right[f.frame_number]) for f in frames)


def test_healthy_files_do_not_warn(plain: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(extract_frames(plain, every_seconds=0.05))


if __name__ == "__main__":
    import sys

    print(exactness_table(Path(sys.argv[1])))
