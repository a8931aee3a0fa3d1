import threading
from pathlib import Path

import numpy as np
import pytest

from tests.media import write_video
from videolib.types import RGBArray
from videolib.video import decoding, plan_samples, read_timeline, sample_frames


@pytest.fixture(scope="module")
def gops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds at 30 frames a second, a keyframe every other second."""
    path = tmp_path_factory.mktemp("gops") / "gops.mp4"
    return write_video(
        path, count=1200, options={"preset": "ultrafast", "g": "60", "x264-params": "scenecut=0"}
    )


@pytest.mark.parametrize(
    ("stop", "wanted", "converted_bytes", "is_huge"),
    [
        (decoding._GOP_PACKETS, 1, 0, False),
        (decoding._GOP_PACKETS + 1, 1, 0, True),
        (60, 15, 0, False),
        (60, 16, 0, True),
        (20, 8, 0, False),
        (20, 9, 0, True),
        (60, 8, decoding._GOP_BYTES // 10, False),
        (60, 8, decoding._GOP_BYTES // 8, True),
    ],
)
def test_a_gop_of_many_packets_frames_or_bytes_is_streamed(
    stop: int, wanted: int, converted_bytes: int, is_huge: bool, gops: Path
) -> None:
    timeline = read_timeline(gops)
    gop = decoding._Gop(0, stop, list(range(wanted)))
    assert gop.is_huge(timeline, converted_bytes) == is_huge


def test_closing_stops_what_is_being_decoded(gops: Path) -> None:
    """The second GOP has eight wanted frames; the consumer goes away while the first of them is converted."""
    begun, closing = threading.Event(), threading.Event()
    seen: list[int] = []

    def convert(image: RGBArray) -> int:
        seen.append(threading.get_ident())
        if len(seen) == 9:
            begun.set()
            closing.wait(10)
        return len(seen)

    timeline = read_timeline(gops)
    samples = plan_samples(timeline, every_seconds=0.25)
    with decoding.ThreadPoolExecutor(1) as pool:
        frames = sample_frames(samples, convert, converted_bytes=8, pool=pool)
        next(frames)
        assert begun.wait(10)
        closer = threading.Thread(target=frames.close)
        closer.start()
        closer.join(0.2)  # it waits for the worker, which is told to stop
        closing.set()
        closer.join(10)
    assert 9 <= len(seen) < 16
    assert np.all(np.array(seen) == seen[0])
