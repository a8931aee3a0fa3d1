"""A store in a notebook: its videos with a picture each, and a sentence where it cannot be read."""

import re

import duckdb
import numpy as np
import pytest

from tests.conftest import make_frames, make_video
from tests.test_shown import HOSTILE, LONG, check_html
from videolib import FrameStore
from videolib.images import encode_jpeg

DIMENSION = 8
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}
JPEG = encode_jpeg(np.full((180, 320, 3), 200, dtype=np.uint8))


@pytest.fixture(params=["duckdb", pytest.param("singlestore", marks=pytest.mark.singlestore)])
def store(request, tmp_path) -> FrameStore:
    if request.param == "duckdb":
        return FrameStore(tmp_path / "store.duckdb")
    return FrameStore(request.getfixturevalue("singlestore_url"))


def fill(store: FrameStore, video_id: str, count: int, **fields) -> None:
    store.write_video(make_video(video_id, **fields), **MODEL)
    store.write_frames(make_frames(video_id, np.ones((count, DIMENSION))).assign(frame_data=JPEG))


def test_the_videos_with_a_picture_each(store):
    fill(store, "v1", 3, title="first", duration_seconds=62.0)
    store.mark_complete("v1")
    fill(store, "v2", 1, title="second")
    store.write_video(make_video("v3", title="third"), **MODEL)
    html = store._repr_html_()
    texts = check_html(html)
    for text in ("tiny, dimension 8", "3 videos, 4 frames", "first", "1:02", "3", "1, not complete"):
        assert text in texts
    assert html.count("<img") == 2
    assert store.retry_seconds == 30


def test_of_many_videos_some_and_what_a_person_typed_as_text(store):
    for number in range(13):
        store.write_video(make_video(f"v{number}", title=(HOSTILE, LONG[:900])[number % 2]), **MODEL)
    html = store._repr_html_()
    check_html(html)
    assert "and 3 more: list_videos()" in html
    assert html.count("<tr><td>") == 10


def test_an_empty_store(store, tmp_path):
    assert "none yet" in store._repr_html_()
    assert not (tmp_path / "store.duckdb").exists()


def test_a_store_that_cannot_be_read_says_so_at_once(tmp_path):
    path = tmp_path / "store.duckdb"
    path.write_bytes(b"no database" * 500)
    assert "cannot be read" in FrameStore(path)._repr_html_()
    newer = FrameStore(tmp_path / "newer.duckdb")
    fill(newer, "v1", 1)
    with duckdb.connect(str(tmp_path / "newer.duckdb")) as connection:
        connection.execute("UPDATE videolib_schema SET version = 99")
    html = FrameStore(tmp_path / "newer.duckdb")._repr_html_()
    assert "update videolib" in html
    assert not re.search("<img", html)
