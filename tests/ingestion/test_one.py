import re
import signal

import numpy as np
import pandas as pd
import pytest

from tests.conftest import run_killed
from tests.file_server import Reply, file_server
from tests.media import write_video
from videolib import FrameStore, StoreError, VideoReadError, embed_frames, extract_frames, ingest, preflight
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


INGEST = """
from videolib import ClipEncoder, FrameStore, ingest

path, model, store, every_seconds = sys.argv[1:]
encoder = ClipEncoder(model, device="cpu")
ingest(path, encoder, FrameStore(store), every_seconds=float(every_seconds), progress=False)
"""


def test_a_killed_ingest_goes_on_where_it_stopped(tmp_path, undisturbed, encoder):
    """One process after the other is killed, ever later, until nothing is left to do."""
    path = tmp_path / "store.duckdb"
    killed = 0
    for moment in (1, 4, 9, 14, 19, 24, 29, 34, 200):
        done = run_killed(INGEST, SAMPLE_VIDEO_PATH, DEMO_MODEL_PATH, path, EVERY_SECONDS, moment=moment)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        killed += done.returncode != 0
    assert done.returncode == 0
    assert killed >= 5
    assert_same_rows(FrameStore(path), undisturbed)


def slides(path, seconds=(3, 4, 2), rate=10):
    """A video of still slides, `seconds` long each."""
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, size=(64, 96, 3), dtype=np.uint8) for _ in seconds]
    shown = [picture for picture, length in zip(pictures, seconds, strict=True) for _ in range(length * rate)]
    return write_video(path, rate=rate, size=(96, 64), pictures=shown)


class Counting:
    """An encoder that notes how many pictures it is given."""

    def __init__(self, encoder):
        self.encoder, self.count = encoder, 0
        self.model, self.dimension = encoder.model, encoder.dimension

    def prepare(self, image):
        return self.encoder.prepare(image)

    def encode_images(self, images):
        images = list(images)
        self.count += len(images)
        return self.encoder.encode_images(images)


def test_stills_are_embedded_once_and_keep_their_times(encoder, store, tmp_path):
    counting = Counting(encoder)
    video = ingest(slides(tmp_path / "slides.mp4"), counting, store, progress=False)
    assert counting.count == 3
    frames = store.read_frames(video.video_id)
    assert frames["timestamp_seconds"].tolist() == list(range(9))
    kinds = frames["embedding_data"].map(bytes)
    assert kinds.nunique() == 3
    assert kinds.iloc[0] == kinds.iloc[2] != kinds.iloc[3] == kinds.iloc[6] != kinds.iloc[7]
    assert frames["frame_data"].nunique() == 3


def test_stills_are_embedded_each_if_wanted(encoder, store, tmp_path):
    counting = Counting(encoder)
    ingest(slides(tmp_path / "slides.mp4"), counting, store, reuse_stills=False, progress=False)
    assert counting.count == 9


def test_a_video_without_stills_is_embedded_whole(encoder, store, undisturbed):
    counting = Counting(encoder)
    ingest(SAMPLE_VIDEO_PATH, counting, store, every_seconds=EVERY_SECONDS, progress=False)
    assert counting.count == 84
    assert_same_rows(store, undisturbed)


@pytest.mark.parametrize("sampling", ["keyframes", "shots"])
def test_other_samplings_are_stored_and_never_mixed(sampling, encoder, store):
    video = ingest(SAMPLE_VIDEO_PATH, encoder, store, sampling=sampling, every_seconds=2, progress=False)
    stored = store.read_frames(video.video_id)
    expected = list(extract_frames(SAMPLE_VIDEO_PATH, sampling=sampling, every_seconds=2))
    assert stored["timestamp_seconds"].tolist() == [frame.timestamp_seconds for frame in expected]
    assert store.list_videos()["sampling"].tolist() == [sampling]
    with pytest.raises(StoreError, match=f"sampling must be {sampling}, .*got interval"):
        ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=2, progress=False)


def test_an_encoder_that_fails_is_an_error_and_the_rest_can_follow(encoder, store, undisturbed):
    class Failing(Counting):
        def encode_images(self, images):
            if self.count >= 40:
                raise RuntimeError("out of memory")
            return super().encode_images(images)

    with pytest.raises(RuntimeError, match="out of memory"):
        ingest(SAMPLE_VIDEO_PATH, Failing(encoder), store, every_seconds=EVERY_SECONDS, progress=False)
    assert store.list_videos()["frame_count"].tolist() == [32]
    ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=EVERY_SECONDS, progress=False)
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
