import signal
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest

from tests.file_server import Reply, file_server
from videolib import FrameStore, StoreError, VideoReadError, embed_frames, extract_frames, ingest
from videolib.demo import DEMO_MODEL_PATH, SAMPLE_VIDEO_PATH

EVERY_SECONDS = 1.7  # 84 samples of the sample video: three batches, the last one not full


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


def test_ingesting_again_reads_no_frame(encoder, store):
    video = ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=30, progress=False)
    before = store.read_frames(video.video_id)

    class Unused:
        model, dimension = encoder.model, encoder.dimension

    assert ingest(SAMPLE_VIDEO_PATH, Unused(), store, every_seconds=30, progress=False) == video
    assert store.read_frames(video.video_id)["frame_number"].tolist() == before["frame_number"].tolist()


def test_the_same_file_elsewhere_is_the_same_video(encoder, store, tmp_path):
    first = ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=30, progress=False)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(SAMPLE_VIDEO_PATH.read_bytes())
    second = ingest(copy, encoder, store, every_seconds=30, progress=False)
    assert second.video_id == first.video_id
    assert store.list_videos()[["title", "source"]].values.tolist() == [["copy", str(copy)]]


def test_a_url_is_downloaded_and_its_secrets_are_not_stored(encoder, store, tmp_path, monkeypatch):
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
def test_a_wrong_interval_is_refused_before_anything_is_written(encoder, store, every_seconds):
    with pytest.raises(ValueError, match="every_seconds must"):
        ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=every_seconds, progress=False)
    assert store.list_videos().empty


def test_what_is_no_video_is_an_error_and_leaves_nothing(encoder, store, tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(VideoReadError, match=r"notes.mp4"):
        ingest(path, encoder, store)
    assert store.list_videos().empty


def test_the_bar_counts_frames(encoder, store, capfd):
    ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=30)
    assert "5/5" in capfd.readouterr().err


INGEST = textwrap.dedent("""
    import os, signal, sys
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from videolib import ClipEncoder, FrameStore, ingest

    path, model, store, every_seconds, moment = sys.argv[1:]
    left = int(moment)

    def count(*_):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(Engine, name, count)
    encoder = ClipEncoder(model, device="cpu")
    ingest(path, encoder, FrameStore(store), every_seconds=float(every_seconds), progress=False)
    print("moments", int(moment) - left)
    """)


def run_ingest(store: str, moment: int) -> subprocess.CompletedProcess[str]:
    """Ingest in a process that is killed at its n-th moment: before or after a statement, or at a commit."""
    arguments = [SAMPLE_VIDEO_PATH, DEMO_MODEL_PATH, store, EVERY_SECONDS, moment]
    command = [sys.executable, "-c", INGEST, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_killed_ingest_goes_on_where_it_stopped(tmp_path, undisturbed, encoder):
    """One process after the other is killed, ever later, until nothing is left to do."""
    path = tmp_path / "store.duckdb"
    killed = 0
    for moment in (1, 4, 9, 14, 19, 24, 29, 34, 200):
        done = run_ingest(str(path), moment)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        killed += done.returncode != 0
    assert done.returncode == 0
    assert killed >= 5
    assert_same_rows(FrameStore(path), undisturbed)
