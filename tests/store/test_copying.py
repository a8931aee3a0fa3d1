import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_frames, make_video, run_killed
from videolib import FrameStore, StoreError, copy_videos

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:what is not complete")]
MODEL = {"model": "tiny", "dimension": 32, "every_seconds": 0.1}


@pytest.fixture
def filled(tmp_path) -> FrameStore:
    """Two videos in DuckDB, of 250 and 130 frames; only the first is complete."""
    store = FrameStore(tmp_path / "filled.duckdb")
    generator = np.random.default_rng(0)
    for video_id, count in (("v1", 250), ("v2", 130)):
        frames = make_frames(video_id, generator.normal(size=(count, 32)))
        frames["timestamp_seconds"] = frames["frame_number"] / 30 + generator.random(count)
        frames["frame_data"] = [generator.bytes(500) for _ in range(count)]
        store.write_video(make_video(video_id, duration_seconds=250 / 30), **MODEL)
        store.write_frames(frames)
    store.mark_complete("v1")
    return store


def assert_same(one: FrameStore, other: FrameStore) -> None:
    videos = one.list_videos()
    pd.testing.assert_frame_equal(videos, other.list_videos(), check_exact=True)
    for video_id in videos["video_id"]:
        mine, theirs = one.read_frames(video_id), other.read_frames(video_id)
        for name in ("frame_number", "timestamp_seconds", "frame_data"):
            assert mine[name].tolist() == theirs[name].tolist(), name
        assert [row.tobytes() for row in mine["embedding_data"]] == [
            row.tobytes() for row in theirs["embedding_data"]
        ]


@pytest.mark.singlestore
def test_there_and_back_bit_for_bit(filled, singlestore_url, tmp_path):
    there, back = FrameStore(singlestore_url), FrameStore(tmp_path / "back.duckdb")
    copy_videos(filled, there, progress=False)
    assert_same(filled, there)
    copy_videos(there, back, progress=False)
    assert_same(filled, back)


def test_what_is_there_already_is_not_copied_again(filled, singlestore_url, standin):
    there = FrameStore(singlestore_url)
    copy_videos(filled, there)
    standin.clear()
    copy_videos(filled, there)
    assert not [text for text in standin.statements() if text.startswith("INSERT")]
    assert_same(filled, there)


@pytest.mark.parametrize("is_first_latest", [True, False])
def test_all_samplings_are_copied_and_the_latest_stays_the_latest(filled, tmp_path, is_first_latest):
    finer = filled.write_video(make_video("v1"), **MODEL | {"every_seconds": 0.05})
    filled.write_frames(make_frames(finer, np.random.default_rng(1).normal(size=(9, 32))))
    if is_first_latest:
        filled.write_video(make_video("v1"), **MODEL)
    copy = FrameStore(tmp_path / "copy.duckdb")
    for _ in range(2):
        copy_videos(filled, copy, progress=False)
        assert_same(filled, copy)
    videos = copy.list_videos().set_index("video_id")
    assert videos["latest"].to_dict() == {"v1": is_first_latest, finer: not is_first_latest, "v2": True}


def test_a_sampling_takes_another_id_where_its_own_stands_for_another(filled, tmp_path):
    there = FrameStore(tmp_path / "there.duckdb")
    finer = MODEL | {"every_seconds": 0.05}
    there.write_video(make_video("v1"), **finer)
    filled.write_video(make_video("v1"), **finer)
    copy_videos(filled, there, progress=False)
    videos = there.list_videos().set_index("video_id")
    assert videos["every_seconds"].to_dict() == {"v1": 0.05, "v1@0.1s": 0.1, "v2": 0.1}
    assert videos["frame_count"].to_dict() == {"v1": 0, "v1@0.1s": 250, "v2": 130}
    mine, theirs = filled.read_frames("v1"), there.read_frames("v1@0.1s")
    assert mine["frame_data"].tolist() == theirs["frame_data"].tolist()


def test_the_bar_counts_the_frames_of_all_videos(filled, tmp_path, capfd):
    copy_videos(filled, FrameStore(tmp_path / "copy.duckdb"))
    assert "380/380" in capfd.readouterr().err


def test_another_model_is_refused(filled, tmp_path):
    other = FrameStore(tmp_path / "other.duckdb")
    other.write_video(make_video("v9"), **MODEL | {"model": "big"})
    with pytest.raises(StoreError, match="model must be 'big'"):
        copy_videos(filled, other, progress=False)


COPY = """
from videolib import FrameStore, copy_videos
from videolib.store import reading

reading.BATCH_SIZE = 50
copy_videos(*map(FrameStore, sys.argv[1:]), progress=False)
"""


@pytest.mark.singlestore
@pytest.mark.parametrize("back", [False, True], ids=["to SingleStore", "from SingleStore"])
def test_a_killed_copy_goes_on_where_it_stopped(filled, singlestore_url, tmp_path, back):
    """One process after the other is killed, ever later, until nothing is left to do."""
    urls = [filled.url, singlestore_url]
    if back:
        copy_videos(filled, FrameStore(singlestore_url), progress=False)
        urls = [singlestore_url, f"duckdb:///{tmp_path}/back.duckdb"]
    codes, counts = [], []
    for moment in (30, 50, 60, 70, 10_000):
        done = run_killed(COPY, *urls, moment=moment)
        codes.append(done.returncode)
        counts.append(int(FrameStore(urls[1]).list_videos()["frame_count"].sum()))
    assert codes == [-9, -9, -9, -9, 0], done.stderr
    assert counts == sorted(counts)
    assert len(set(counts)) > 2  # it was killed in between, too
    assert_same(filled, FrameStore(urls[1]))
