"""Files as other programs write them, against a plain one-thread decode of all their frames."""

import io
import os
import struct
import warnings
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from tests.media import SIZE, can_encode, counter_picture, read_counter, remux, set_edits, write_video
from videolib import ClipEncoder, FrameStore, VideoReadError, extract_frames, ingest, probe_video
from videolib.types import Frame
from videolib.video.decoder import to_rgb

pytestmark = pytest.mark.slow

CLOSED_GOP = {"x264-params": "keyint=30:min-keyint=30:bframes=3:scenecut=0:b-adapt=0"}
NO_B = {"x264-params": "keyint=30:min-keyint=30:bframes=0:scenecut=0"}
X265 = {"x265-params": "keyint=30:min-keyint=30:bframes=3:log-level=none"}
REALTIME = {"deadline": "realtime", "cpu-used": "8", "g": "30"}
HELD = [*range(40), *range(52, 100)]  # 1/30 s; picture 39 stays twelve times as long as the others


def _sound_frames(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    """Decode all in one thread; the times from the first frame, and the RGB images."""
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        frames = [frame for frame in container.decode(stream) if not frame.is_corrupt]
        aspect = stream.sample_aspect_ratio or Fraction(1)
        times = [(frame.pts - frames[0].pts) * stream.time_base for frame in frames]
        return times, [to_rgb(frame, aspect) for frame in frames]


def _samples(path: Path, every_seconds: float = 1 / 30) -> tuple[list[Frame], list[str]]:
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        frames = list(extract_frames(path, every_seconds=every_seconds))
    return frames, [str(one.message) for one in record]


def _check_all(path: Path, every_seconds: float = 1 / 30) -> list[Frame]:
    """Check that every sample is there, without a warning, and equals the frame that a plain decode shows."""
    times, images = _sound_frames(path)
    step = Fraction(every_seconds).limit_denominator(1000)
    frames, messages = _samples(path, every_seconds)
    assert messages == []
    assert [frame.frame_number for frame in frames] == [*range(1, len(frames) + 1)]
    assert len(frames) >= times[-1] / step
    for frame in frames:
        place = bisect_right(times, (frame.frame_number - 1) * step) - 1
        assert np.array_equal(frame.image, images[place]), frame.frame_number
    return frames


# --- texts and side data


def _titled(path: Path, codec: str, pixel_format: str) -> Path:
    with av.open(str(path), "w", metadata_encoding="latin-1") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = SIZE
        stream.pix_fmt = pixel_format
        for metadata in (container.metadata, stream.metadata):
            metadata.update(
                title="caf\xe9 \xa8", handler_name="\xe9", comment="\xa8", language="\xe9\xe9\xe9"
            )
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(counter_picture(number), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if path.suffix == ".gif":
        content = path.read_bytes()
        place = content.index(b"\x21\xf9")
        path.write_bytes(content[:place] + b"\x21\xfe\x05caf\xe9 \0" + content[place:])
    return path


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format"),
    [
        ("mp4", "libx264", "yuv420p"),
        ("mov", "libx264", "yuv420p"),
        ("mkv", "libx264", "yuv420p"),
        ("webm", "libvpx", "yuv420p"),
        ("avi", "mpeg4", "yuv420p"),
        ("3gp", "mpeg4", "yuv420p"),
        ("flv", "flv", "yuv420p"),
        ("nut", "mpeg4", "yuv420p"),
        ("rm", "rv10", "yuv420p"),
        ("gif", "gif", "rgb8"),
    ],
)
def test_text_that_is_not_utf8(suffix: str, codec: str, pixel_format: str, tmp_path: Path) -> None:
    path = _titled(tmp_path / f"titled.{suffix}", codec, pixel_format)
    assert b"\xe9" in path.read_bytes()
    with pytest.raises(UnicodeDecodeError), av.open(str(path)):
        pass
    assert probe_video(path).duration_seconds == pytest.approx(1)
    assert len(_samples(path, 0.1)[0]) == 10


def test_file_name_that_is_not_utf8_is_stored(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.mp4", count=30)
    name = os.fsencode(tmp_path) + b"/caf\xe9 \xff.mp4"
    try:
        Path(os.fsdecode(name)).write_bytes(plain.read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    store = FrameStore(str(tmp_path / "store.duckdb"))
    video = ingest(Path(os.fsdecode(name)), ClipEncoder("demo"), store, progress=False)
    assert video.title == r"caf\xe9 \xff"
    assert video.source == rf"{tmp_path}/caf\xe9 \xff.mp4"
    row = store.list_videos().iloc[0]
    assert (row["title"], row["source"], row["complete"]) == (video.title, video.source, True)
    assert len(store.read_frame_numbers(video.video_id)) == 1


@pytest.mark.parametrize("suffix", ["avi", "mov", "mkv"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_of_a_camera(orientation: int, suffix: str, tmp_path: Path) -> None:
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, orientation, 0)
    exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    source = write_video(tmp_path / "source.mkv", "mjpeg", count=3, pixel_format="yuvj420p")
    path = _rewrite(source, tmp_path / f"exif.{suffix}", lambda data: data[:2] + exif + data[2:])
    plain = next(extract_frames(source)).image
    png, tag = io.BytesIO(), PIL.Image.Exif()
    tag[0x112] = orientation
    PIL.Image.fromarray(plain).save(png, "png", exif=tag)
    upright = np.array(PIL.ImageOps.exif_transpose(PIL.Image.open(png)))
    assert np.array_equal(next(extract_frames(path)).image, upright)


def _rewrite(source: Path, target: Path, change: Callable[[bytes], bytes], *, all_keys: bool = False) -> Path:
    """Copy the packets, each changed; with all_keys the file calls every one a keyframe."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        for old in reader.demux(stream):
            if old.size:
                packet = av.Packet(change(bytes(old)))
                packet.pts, packet.dts, packet.time_base = old.pts, old.dts, old.time_base
                packet.duration, packet.is_keyframe = old.duration, all_keys or old.is_keyframe
                packet.stream = copy
                writer.mux(packet)
    return target


@pytest.mark.parametrize("rotation", [None, 90])
def test_side_data_without_a_name(rotation: int | None, tmp_path: Path) -> None:
    # MPEG-5 part 2 (LCEVC) in a message of H.264: registered by ITU-T T.35, United Kingdom, V-Nova
    message = b"\x06\x04\x09\xb4\x00\x50\x00\x01\x7b\x01\x02\x03\x80"
    source = write_video(tmp_path / "source.mp4", count=3, rotation=rotation)
    path = _rewrite(
        source, tmp_path / "enhanced.mp4", lambda data: len(message).to_bytes(4, "big") + message + data
    )
    with av.open(str(path)) as container, pytest.raises(ValueError, match="is not a valid Type"):
        _ = next(container.decode(video=0)).side_data
    assert np.array_equal(next(extract_frames(path)).image, next(extract_frames(source)).image)


# --- gaps that are no loss


def _ebml(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def _elements(content: bytes, place: int, end: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of EBML elements; of Segment, Cluster and BlockGroup the children."""
    while place < end:
        width = 9 - content[place].bit_length()
        name, place = content[place : place + width].hex(), place + width
        width = 9 - content[place].bit_length()
        size, place = int.from_bytes(content[place : place + width], "big") ^ 1 << 7 * width, place + width
        if name in ("18538067", "1f43b675", "a0"):
            size = min(size, end - place)
            yield from [("cluster", b"")] * (name == "1f43b675")
            yield from _elements(content, place, place + size)
        else:
            yield name, content[place : place + size]
        place += size


def _write_matroska(
    source: Path, target: Path, *, lace: int = 1, addition: int = 0, index: bool = False
) -> Path:
    """Copy a Matroska file as other programs write it.

    `lace` blocks of sound become one, each picture gets an addition of so many bytes, and between the clusters
    stand an index and tags.
    """
    content = source.read_bytes()
    head, clusters, laced = b"", [], []
    for name, value in _elements(content, 0, len(content)):
        if name in ("1a45dfa3", "1549a966", "1654ae6b"):
            head += _ebml(name, value) + (bytes.fromhex("1853806701ffffffffffffff") if not head else b"")
        elif name == "cluster":
            clusters.append(b"")
            laced = []
        elif name == "e7":
            clusters[-1] += _ebml(name, value)
        elif name in ("a3", "a1") and value[0] == 0x81:
            block = value[:3] + bytes([value[3] & 0x7F]) + value[4:]
            group = (
                _ebml("a1", block) + b""
                if not addition
                else _ebml("a1", block)
                + _ebml("75a1", _ebml("a6", _ebml("ee", b"\1") + _ebml("a5", os.urandom(addition))))
            )
            group += b"" if value[3] & 0x80 else _ebml("fb", b"\xff")
            clusters[-1] += _ebml("a0", group)
        elif name in ("a3", "a1"):
            laced.append(value)
            if len(laced) == lace:
                clusters[-1] += _ebml("a3", _laced(laced))
                laced = []
    between = _ebml("1c53bb6b", _ebml("ec", bytes(500))) + _ebml("1254c367", _ebml("ec", bytes(500)))
    joint = between if index else b""
    target.write_bytes(head + joint.join(_ebml("1f43b675", cluster) for cluster in clusters))
    return target


def _laced(blocks: list[bytes]) -> bytes:
    """Put several blocks into one, in Xiph's manner (RFC 9559, 5.1.4.5.2)."""
    if len(blocks) == 1:
        return blocks[0]
    frames = [block[4:] for block in blocks]
    sizes = b"".join(b"\xff" * (len(frame) // 255) + bytes([len(frame) % 255]) for frame in frames[:-1])
    head = blocks[0][:3] + bytes([blocks[0][3] & ~6 | 2, len(frames) - 1])
    return head + sizes + b"".join(frames)


def _with_sound(path: Path, times: list[int], codec: str = "libx264") -> Path:
    """Write pictures at `times`, in 1/30 s, and four seconds of noise in small packets."""
    noise = np.random.default_rng(3).integers(-9999, 9999, (1, 32000), dtype=np.int16)
    with av.open(str(path), "w", container_options={"cluster_time_limit": "1000"}) as container:
        video = container.add_stream(codec, rate=30, options=CLOSED_GOP if codec == "libx264" else REALTIME)
        video.width, video.height = SIZE
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 30)
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for place in range(0, 32000, 160):
            piece = av.AudioFrame.from_ndarray(noise[:, place : place + 160], format="s16", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = 8000, place, Fraction(1, 8000)
            container.mux(sound.encode(piece))
        for time in times:
            frame = av.VideoFrame.from_ndarray(counter_picture(time), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 30)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


MATROSKA = {
    "laces": {"lace": 8},
    "laces of two": {"lace": 2},
    "additions": {"addition": 700},
    "an index between clusters": {"index": True},
    "all of it": {"lace": 5, "addition": 300, "index": True},
}


@pytest.mark.parametrize("how", MATROSKA)
@pytest.mark.parametrize("codec", ["libx264", "libvpx"])
def test_pause_in_matroska_is_no_loss(how: str, codec: str, tmp_path: Path) -> None:
    source = _with_sound(tmp_path / "source.mkv", HELD, codec)
    path = _write_matroska(source, tmp_path / "other.mkv", **MATROSKA[how])
    assert len(_check_all(path)) == 100


@pytest.mark.parametrize("how", MATROSKA)
def test_lost_part_of_matroska_is_noticed(how: str, tmp_path: Path) -> None:
    source = _with_sound(tmp_path / "source.mkv", [*range(100)])
    path = _write_matroska(source, tmp_path / "other.mkv", **MATROSKA[how])
    right = {frame.frame_number: frame.image for frame in _check_all(path)}
    content = bytearray(path.read_bytes())
    middle = content.index(b"\x1f\x43\xb6\x75", len(content) // 3)
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    frames, messages = _samples(path)
    assert len(messages) == 1
    assert "of 100 samples could not be read" in messages[0]
    assert 30 <= len(frames) < 100
    assert all(np.array_equal(frame.image, right[frame.frame_number]) for frame in frames)


TRANSPORT = {
    "H.264": ("libx264", CLOSED_GOP),
    "H.264, no B-frames": ("libx264", NO_B),
    "H.264, high profile": ("libx264", {"x264-params": "keyint=250:bframes=3:b-pyramid=normal:scenecut=0"}),
    "HEVC": ("libx265", X265),
    "MPEG-2": ("mpeg2video", {"g": "15", "bf": "2"}),
    "MPEG-2, no B-frames": ("mpeg2video", {"g": "15"}),
}


@pytest.mark.parametrize("suffix", ["ts", "m2ts"])
@pytest.mark.parametrize("name", TRANSPORT)
@pytest.mark.parametrize("pause", [1, 12])
def test_held_frame_in_a_transport_stream_is_no_loss(
    pause: int, name: str, suffix: str, tmp_path: Path
) -> None:
    codec, options = TRANSPORT[name]
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no encoder {codec}")
    times = [*range(40), *range(40 + pause, 100)]
    path = write_video(
        tmp_path / f"held.{suffix}",
        codec,
        count=len(times),
        times=times,
        time_base=Fraction(1, 30),
        options=options,
    )
    assert len(_check_all(path)) == 100


@pytest.mark.parametrize("name", TRANSPORT)
def test_picture_taken_out_of_a_transport_stream_spoils_no_sample(name: str, tmp_path: Path) -> None:
    codec, options = TRANSPORT[name]
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no encoder {codec}")
    whole = write_video(tmp_path / "whole.ts", codec, count=60, options=options)
    right = {frame.frame_number: frame.image for frame in _samples(whole)[0]}
    noticed = 0
    for lost in range(5, 36, 2):
        path = remux(whole, tmp_path / "lost.ts", without=lost)
        frames, messages = _samples(path)
        wrong = [f.frame_number for f in frames if not np.array_equal(f.image, right[f.frame_number])]
        # a picture that no other needs may have been left out on purpose: then the one before it is held
        assert len(wrong) <= (not messages), (lost, wrong)
        noticed += bool(messages)
    assert noticed >= 5


@pytest.mark.parametrize("gap", [1, 5, 21])
@pytest.mark.parametrize("step", [188, 192])
def test_bytes_missing_from_a_transport_stream_are_noticed(step: int, gap: int, tmp_path: Path) -> None:
    whole = write_video(tmp_path / f"whole.{'ts' if step == 188 else 'm2ts'}", count=90, options=CLOSED_GOP)
    right = {frame.frame_number: frame.image for frame in _samples(whole)[0]}
    content = whole.read_bytes()
    middle = len(content) // 2 // step * step
    path = tmp_path / "missing.ts"
    path.write_bytes(content[:middle] + content[middle + gap * step :])
    frames, messages = _samples(path)
    if gap > 1:
        assert "of 90 samples could not be read" in messages[0]
    assert 45 <= len(frames) <= 90 - len(messages)
    assert all(np.array_equal(frame.image, right[frame.frame_number]) for frame in frames)


def test_empty_chunks_in_avi_are_no_loss(tmp_path: Path) -> None:
    times = [0, *range(90, 180, 15), 300]
    path = write_video(
        tmp_path / "slides.avi",
        "mpeg4",
        count=len(times),
        times=times,
        time_base=Fraction(1, 30),
        options={"bf": "0"},
    )
    frames = _check_all(path)
    assert [read_counter(frame.image) for frame in frames] == [bisect_right(times, n) - 1 for n in range(301)]


# --- keyframes by the container's word alone


def _without_stss(path: Path, codec: str, options: dict[str, str] | None) -> Path:
    write_video(path, codec, count=90, options=options)
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
    return path


def _all_keys(path: Path, codec: str, options: dict[str, str] | None) -> Path:
    size = (176, 144) if codec == "h263" else SIZE
    source = write_video(path.with_name("source.nut"), codec, count=90, size=size, options=options)
    return _rewrite(source, path, bytes, all_keys=True)


def _animation(path: Path, codec: str, options: dict[str, str] | None) -> Path:
    write_video(path, codec, count=90, options=options, pixel_format="rgb24")
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
    return path


FALSE_KEYS = [
    ("mpeg4.mp4", "mpeg4", None, _without_stss),
    ("h264.mp4", "libx264", CLOSED_GOP, _without_stss),
    ("h264-nob.mp4", "libx264", NO_B, _without_stss),
    ("animation.mov", "qtrle", None, _animation),
    ("h263.avi", "h263", None, _all_keys),
    ("mpeg4.avi", "mpeg4", None, _all_keys),
    ("mpeg4.mkv", "mpeg4", None, _all_keys),
    ("msmpeg4.avi", "msmpeg4", None, _all_keys),
    ("mpeg2.mkv", "mpeg2video", {"bf": "2"}, _all_keys),
    ("ffv1.mkv", "ffv1", {"g": "10"}, _all_keys),
    ("vp8.mkv", "libvpx", REALTIME, _all_keys),
]
BELIEVED = {"mpeg4.mp4", "animation.mov", "h263.avi", "msmpeg4.avi"}


@pytest.mark.parametrize(("file", "codec", "options", "make"), FALSE_KEYS, ids=[f for f, *_ in FALSE_KEYS])
def test_false_keyframes(
    file: str, codec: str, options: dict[str, str] | None, make: Callable[..., Path], tmp_path: Path
) -> None:
    path = make(tmp_path / file, codec, options)
    with av.open(str(path)) as container:
        believed = all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    assert believed == (file in BELIEVED)  # of the others FFmpeg looks into the packets
    for every_seconds in (0.12, 1 / 30):
        _check_all(path, every_seconds)
    times, images = _sound_frames(path)
    with av.open(str(path)) as container:
        keys = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame] or [0]
    assert 1 <= len(keys) < 20
    frames = list(extract_frames(path, every_seconds=0.001, sampling="keyframes"))
    assert [frame.timestamp_seconds for frame in frames] == [float(times[key]) for key in keys]
    assert all(np.array_equal(f.image, images[key]) for f, key in zip(frames, keys, strict=True))


def test_damage_spreads_over_false_keyframes(tmp_path: Path) -> None:
    path = _without_stss(tmp_path / "damaged.mp4", "libx264", CLOSED_GOP)
    right = {frame.frame_number: frame.image for frame in _samples(path)[0]}
    with av.open(str(path)) as container:
        hurt = [packet for packet in container.demux(video=0) if packet.size][31]
    content = bytearray(path.read_bytes())
    content[hurt.pos : hurt.pos + hurt.size] = bytes(hurt.size)
    path.write_bytes(content)
    frames, messages = _samples(path, 1 / 30)
    assert len(messages) == 1
    assert {*range(1, 31), *range(61, 91)} <= {frame.frame_number for frame in frames}
    assert all(np.array_equal(frame.image, right[frame.frame_number]) for frame in frames)


# --- the first picture


def test_apng_whose_first_frame_blends_over_nothing(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.apng", "apng", count=12, rate=10, pixel_format="rgba").read_bytes()
    place, content, is_first = 8, plain[:8], True
    while place < len(plain):
        size = int.from_bytes(plain[place : place + 4], "big")
        name, value = plain[place + 4 : place + 8], plain[place + 8 : place + 8 + size]
        if name == b"fcTL" and is_first:
            is_first, value = False, value[:-1] + b"\1"
        content += struct.pack(">I", size) + name + value + struct.pack(">I", zlib.crc32(name + value))
        place += 12 + size
    path = tmp_path / "over.apng"
    path.write_bytes(content)
    assert [read_counter(frame.image) for frame in _check_all(path, 0.1)] == [*range(12)]


@pytest.mark.parametrize(
    ("codec", "options", "first", "keys"),
    [
        ("mpeg4", {"g": "30"}, 0, (5, 31, 61)),
        ("mpeg4", {"g": "30"}, 0, (31, 40, 61)),
        ("libx264", CLOSED_GOP, 0, (31, 40, 61)),
        ("libx264", CLOSED_GOP, 10, (31, 40, 61)),
    ],
)
def test_first_keyframe_is_not_in_the_files_list(
    codec: str, options: dict[str, str], first: int, keys: tuple[int, ...], tmp_path: Path
) -> None:
    source = write_video(tmp_path / "source.mp4", codec, count=90, options=options)
    path = set_edits(source, tmp_path / "edit.mp4", [(Fraction(first, 30), Fraction(60, 30))])
    content = bytearray(path.read_bytes())
    place = content.index(b"stss") + 12
    content[place : place + 12] = struct.pack(">3I", *keys)
    path.write_bytes(content)
    assert [read_counter(frame.image) for frame in _check_all(path)] == [*range(first, first + 60)]


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4"])
def test_recording_begins_within_intra_refresh(suffix: str, tmp_path: Path) -> None:
    options = {"x264-params": "intra-refresh=1:keyint=20:bframes=0:scenecut=0"}
    source = write_video(tmp_path / f"source.{suffix}", count=60, options=options)
    assert 20 < len(_check_all(remux(source, tmp_path / f"later.{suffix}", first_packet=7))) < 53


@pytest.mark.parametrize("suffix", ["mkv", "flv"])
def test_pictures_made_up_before_the_first_keyframe_are_not_shown(suffix: str, tmp_path: Path) -> None:
    codec = "flv" if suffix == "flv" else "mpeg4"
    source = write_video(tmp_path / f"source.{suffix}", codec, count=60, options={"g": "20"})
    frames, messages = _samples(remux(source, tmp_path / f"later.{suffix}", first_packet=7))
    assert messages == []
    assert read_counter(frames[0].image) == 20


@pytest.mark.parametrize(
    ("file", "codec", "options"),
    [
        ("held.avi", "libx264", NO_B),
        ("held.avi", "mpeg4", None),
        ("held.wmv", "libx264", NO_B),
        ("held.wmv", "msmpeg4", None),
        ("even.wmv", "libx264", CLOSED_GOP),
        ("even.wmv", "mpeg2video", {"bf": "2"}),
        ("even.avi", "mpeg4", {"bf": "2"}),
        ("even.m1v", "mpeg1video", {"bf": "2"}),
        ("even.m1v", "mpeg1video", None),
        ("even.m2v", "mpeg2video", {"bf": "2"}),
    ],
)
def test_times_that_no_container_stores(
    file: str, codec: str, options: dict[str, str] | None, tmp_path: Path
) -> None:
    times = [0, 1, 2, 5, 6, 7, 12, 13, 14, 15, 20, 21] if file.startswith("held") else [*range(12)]
    path = write_video(
        tmp_path / file, codec, count=12, rate=25, times=times, time_base=Fraction(1, 25), options=options
    )
    frames, messages = _samples(path, 0.04)
    assert messages == []
    shown = [bisect_right(times, number) - 1 for number in range(times[-1] + 1)]
    assert [read_counter(frame.image) for frame in frames] == shown


# --- what is missing at the beginning and at the end


@pytest.mark.parametrize("filling", ["zeros", "noise"])
@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libx264"), ("webm", "libvpx"), ("flv", "libx264")])
def test_first_cluster_is_lost(suffix: str, codec: str, filling: str, tmp_path: Path) -> None:
    whole = write_video(
        tmp_path / f"whole.{suffix}",
        codec,
        count=150,
        options=CLOSED_GOP if codec == "libx264" else REALTIME,
        container_options={} if suffix == "flv" else {"cluster_time_limit": "1000"},
    )
    right = {frame.frame_number: frame.image for frame in _samples(whole)[0]}
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(whole.read_bytes())
    begin = places[0] if suffix == "flv" else content.index(b"\x1f\x43\xb6\x75")
    end = places[29] if suffix == "flv" else content.index(b"\x1f\x43\xb6\x75", begin + 4)
    if filling == "noise" and suffix != "flv":  # of noise FFmpeg makes no FLV at all
        content[begin:end] = np.random.default_rng(1).integers(0, 256, end - begin, dtype=np.uint8).tobytes()
    else:
        content[begin:end] = bytes(end - begin)
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(content)
    frames, messages = _samples(path)
    assert len(messages) == 1
    assert "of 150 samples could not be read" in messages[0]
    assert 100 < len(frames) <= 121
    assert all(np.array_equal(frame.image, right[frame.frame_number]) for frame in frames)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "flv"])
def test_late_beginning_is_no_loss(suffix: str, tmp_path: Path) -> None:
    path = write_video(
        tmp_path / f"late.{suffix}", count=60, times=[*range(150, 210)], time_base=Fraction(1, 30)
    )
    with av.open(str(path)) as container:
        first = next(packet for packet in container.demux(video=0))
        assert first.pts * first.time_base > 4
    assert len(_check_all(path)) == 60


CUT = [
    ("ts", "libx264", CLOSED_GOP),
    ("m2ts", "libx264", CLOSED_GOP),
    ("ts", "libx265", X265),
    ("ts", "mpeg2video", {"g": "15", "bf": "2"}),
    ("flv", "libx264", CLOSED_GOP),
    ("mpg", "mpeg2video", {"g": "15", "bf": "2"}),
    ("mpg", "mpeg1video", {"g": "15"}),
    ("mkv", "libx264", CLOSED_GOP),
    ("webm", "libvpx", REALTIME),
    ("avi", "mpeg4", None),
]


@pytest.mark.parametrize(("suffix", "codec", "options"), CUT)
def test_cut_file_says_so_and_tears_no_picture(
    suffix: str, codec: str, options: dict[str, str] | None, tmp_path: Path
) -> None:
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no encoder {codec}")
    whole = write_video(tmp_path / f"whole.{suffix}", codec, count=60, size=(192, 128), options=options)
    right = {frame.frame_number: frame.image for frame in _samples(whole)[0]}
    content = whole.read_bytes()
    path = tmp_path / f"cut.{suffix}"
    with av.open(str(whole)) as container:
        last = [packet.pos for packet in container.demux(video=0) if packet.size and packet.pos][-1]
    cuts = np.random.default_rng(0).integers(len(content) // 2, last, 10)
    for cut in (cuts | 1).tolist():  # not between two packets of 188 bytes
        path.write_bytes(content[:cut])
        frames, messages = _samples(path)
        assert len(messages) == 1, cut
        assert "cut short" in messages[0]
        assert len(frames) > 10
        assert all(np.array_equal(frame.image, right[frame.frame_number]) for frame in frames), cut


def test_warning_of_a_cut_stream_names_what_is_left(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.ts", count=90, options=CLOSED_GOP)
    path = tmp_path / "cut.ts"
    path.write_bytes(whole.read_bytes()[:-9000])
    with pytest.warns(UserWarning, match=r"cut\.ts: it was cut short after \d\.\d seconds; what came then"):
        list(extract_frames(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(extract_frames(path, end_seconds=1))


# --- headers


def _with_tracks(path: Path, count: int) -> Path:
    """Write an mp4 with the same video track again and again."""
    content = write_video(path, count=10).read_bytes()
    places = {name: content.index(name) - 4 for name in (b"moov", b"trak", b"tkhd")}
    size = {name: int.from_bytes(content[place : place + 4], "big") for name, place in places.items()}
    track = content[places[b"trak"] :][: size[b"trak"]]
    number = places[b"tkhd"] - places[b"trak"] + 20
    more = b"".join(
        track[:number] + (other + 2).to_bytes(4, "big") + track[number + 4 :] for other in range(count - 1)
    )
    end = places[b"trak"] + size[b"trak"]
    moov = (size[b"moov"] + len(more)).to_bytes(4, "big")
    path.write_bytes(
        content[: places[b"moov"]] + moov + content[places[b"moov"] + 4 : end] + more + content[end:]
    )
    return path


def test_more_streams_than_are_read(tmp_path: Path) -> None:
    assert probe_video(_with_tracks(tmp_path / "some.mp4", 20)).frames_per_second == 30
    for count in (1001, 20_000):
        with pytest.raises(
            VideoReadError, match="has more streams than the 1000 that FFmpeg reads; copy its"
        ):
            probe_video(_with_tracks(tmp_path / "many.mp4", count))


def test_flipped_bit_of_a_declared_length_changes_nothing(tmp_path: Path) -> None:
    matroska = write_video(tmp_path / "whole.mkv", count=30, options=CLOSED_GOP)
    avi = write_video(tmp_path / "whole.avi", "mpeg4", count=30)
    for path, place, size in (
        (matroska, matroska.read_bytes().index(b"\x44\x89\x88") + 3, 2),
        (avi, avi.read_bytes().index(b"strh") + 8 + 32, 4),
    ):
        content = path.read_bytes()
        for bit in range(8 * size):
            flipped = bytearray(content)
            flipped[place + bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            assert probe_video(path).duration_seconds == pytest.approx(1, abs=0.05), (path.suffix, bit)
            assert len(_samples(path)[0]) == 30
