"""A video's file was moved: the store learns where it is, once its content is found to be the same."""

import os
import sys

import numpy as np
import pytest

from tests.conftest import make_frames, make_video
from videolib import FrameStore, StoreError, VideoReadError
from videolib.content import content_digest

DIMENSION = 8
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}


@pytest.fixture(params=["duckdb", pytest.param("singlestore", marks=pytest.mark.singlestore)])
def store(request, tmp_path) -> FrameStore:
    if request.param == "duckdb":
        return FrameStore(tmp_path / "store.duckdb")
    return FrameStore(request.getfixturevalue("singlestore_url"))


@pytest.fixture
def moved(store, tmp_path):
    """Where the file of a stored video is now, and the video's id; it is stored at two samplings."""
    path = tmp_path / "moved" / "talk & more.mp4"
    path.parent.mkdir()
    path.write_bytes(b"a talk")
    video = make_video(content_digest(path), title="talk", source="/before/talk.mp4")
    for every_seconds in (1.0, 0.5):
        video_id = store.write_video(video, **MODEL | {"every_seconds": every_seconds})
        store.write_frames(make_frames(video_id, np.eye(DIMENSION)[:2]))
        store.mark_complete(video_id)
    store.write_video(make_video("other", source="/before/other.mp4"), **MODEL)
    return path, video.video_id


@pytest.mark.parametrize("sampling", ["", "@0.5s"])
def test_all_samplings_get_the_new_source_and_nothing_else_changes(store, moved, sampling):
    path, video_id = moved
    before = store.list_videos()
    store.relocate_video(video_id + sampling, path)
    after = store.list_videos()
    is_it = after["content_id"] == video_id
    assert set(after["source"][is_it]) == {str(path)}
    assert after["source"][~is_it].tolist() == ["/before/other.mp4"]
    assert after.drop(columns="source").equals(before.drop(columns="source"))
    store.relocate_video(video_id, path)  # again is nothing new
    assert store.list_videos().equals(after)


def test_a_path_is_stored_whole(store, moved, monkeypatch):
    path, video_id = moved
    monkeypatch.chdir(path.parent)
    store.relocate_video(video_id, path.name)
    assert str(path) in set(store.list_videos()["source"])
    monkeypatch.setenv("HOME", str(path.parent))
    store.relocate_video(video_id, f"~/{path.name}")
    assert str(path) in set(store.list_videos()["source"])


def test_another_video_is_refused_and_both_are_named(store, moved, tmp_path):
    _, video_id = moved
    wrong = tmp_path / "wrong.mp4"
    wrong.write_bytes(b"a walk")
    before = store.list_videos()["source"].tolist()
    with pytest.raises(
        StoreError, match=r"'talk' \(.*\) was ingested from, got other content in '.*wrong.mp4'"
    ):
        store.relocate_video(video_id, wrong)
    store.write_video(make_video(content_digest(wrong), title="a walk"), **MODEL)
    with pytest.raises(StoreError, match=r"which is stored as 'a walk'; it was /before/talk.mp4"):
        store.relocate_video(video_id, wrong)
    assert set(store.list_videos()["source"]) == {*before, f"{content_digest(wrong)}.mp4"}


def test_what_is_no_file_or_no_video_of_the_store_is_refused(store, moved, tmp_path):
    path, video_id = moved
    for nothing in (tmp_path / "nothing.mp4", tmp_path):
        with pytest.raises(VideoReadError, match=f"{nothing} is not a file; check the path"):
            store.relocate_video(video_id, nothing)
    with pytest.raises(ValueError, match="path must be a local file, got an address: ingest the video"):
        store.relocate_video(video_id, "https://user:secret@example.org/talk.mp4")
    with pytest.raises(StoreError, match="video_id must be of a video in the store, got 'v9'"):
        store.relocate_video("v9", path)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes there alone")
def test_a_name_that_is_no_text_is_stored_as_far_as_it_goes(store, moved):
    path, video_id = moved
    odd = os.fsencode(path.parent) + b"/caf\xe9.mp4"
    os.rename(path, odd)
    store.relocate_video(video_id, os.fsdecode(odd))
    assert any(
        source.endswith("/caf\N{REPLACEMENT CHARACTER}.mp4") for source in store.list_videos()["source"]
    )
