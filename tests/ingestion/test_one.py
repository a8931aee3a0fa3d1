import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import run_killed
from tests.file_server import Reply, file_server
from tests.light import LightEncoder
from tests.media import write_video
from videolib import (
    FrameStore,
    StoreError,
    VideoReadError,
    embed_frames,
    extract_frames,
    ingest,
    preflight,
    probe_video,
)
from videolib.demo import SAMPLE_VIDEO_PATH

EVERY_SECONDS = 1.7  # 84 samples of the sample video: batches of 4, 4, 8, 16, 32 and 20


@pytest.fixture(scope="session")
def undisturbed(encoder, tmp_path_factory) -> FrameStore:
    """The sample video, ingested in one go."""
    store = FrameStore(tmp_path_factory.mktemp("undisturbed") / "store.duckdb")
    ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=EVERY_SECONDS, progress=False)
    return store


def assert_same_rows(one: FrameStore, other: FrameStore) -> None:
    videos = [store.list_videos() for store in (one, other)]
    pd.testing.assert_frame_equal(*videos)
    frames = [store.read_frames(videos[0]["video_id"][0]) for store in (one, other)]
    for name in ("frame_number", "timestamp_seconds", "frame_data"):
        assert frames[0][name].tolist() == frames[1][name].tolist(), name
    np.testing.assert_allclose(*(np.stack(table["embedding_data"]) for table in frames), atol=1e-6)


def test_the_store_holds_each_sample_once(undisturbed, encoder):
    video_id = undisturbed.list_videos()["video_id"][0]
    stored = undisturbed.read_frames(video_id)
    assert stored["frame_number"].tolist() == list(range(1, 85))
    np.testing.assert_allclose(stored["timestamp_seconds"], np.arange(84) * EVERY_SECONDS)
    frames = list(extract_frames(SAMPLE_VIDEO_PATH, every_seconds=EVERY_SECONDS, start_seconds=100))
    expected = embed_frames(video_id, frames, encoder)
    kept = stored[stored["timestamp_seconds"] >= 100]
    assert kept["frame_data"].tolist() == expected["frame_data"].tolist()
    np.testing.assert_allclose(
        np.stack(kept["embedding_data"]), np.stack(expected["embedding_data"]), atol=1e-5
    )


def test_ingesting_again_reads_no_frame(store):
    encoder = LightEncoder()
    video = ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=30, progress=False)
    before = store.read_frames(video.video_id)

    class Unused:
        model, dimension = encoder.model, encoder.dimension

    assert ingest(SAMPLE_VIDEO_PATH, Unused(), store, every_seconds=30, progress=False) == video
    assert store.read_frames(video.video_id)["frame_number"].tolist() == before["frame_number"].tolist()


def test_the_same_file_elsewhere_is_the_same_video(store, tmp_path):
    encoder = LightEncoder()
    first = ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=30, progress=False)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(SAMPLE_VIDEO_PATH.read_bytes())
    second = ingest(copy, encoder, store, every_seconds=30, progress=False)
    assert second.video_id == first.video_id
    assert store.list_videos()[["title", "source"]].values.tolist() == [["copy", str(copy)]]


def test_a_url_is_downloaded_and_its_secrets_are_not_stored(store, tmp_path, monkeypatch):
    encoder = LightEncoder()
    monkeypatch.setenv("VIDEOLIB_CACHE_DIR", str(tmp_path / "cache"))
    with file_server() as server:
        url = server.add("/films/sample.mp4", Reply(SAMPLE_VIDEO_PATH.read_bytes()))
        video = ingest(f"{url}?token=secret-word", encoder, store, every_seconds=30, progress=False)
    assert store.list_videos()["frame_count"].tolist() == [5]
    assert "secret-word" not in repr(video) + store.list_videos().to_string()


def test_another_interval_is_refused(undisturbed, encoder):
    with pytest.raises(StoreError, match=r"every_seconds must be 1.7.*got 2"):
        ingest(SAMPLE_VIDEO_PATH, encoder, undisturbed, every_seconds=2, progress=False)


@pytest.mark.parametrize("every_seconds", [0, -1, float("nan")])
def test_a_wrong_interval_is_refused_before_anything_is_written(store, every_seconds):
    encoder = LightEncoder()
    with pytest.raises(ValueError, match="every_seconds must"):
        ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=every_seconds, progress=False)
    assert store.list_videos().empty


def test_what_is_no_video_is_an_error_and_leaves_nothing(store, tmp_path):
    encoder = LightEncoder()
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(VideoReadError, match=r"notes.mp4"):
        ingest(path, encoder, store)
    assert store.list_videos().empty


@pytest.mark.filterwarnings("ignore:.*1 of 1 samples could not be read")
def test_a_video_without_one_readable_sample_is_an_error_and_never_complete(encoder, store, tmp_path):
    path = write_video(tmp_path / "torn.h264", options={"g": "15"})
    content = bytearray(path.read_bytes())
    slice_header = content.index(b"\0\0\1\x65") + 4
    content[slice_header : slice_header + 4] = b"\xff" * 4  # without times, a lost picture moves all others
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(VideoReadError, match=r"torn.h264 has no frame that can be read among the 1 to"):
            ingest(path, encoder, store, every_seconds=100, progress=False)
        assert not store.list_videos()["complete"].any()
    video = ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=100, progress=False)
    assert store.list_videos().set_index("video_id")["complete"][video.video_id]


def test_the_bar_counts_frames(store, capfd):
    encoder = LightEncoder()
    ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=30)
    assert "5/5" in capfd.readouterr().err


INGEST = """
from tests.light import LightEncoder
from videolib import FrameStore, ingest

path, store, every_seconds = sys.argv[1:]
ingest(path, LightEncoder(), FrameStore(store), every_seconds=float(every_seconds), progress=False)
"""


def test_a_killed_ingest_resumes_where_it_stopped(tmp_path, store):
    """One process after the other is killed, ever later, until nothing is left to do."""
    ingest(SAMPLE_VIDEO_PATH, LightEncoder(), store, every_seconds=EVERY_SECONDS, progress=False)
    path = tmp_path / "killed.duckdb"
    killed = 0
    for moment in (1, 4, 9, 14, 19, 24, 29, 34, 200):
        done = run_killed(INGEST, SAMPLE_VIDEO_PATH, path, EVERY_SECONDS, moment=moment)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        killed += done.returncode != 0
    assert done.returncode == 0
    assert killed >= 5
    assert_same_rows(FrameStore(path), store)


def slides(path, seconds=(4, 4, 2), rate=10):
    """A video of still slides, `seconds` long each: no longer than the first batches."""
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, size=(64, 96, 3), dtype=np.uint8) for _ in seconds]
    shown = [picture for picture, length in zip(pictures, seconds, strict=True) for _ in range(length * rate)]
    return write_video(path, rate=rate, size=(96, 64), pictures=shown)


def test_frames_that_several_workers_wrote_out_of_order_are_resumed(store, tmp_path):
    ingest(SAMPLE_VIDEO_PATH, LightEncoder(), store, every_seconds=EVERY_SECONDS, progress=False)
    (video_id,) = store.list_videos()["video_id"]
    frames = store.read_frames(video_id)
    other = FrameStore(tmp_path / "other.duckdb")
    how = {"model": "light", "dimension": 48, "every_seconds": EVERY_SECONDS}
    other.write_video(probe_video(SAMPLE_VIDEO_PATH), **how)
    other.write_frames(frames[64:])  # the last batch; the first and the second are missing
    encoder = LightEncoder()
    ingest(SAMPLE_VIDEO_PATH, encoder, other, every_seconds=EVERY_SECONDS, progress=False)
    assert 0 < encoder.count <= 64
    assert_same_rows(other, store)


def test_stills_are_embedded_once_and_keep_their_times(store, tmp_path):
    counting = LightEncoder()
    video = ingest(slides(tmp_path / "slides.mp4"), counting, store, progress=False)
    assert counting.count == 3
    frames = store.read_frames(video.video_id)
    assert frames["timestamp_seconds"].tolist() == list(range(10))
    kinds = frames["embedding_data"].map(bytes)
    assert kinds.nunique() == 3
    assert kinds.iloc[0] == kinds.iloc[3] != kinds.iloc[4] == kinds.iloc[7] != kinds.iloc[8] == kinds.iloc[9]
    assert frames["frame_data"].nunique() == 3


def test_stills_are_embedded_each_if_wanted(store, tmp_path):
    counting = LightEncoder()
    ingest(slides(tmp_path / "slides.mp4"), counting, store, reuse_stills=False, progress=False)
    assert counting.count == 10


@pytest.mark.parametrize("sampling", ["keyframes", "shots"])
def test_other_samplings_are_stored_and_never_mixed(sampling, store, tmp_path):
    encoder = LightEncoder()
    path = slides(tmp_path / "slides.mp4")
    video = ingest(path, encoder, store, sampling=sampling, every_seconds=2, progress=False)
    stored = store.read_frames(video.video_id)
    expected = list(extract_frames(path, sampling=sampling, every_seconds=2))
    assert stored["timestamp_seconds"].tolist() == [frame.timestamp_seconds for frame in expected]
    assert len(expected) > 2
    assert store.list_videos()["sampling"].tolist() == [sampling]
    with pytest.raises(StoreError, match=f"sampling must be {sampling}, .*got interval"):
        ingest(path, encoder, store, every_seconds=2, progress=False)


def test_an_encoder_that_fails_is_an_error_and_the_rest_can_follow(store, tmp_path):
    class Failing(LightEncoder):
        def encode_images(self, images):
            if self.count >= 40:
                raise RuntimeError("out of memory")
            return super().encode_images(images)

    with pytest.raises(RuntimeError, match="out of memory"):
        ingest(SAMPLE_VIDEO_PATH, Failing(), store, every_seconds=EVERY_SECONDS, progress=False)
    assert store.list_videos()["frame_count"].tolist() == [32]
    undisturbed = FrameStore(tmp_path / "undisturbed.duckdb")
    for each in (store, undisturbed):
        ingest(SAMPLE_VIDEO_PATH, LightEncoder(), each, every_seconds=EVERY_SECONDS, progress=False)
    assert_same_rows(store, undisturbed)


def test_preflight_tells_frames_and_bytes(encoder, undisturbed):
    told = preflight(SAMPLE_VIDEO_PATH, encoder, every_seconds=EVERY_SECONDS)
    assert told.frame_count == 84
    stored = undisturbed.read_frames(told.video.video_id)
    real = sum(map(len, stored["frame_data"])) + 84 * 4 * 512
    assert 0.5 < told.store_bytes / real < 2
    assert re.fullmatch(r"2\.4 minutes of video: 84 frames, about .* seconds and \d+ MB .*", repr(told))


def test_preflight_cannot_count_shots(encoder):
    with pytest.raises(ValueError, match="sampling must be 'interval' or 'keyframes', got 'shots'"):
        preflight(SAMPLE_VIDEO_PATH, encoder, sampling="shots")


INTERRUPT = """
import os, signal, sys, threading, time
from sqlalchemy import event
from sqlalchemy.engine import Engine

wait, left = float(sys.argv.pop()), int(sys.argv.pop())

def interrupt(connection, cursor, statement, *_):
    global left
    left -= statement.startswith("INSERT INTO frames")
    if left == 0:
        left -= 1
        kill = lambda: (time.sleep(wait), os.kill(os.getpid(), signal.SIGINT))
        threading.Thread(target=kill).start() if wait else kill()

event.listen(Engine, "before_cursor_execute", interrupt)
"""


@pytest.mark.parametrize(("insert", "stored"), [("2", 4), ("5", 32), ("6", 64)])
def test_an_interrupted_ingest_tells_in_one_line_what_is_stored(
    insert, stored, tmp_path, undisturbed, encoder
):
    script = """
from videolib import ClipEncoder, FrameStore, ingest
ingest(sys.argv[1], ClipEncoder("demo", device="cpu"), FrameStore(sys.argv[2]), every_seconds=1.7, progress=False)
"""
    path = tmp_path / "store.duckdb"
    command = [sys.executable, "-c", INTERRUPT + script, SAMPLE_VIDEO_PATH, path, insert, "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1] == (
        f"KeyboardInterrupt: {stored} of 84 frames of {SAMPLE_VIDEO_PATH.stem!r} are stored: call ingest again to go on"
    )
    store = FrameStore(path)
    ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=EVERY_SECONDS, progress=False)
    assert_same_rows(store, undisturbed)


def test_an_interrupt_while_the_database_works_is_one_traceback_and_no_other_error(tmp_path):
    script = """
import numpy as np
from tests.conftest import make_frames, make_video
from videolib import FrameStore
store = FrameStore(sys.argv[1])
store.write_video(make_video(), model="tiny", dimension=512, every_seconds=1.0)
frames = make_frames("v1", np.random.default_rng(0).normal(size=(6000, 512)))
for _ in range(4):
    store.write_frames(frames)
"""
    for attempt in range(5):  # Python drops an interrupt that comes while it runs a finalizer
        path = tmp_path / f"store-{attempt}.duckdb"
        command = [sys.executable, "-c", INTERRUPT + script, path, "2", "0.1"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        if done.returncode:
            break
    assert done.returncode == -signal.SIGINT, done.stderr
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1].startswith("KeyboardInterrupt")
    assert len(FrameStore(path).read_frames("v1")) == 6000
