import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_frames, make_video, run_killed
from tests.light import LightEncoder
from videolib import FrameStore, StoreError, copy_videos, ingest, text_query
from videolib.demo import SAMPLE_VIDEO_PATH
from videolib.images import decode_jpeg, encode_jpeg

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


def picture(generator: np.random.Generator) -> bytes:
    return encode_jpeg(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))


@pytest.fixture
def pictured(tmp_path) -> FrameStore:
    """Two videos of real pictures, of 150 and 3 frames, of which some are stills."""
    store, generator = FrameStore(tmp_path / "pictured.duckdb"), np.random.default_rng(0)
    for video_id, count in (("v1", 150), ("v2", 3)):
        frames = make_frames(video_id, generator.normal(size=(count, 32)))
        pictures = [picture(generator) for _ in range(count)]
        pictures[1] = pictures[2] = pictures[0]
        store.write_video(make_video(video_id), **MODEL)
        store.write_frames(frames.assign(frame_data=pictures))
        store.mark_complete(video_id)
    return store


def test_another_model_embeds_the_stored_pictures(pictured, tmp_path):
    encoder, there = LightEncoder(), FrameStore(tmp_path / "there.duckdb")
    copy_videos(pictured, there, encoder=encoder, progress=False)
    videos = there.list_videos()
    assert set(videos["model"]) == {"light"}
    assert set(videos["dimension"]) == {48}
    changed = ["model", "dimension"]
    pd.testing.assert_frame_equal(videos.drop(columns=changed), pictured.list_videos().drop(columns=changed))
    for video_id in ("v1", "v2"):
        mine, theirs = pictured.read_frames(video_id), there.read_frames(video_id)
        same = ["frame_number", "timestamp_seconds", "frame_data"]
        assert mine[same].to_numpy().tolist() == theirs[same].to_numpy().tolist()
        expected = encoder.encode_images(theirs["frame_data"].map(decode_jpeg))
        np.testing.assert_allclose(np.stack(list(theirs["embedding_data"])), expected, atol=1e-6)


def test_the_same_picture_is_embedded_once_and_nothing_twice(pictured, tmp_path):
    encoder, there = LightEncoder(), FrameStore(tmp_path / "there.duckdb")
    copy_videos(pictured, there, encoder=encoder, progress=False)
    assert encoder.count == 148 + 1
    copy_videos(pictured, there, encoder=encoder, progress=False)
    assert encoder.count == 148 + 1


def test_an_interrupted_embedding_goes_on_where_it_stopped(pictured, tmp_path):
    class Interrupted(LightEncoder):
        def encode_images(self, images):
            if self.count:
                raise KeyboardInterrupt
            return super().encode_images(images)

    there = FrameStore(tmp_path / "there.duckdb")
    with pytest.raises(KeyboardInterrupt):
        copy_videos(pictured, there, encoder=Interrupted(), progress=False)
    assert there.list_videos()["frame_count"].sum() == 64
    encoder = LightEncoder()
    copy_videos(pictured, there, encoder=encoder, progress=False)
    assert encoder.count == 150 - 64 + 1
    whole = FrameStore(tmp_path / "whole.duckdb")
    copy_videos(pictured, whole, encoder=LightEncoder(), progress=False)
    assert_same(whole, there)


def test_the_bar_counts_what_is_embedded(pictured, tmp_path, capfd):
    copy_videos(pictured, FrameStore(tmp_path / "there.duckdb"), encoder=LightEncoder())
    assert "153/153" in capfd.readouterr().err


def test_a_store_of_another_model_than_the_encoder_s_is_refused(pictured, tmp_path):
    other = FrameStore(tmp_path / "other.duckdb")
    other.write_video(make_video("v9"), **MODEL)
    with pytest.raises(StoreError, match=r"model must be 'tiny' .* got 'light' \(dimension 48\)"):
        copy_videos(pictured, other, encoder=LightEncoder(), progress=False)
    assert other.list_videos()["video_id"].tolist() == ["v9"]


@pytest.mark.parametrize("encoder", [None, LightEncoder()])
def test_the_same_store_is_refused(pictured, tmp_path, encoder):
    for same in (pictured, FrameStore(tmp_path / "pictured.duckdb")):
        with pytest.raises(ValueError, match="to_store must be another store than from_store"):
            copy_videos(pictured, same, encoder=encoder, progress=False)
    memory = FrameStore(":memory:")
    copy_videos(FrameStore(":memory:"), memory, progress=False)
    with pytest.raises(ValueError, match="to_store must be another store"):
        copy_videos(memory, memory, progress=False)


def test_a_picture_that_cannot_be_read_is_named_and_what_came_before_it_kept(pictured, tmp_path):
    frames = pictured.read_frames("v1")
    frames.at[99, "frame_data"] = b"no picture"
    pictured.write_frames(frames)
    there = FrameStore(tmp_path / "there.duckdb")
    with pytest.raises(
        StoreError, match=r"frame 100 of 'title of v1' must be readable \(.*: delete_video it, and"
    ):
        copy_videos(pictured, there, encoder=LightEncoder(), progress=False)
    assert there.read_frame_numbers("v1").tolist() == list(range(1, 65))
    assert not there.list_videos().set_index("video_id")["complete"]["v1"]


def test_a_real_model_finds_the_same_frames_by_the_stored_pictures(encoder, tmp_path):
    store, there = FrameStore(tmp_path / "store.duckdb"), FrameStore(tmp_path / "there.duckdb")
    video = ingest(SAMPLE_VIDEO_PATH, encoder, store, sampling="keyframes", progress=False)
    copy_videos(store, there, encoder=encoder, progress=False)
    mine, theirs = (
        np.stack(list(each.read_frames(video.video_id)["embedding_data"])) for each in (store, there)
    )
    assert (mine * theirs).sum(axis=1).min() > 0.97
    query = text_query("a red car in the city", encoder)
    assert store.search(query, 1)["frame_number"].tolist() == there.search(query, 1)["frame_number"].tolist()
