import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

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

pytestmark = pytest.mark.slow

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


def test_another_interval_is_stored_beside_the_first_and_each_is_there_again(store):
    def run(every_seconds: float, encoder: LightEncoder) -> str:
        video = ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=every_seconds, progress=False)
        return video.video_id

    first, other = run(30, LightEncoder()), run(20, LightEncoder())
    assert (first, other) == (probe_video(SAMPLE_VIDEO_PATH).video_id, f"{first}@20s")
    videos = store.list_videos().set_index("video_id")
    assert videos["frame_count"].to_dict() == {first: 5, other: 8}
    assert videos["complete"].all()
    assert videos["latest"].to_dict() == {first: False, other: True}
    counting = LightEncoder()
    assert run(30, counting) == first
    assert counting.count == 0
    assert store.list_videos().set_index("video_id")["latest"].to_dict() == {first: True, other: False}


def test_an_interrupted_sampling_is_resumed_beside_a_complete_one(store):
    class Failing(LightEncoder):
        def encode_images(self, images):
            if self.count >= 40:
                raise RuntimeError("out of memory")
            return super().encode_images(images)

    first = ingest(SAMPLE_VIDEO_PATH, LightEncoder(), store, every_seconds=30, progress=False)
    with pytest.raises(RuntimeError, match="out of memory"):
        ingest(SAMPLE_VIDEO_PATH, Failing(), store, every_seconds=EVERY_SECONDS, progress=False)
    videos = store.list_videos().set_index("video_id")
    assert videos["complete"].tolist() == [True, False]
    with pytest.warns(UserWarning, match=rf"{first.video_id}@1.7s, \d+ frames so far\); run ingest again"):
        store.search(np.ones(48))
    store.search(np.ones(48), video_id=first.video_id)
    second = ingest(SAMPLE_VIDEO_PATH, LightEncoder(), store, every_seconds=EVERY_SECONDS, progress=False)
    assert store.read_frame_numbers(second.video_id).tolist() == list(range(1, 85))
    assert store.list_videos()["complete"].all()


def test_a_relative_path_and_a_home_are_stored_as_absolute_paths(store, tmp_path, monkeypatch):
    path = slides(tmp_path / "slides.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in ("slides.mp4", Path("slides.mp4"), "~/slides.mp4", "./x/../slides.mp4"):
        video = ingest(source, LightEncoder(), store, progress=False)
        assert video.source == str(path)
        assert store.list_videos()["source"].tolist() == [str(path)]


class TestASourceThatChanged:
    @pytest.fixture
    def path(self, store, tmp_path) -> Path:
        """A file that is stored at two samplings, and holds another video since."""
        path = slides(tmp_path / "slides.mp4")
        for every_seconds in (2, 1):
            ingest(path, LightEncoder(), store, every_seconds=every_seconds, progress=False)
        path.write_bytes(SAMPLE_VIDEO_PATH.read_bytes())
        return path

    def test_it_is_noticed_before_anything_is_written(self, store, path):
        before = store.list_videos()
        (old,) = before["content_id"].unique()
        with pytest.raises(
            StoreError,
            match=rf"other content in '{path}', stored as 'slides' \({old}\): call ingest with replace=True .* or "
            "ingest a copy of another name to keep both",
        ):
            ingest(path, LightEncoder(), store, every_seconds=30, progress=False)
        pd.testing.assert_frame_equal(store.list_videos(), before)
        copy = path.with_name("copy.mp4")
        copy.write_bytes(path.read_bytes())
        ingest(copy, LightEncoder(), store, every_seconds=30, progress=False)
        assert len(store.list_videos()) == 3

    def test_the_new_takes_the_place_of_the_old(self, store, path):
        other = ingest(slides(path.with_name("other.mp4"), (1, 1)), LightEncoder(), store, progress=False)
        video = ingest(path, LightEncoder(), store, every_seconds=30, replace=True, progress=False)
        videos = store.list_videos().set_index("video_id")
        assert videos["frame_count"].to_dict() == {video.video_id: 5, other.video_id: 2}
        again = ingest(path, LightEncoder(), store, every_seconds=30, progress=False)
        assert again == video

    def test_a_replacement_that_is_interrupted_loses_nothing(self, store, path, tmp_path):
        class Failing(LightEncoder):
            def encode_images(self, images):
                raise RuntimeError("out of memory")

        before = store.list_videos()
        with pytest.raises(RuntimeError, match="out of memory"):
            ingest(path, Failing(), store, every_seconds=30, replace=True, progress=False)
        videos = store.list_videos()
        kept = videos[videos["video_id"].isin(before["video_id"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(kept, before)
        assert len(videos) == len(before) + 1
        video = ingest(path, LightEncoder(), store, every_seconds=30, replace=True, progress=False)
        assert store.list_videos()["video_id"].tolist() == [video.video_id]
        assert store.list_videos()["complete"].tolist() == [True]

    def test_it_is_replaced_too_where_the_new_is_complete_already(self, store, path):
        elsewhere = path.with_name("elsewhere.mp4")
        elsewhere.write_bytes(path.read_bytes())
        video = ingest(elsewhere, LightEncoder(), store, every_seconds=30, progress=False)
        assert len(store.list_videos()) == 3
        ingest(path, LightEncoder(), store, every_seconds=30, replace=True, progress=False)
        assert store.list_videos()[["video_id", "source"]].values.tolist() == [[video.video_id, str(path)]]


def test_an_address_that_changed_is_noticed_and_one_that_is_not_stored_whole_is_not_mistaken(
    store, tmp_path, monkeypatch
):
    contents = [SAMPLE_VIDEO_PATH.read_bytes(), slides(tmp_path / "slides.mp4").read_bytes()]
    other = FrameStore(tmp_path / "other.duckdb")
    with file_server() as server:
        url = server.add("/watch", *map(Reply, contents))
        for number in (1, 2):
            monkeypatch.setenv("VIDEOLIB_CACHE_DIR", str(tmp_path / "cache"))
            ingest(f"{url}?v={number}", LightEncoder(), store, every_seconds=30, progress=False)
        assert store.list_videos()["source"].tolist() == [url, url]
        url = server.add("/film.mp4", *map(Reply, contents))
        ingest(url, LightEncoder(), other, every_seconds=30, progress=False)
        monkeypatch.setenv("VIDEOLIB_CACHE_DIR", str(tmp_path / "another cache"))
        with pytest.raises(StoreError, match=f"other content in '{url}', stored as 'film"):
            ingest(url, LightEncoder(), other, every_seconds=30, progress=False)


@pytest.mark.parametrize("every_seconds", [0, -1, float("nan")])
def test_a_wrong_interval_is_refused_before_anything_is_written(store, tmp_path, every_seconds):
    encoder = LightEncoder()
    with pytest.raises(ValueError, match="every_seconds must"):
        ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=every_seconds, progress=False)
    assert not (tmp_path / "store.duckdb").exists()


def test_what_is_no_video_is_an_error_and_leaves_nothing(store, tmp_path):
    encoder = LightEncoder()
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(VideoReadError, match=r"notes.mp4"):
        ingest(path, encoder, store)
    assert not (tmp_path / "store.duckdb").exists()


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
    other = ingest(path, encoder, store, every_seconds=2, progress=False)
    assert other.video_id == f"{video.video_id}@2s"
    assert store.read_frames(other.video_id)["timestamp_seconds"].tolist() == [0, 2, 4, 6, 8]
    assert (
        store.read_frames(video.video_id)["timestamp_seconds"].tolist()
        == stored["timestamp_seconds"].tolist()
    )


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
    assert re.fullmatch(
        r"2\.4 minutes of video: 84 frames, about .* seconds on this machine,\n\d+ MB in a .*", repr(told)
    )
    assert repr(told).endswith(f"as a new DuckDB file {round(told.file_bytes / 1e6)} MB")


@pytest.mark.parametrize(
    "log_megabytes", [32, 1]
)  # with 1 it is rewritten as often as one of hours is with 32
def test_preflight_tells_what_the_file_will_take(tmp_path, monkeypatch, log_megabytes):
    monkeypatch.setattr("videolib.store.duckdb.LOG_MEGABYTES", log_megabytes)
    told = preflight(SAMPLE_VIDEO_PATH, LightEncoder(), every_seconds=0.4)
    ingest(
        SAMPLE_VIDEO_PATH,
        LightEncoder(),
        FrameStore(tmp_path / "store.duckdb"),
        every_seconds=0.4,
        reuse_stills=False,
        progress=False,
    )
    taken = (tmp_path / "store.duckdb").stat().st_size
    assert told.store_bytes > 2e6
    assert abs(told.file_bytes - taken) < 0.2 * taken


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


class StoppedEncoder(LightEncoder):
    """Meets the stop button after some images."""

    def encode_images(self, images):
        if self.count >= 8:
            raise KeyboardInterrupt
        return super().encode_images(images)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("ingest(", "8 of 84 frames of 'sample' are stored: call ingest again to go on"),
        (
            "ingest_videos(",
            r"0 of 1 videos are stored whole, and \d frames were written: call ingest_videos again to go on",
        ),
    ],
)
def test_in_a_notebook_an_interrupt_is_one_line(call, line, store, capsys):
    shell = InteractiveShell()
    shell.user_ns |= {"path": SAMPLE_VIDEO_PATH, "store": store, "encoder": StoppedEncoder()}
    shell.run_cell(
        f"from videolib import ingest, ingest_videos\n{call}path, encoder, store, every_seconds=1.7, progress=False)"
    )
    assert re.fullmatch(f"KeyboardInterrupt: {line}", capsys.readouterr().out.strip())


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
    for attempt in range(10):  # Python drops an interrupt that comes while it runs a finalizer
        path = tmp_path / f"store-{attempt}.duckdb"
        command = [sys.executable, "-c", INTERRUPT + script, path, "2", str(0.04 * (attempt + 1))]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        if done.returncode:
            break
    assert done.returncode == -signal.SIGINT, done.stderr
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1].startswith("KeyboardInterrupt")
    assert len(FrameStore(path).read_frames("v1")) == 6000
