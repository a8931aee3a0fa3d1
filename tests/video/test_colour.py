"""Colours against the standards' own curves, written down here a second time, in the other direction."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media import can_encode, counter_picture, write_video
from videolib import extract_frames, probe_video
from videolib.demo import SAMPLE_VIDEO_PATH, sample_scenes

BT709, BT601, BT2020, UNKNOWN = 1, 6, 9, 2  # of matrices and primaries
P3 = 12
PQ, HLG = 16, 18
WHITE = 203  # cd/m², ITU-R BT.2408
KR_KB = {BT709: (0.2126, 0.0722), BT601: (0.299, 0.114), BT2020: (0.2627, 0.0593)}
# from linear BT.709: ITU-R BT.2087, and https://www.w3.org/TR/css-color-4/#color-conversion-code
FROM_BT709 = {
    BT709: np.eye(3),
    BT2020: np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]),
    P3: np.array([[0.8225, 0.1775, 0.0000], [0.0332, 0.9668, 0.0000], [0.0171, 0.0724, 0.9105]]),
}
X265 = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=12:crf=12"}

needs_x265 = pytest.mark.skipif(not can_encode("libx265"), reason="this PyAV has no encoder libx265")


def to_pq(light: np.ndarray) -> np.ndarray:
    """The inverse EOTF of ITU-R BT.2100, table 4, of cd/m²."""
    power = (np.clip(light, 0, None) / 10_000) ** (2610 / 16384)
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    return ((c1 + c2 * power) / (1 + c3 * power)) ** (2523 / 4096 * 128)


def to_hlg(light: np.ndarray) -> np.ndarray:
    """The inverse EOTF of ITU-R BT.2100, table 5, of a display of 1000 cd/m²."""
    a, b = 0.17883277, 1 - 4 * 0.17883277
    luminance = np.maximum(light @ [0.2627, 0.6780, 0.0593], 1e-9) / 1000
    scene = np.clip(light / 1000 * luminance[..., None] ** (1 / 1.2 - 1), 0, 1)
    high = a * np.log(np.maximum(12 * scene - b, 1e-9)) + 0.5 - a * np.log(4 * a)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def light_of(image: np.ndarray, primaries: int) -> np.ndarray:
    """The light of an SDR picture in BT.709, in other primaries; 1 at white."""
    return np.clip((image / 255.0) ** 2.4 @ FROM_BT709[primaries].T, 0, None)


def write_signal(
    path: Path,
    codec: str,
    signals: Sequence[np.ndarray],
    *,
    matrix: int,
    tags: tuple[int, int, int, int],
    options: dict[str, str] | None = None,
    bits: int = 10,
) -> Path:
    """Encode R'G'B' signals (height, width, 3) from 0 to 1; `tags` are primaries, transfer, matrix and range."""
    height, width, _ = signals[0].shape
    kr, kb = KR_KB[matrix]
    pixel_format = "yuv420p10le" if bits == 10 else "yuv420p"
    kind = np.uint16 if bits == 10 else np.uint8
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        for number, signal in enumerate(signals):
            red, green, blue = np.moveaxis(np.asarray(signal, float), -1, 0)
            luma = kr * red + (1 - kr - kb) * green + kb * blue
            frame = av.VideoFrame(width, height, pixel_format)
            chroma = [(blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)]
            small = [each.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)) for each in chroma]
            levels = [16 + 219 * luma, *(128 + 224 * each for each in small)]
            for plane, level in zip(frame.planes, levels, strict=True):
                rows = np.zeros((plane.height, plane.line_size // kind().itemsize), kind)
                rows[:, : level.shape[1]] = np.round(level * 2 ** (bits - 8))
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = number, Fraction(1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_hdr(path: Path, curve, images: Sequence[np.ndarray], *, tags: bool = True) -> Path:
    signals = [curve(WHITE * light_of(image, BT2020)) for image in images]
    transfer = PQ if curve is to_pq else HLG
    marks = (BT2020, transfer, BT2020, 1) if tags else (UNKNOWN, transfer, UNKNOWN, 1)
    return write_signal(path, "libx265", signals, matrix=BT2020, tags=marks, options=X265)


def read_images(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in extract_frames(path)]


def patches(colours: Sequence[Sequence[float]], side: int = 32) -> np.ndarray:
    return np.repeat(np.array(colours, float)[None], side, axis=1) * np.ones((side, 1, 1))


def read_patches(image: np.ndarray, side: int = 32) -> np.ndarray:
    return image[side // 2, side // 2 :: side].astype(int)


@pytest.fixture(scope="module")
def scenes() -> tuple[list[np.ndarray], np.ndarray]:
    """Two frames of each scene of the sample video, half a megapixel, and which scene each is of."""
    table = sample_scenes()
    frames = []
    for row in table.itertuples():
        length = row.end_seconds - row.start_seconds
        start = row.start_seconds + length / 3
        frames += list(
            extract_frames(
                SAMPLE_VIDEO_PATH, every_seconds=0.5, start_seconds=start, end_seconds=start + length / 3
            )
        )[:2]
    times = [frame.timestamp_seconds for frame in frames]
    return [frame.image[::2, ::2] for frame in frames], np.searchsorted(
        table["start_seconds"], times, "right"
    ) - 1


@needs_x265
@pytest.mark.parametrize("curve", [to_pq, to_hlg])
def test_the_captions_of_the_sample_video_are_found_in_hdr(curve, scenes, encoder, tmp_path):
    images, scene_of = scenes
    captions = encoder.encode_texts(sample_scenes()["caption"])
    path = write_hdr(tmp_path / "hdr.mp4", curve, images)
    shown = encoder.encode_images(frame.image for frame in extract_frames(path))
    assert len(shown) == len(images) == 2 * len(captions)
    found = scene_of[(captions @ shown.T).argmax(axis=1)] == np.arange(len(captions))
    assert found.sum() >= 23
    assert np.sum(shown * encoder.encode_images(images), axis=1).min() > 0.99


GREYS = (1, 5, 10, 26, 50, 80, 100, 203, 300, 600, 1000)  # cd/m²


@needs_x265
@pytest.mark.parametrize("curve", [to_pq, to_hlg])
@pytest.mark.parametrize("tags", [True, False])
def test_greys_keep_their_light_and_highlights_keep_their_order(curve, tags, tmp_path):
    light = patches([[level] * 3 for level in GREYS]) / WHITE
    image = 255 * light ** (1 / 2.4)  # beyond what SDR has
    path = write_hdr(tmp_path / "grey.mp4", curve, [image], tags=tags)
    got = read_patches(read_images(path)[0])
    assert np.ptp(got, axis=1).max() <= 2
    grey = got.mean(axis=1)
    below = [i for i, level in enumerate(GREYS) if level <= 80]
    np.testing.assert_allclose(grey[below], 255 * (np.array(GREYS)[below] / WHITE) ** (1 / 2.4), atol=2)
    # ITU-R BT.2390: from the knee on light is compressed, up to the peak, which is white
    assert np.all(np.diff(grey) > 0)
    assert 220 < grey[GREYS.index(203)] < 240
    assert grey[-1] >= 254


COLOURS = [
    (180, 20, 20),
    (20, 150, 20),
    (30, 40, 180),
    (170, 170, 30),
    (120, 60, 160),
    (90, 90, 90),
    (20, 140, 140),
]


@needs_x265
@pytest.mark.parametrize("curve", [to_pq, to_hlg])
def test_colours_come_back_from_hdr(curve, tmp_path):
    path = write_hdr(tmp_path / "colours.mp4", curve, [patches(COLOURS)])
    np.testing.assert_allclose(read_patches(read_images(path)[0]), COLOURS, atol=6)


@needs_x265
@pytest.mark.parametrize("primaries", [BT2020, P3])
def test_colours_come_back_from_a_wide_gamut(primaries, tmp_path):
    signal = light_of(patches(COLOURS), primaries) ** (1 / 2.4)
    matrix = BT2020 if primaries == BT2020 else BT709
    tags = (primaries, 14 if primaries == BT2020 else 1, matrix, 1)
    path = write_signal(tmp_path / "wide.mp4", "libx265", [signal], matrix=matrix, tags=tags, options=X265)
    np.testing.assert_allclose(read_patches(read_images(path)[0]), COLOURS, atol=6)


def test_light_beyond_the_peak_is_white(tmp_path):
    if not can_encode("ffv1"):
        pytest.skip("this PyAV has no encoder ffv1")
    signal = to_pq(patches([[level] * 3 for level in (1000, 2000, 4000, 10_000)]))
    path = write_signal(tmp_path / "sun.mkv", "ffv1", [signal], matrix=BT2020, tags=(BT2020, PQ, BT2020, 1))
    assert read_patches(read_images(path)[0]).min() >= 253


HD = (1280, 720)


@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((1280, 720), BT709),
        ((1280, 536), BT709),
        ((608, 1080), BT709),
        ((720, 576), BT601),
        ((640, 360), BT601),
        ((854, 480), BT601),
    ],
)
def test_what_says_nothing_of_its_matrix_is_read_as_players_do(size, matrix, tmp_path):
    width, height = size
    image = np.zeros((height, width, 3))
    image[:32, : 32 * len(COLOURS)] = patches(COLOURS)
    path = tmp_path / "untagged.mp4"
    tags = (UNKNOWN, UNKNOWN, UNKNOWN, 0)
    write_signal(path, "libx264", [image / 255], matrix=matrix, tags=tags, options={"crf": "8"}, bits=8)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).colorspace == UNKNOWN
    got = read_patches(read_images(path)[0][:32, : 32 * len(COLOURS)])
    np.testing.assert_allclose(got, COLOURS, atol=8)


@pytest.mark.parametrize("matrix", [BT709, BT601])
def test_a_matrix_that_is_told_is_kept(matrix, tmp_path):
    image = np.zeros((HD[1], HD[0], 3))
    image[:32, : 32 * len(COLOURS)] = patches(COLOURS)
    path = tmp_path / "tagged.mp4"
    tags = (matrix, matrix, matrix, 1)
    write_signal(path, "libx264", [image / 255], matrix=matrix, tags=tags, options={"crf": "8"}, bits=8)
    shown = read_images(path)[0]
    with av.open(str(path)) as container:
        assert np.array_equal(shown, next(container.decode(video=0)).to_ndarray(format="rgb24"))
    np.testing.assert_allclose(read_patches(shown[:32, : 32 * len(COLOURS)]), COLOURS, atol=8)


@pytest.mark.parametrize(
    ("file", "codec", "pixel_format"),
    [
        ("rgb.mov", "png", "rgb24"),
        ("planes.mp4", "libx264rgb", "rgb24"),
        ("grey.mkv", "ffv1", "gray"),
        ("palette.gif", "gif", "rgb8"),
        ("jpeg.mov", "mjpeg", "yuvj420p"),
        ("animation.mov", "qtrle", "rgb24"),
    ],
)
def test_large_pictures_without_such_a_matrix_stay_as_they_are(file, codec, pixel_format, tmp_path):
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no encoder {codec}")
    pictures = [counter_picture(number, HD) for number in range(2)]
    path = write_video(tmp_path / file, codec, pictures=pictures, size=HD, pixel_format=pixel_format, rate=10)
    with av.open(str(path)) as container:
        expected = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(next(extract_frames(path)).image, expected)
    assert (probe_video(path).width, probe_video(path).height) == HD
