import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_frames, make_video
from videolib import FrameStore, StoreError
from videolib.store import schema

MODEL = {"model": "tiny", "dimension": 32, "every_seconds": 1.0}


@pytest.fixture(params=["duckdb", pytest.param("singlestore", marks=pytest.mark.singlestore)])
def url(request, tmp_path) -> str:
    """A database with one video of three frames."""
    is_duckdb = request.param == "duckdb"
    url = f"duckdb:///{tmp_path}/store.duckdb" if is_duckdb else request.getfixturevalue("singlestore_url")
    store = FrameStore(url)
    store.write_video(make_video("v1"), **MODEL)
    store.write_frames(make_frames("v1", np.eye(3, 32)))
    return url


def version(url: str) -> list[tuple[int]]:
    with FrameStore(url).engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql("SELECT version FROM videolib_schema")]


def run(url: str, statement: str) -> None:
    with FrameStore(url).engine.begin() as connection:
        connection.exec_driver_sql(statement)


def test_a_new_store_has_the_newest_version(url):
    assert version(url) == [(2,)]


def columns(url: str) -> dict[str, str]:
    with FrameStore(url).engine.connect() as connection:
        rows = connection.exec_driver_sql("DESCRIBE videos").all()
    return {row[0]: row[1].lower() for row in rows}


VERSION_1 = (
    "CREATE TABLE videos (video_id VARCHAR(64) NOT NULL, title VARCHAR(1024) NOT NULL, source VARCHAR(4096) NOT NULL, "
    "duration_seconds DOUBLE NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, frames_per_second DOUBLE NOT "
    "NULL, model VARCHAR(255) NOT NULL, dimension INTEGER NOT NULL, every_seconds DOUBLE NOT NULL, sampling "
    "VARCHAR(16) NOT NULL, complete BOOL NOT NULL, PRIMARY KEY (video_id))"
)
ROW = (
    "INSERT INTO videos (video_id, title, source, duration_seconds, width, height, frames_per_second, model, "
    "dimension, every_seconds, sampling, complete) VALUES "
    "('v1', 'title of v1', 'v1.mp4', 100.0, 640, 360, 25.0, 'tiny', 32, 1.0, 'interval', FALSE)"
)


def make_version_1(url: str) -> None:
    """Give the store the tables of version 1, with the same video."""
    for statement in ("DROP TABLE videos", VERSION_1, ROW, "UPDATE videolib_schema SET version = 1"):
        run(url, statement)


@pytest.mark.parametrize("was_recorded", [True, False])
def test_a_store_of_version_1_keeps_its_videos_and_takes_other_samplings(url, was_recorded):
    fresh, before = columns(url), FrameStore(url).list_videos()
    make_version_1(url)
    assert "content_id" not in columns(url)
    if not was_recorded:
        run(url, "DROP TABLE videolib_schema")
    store = FrameStore(url)
    pd.testing.assert_frame_equal(store.list_videos(), before)
    assert before["content_id"].tolist() == ["v1"]
    assert before["latest"].tolist() == [True]
    assert columns(url) == fresh
    assert version(url) == [(2,)]
    assert len(store.read_frames("v1")) == 3
    other = store.write_video(make_video("v1"), **MODEL | {"every_seconds": 0.5})
    assert store.list_videos().set_index("video_id")["latest"].to_dict() == {"v1": False, other: True}


@pytest.mark.parametrize("half_way", [[], ["content_id"], ["content_id", "written_at"]])
def test_a_migration_that_ended_half_way_is_done_to_its_end(url, half_way):
    fresh = columns(url)
    make_version_1(url)
    for name in half_way:
        run(url, f"ALTER TABLE videos ADD COLUMN {name} {fresh[name]}")
    for _ in range(2):
        assert FrameStore(url).list_videos()["content_id"].tolist() == ["v1"]
        assert columns(url) == fresh
        run(url, "UPDATE videolib_schema SET version = 1")


def test_a_table_of_videos_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "others.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE videos (title VARCHAR)")
    with pytest.raises(StoreError, match="a table 'videos' of another origin: use another database"):
        FrameStore(path).list_videos()
    with duckdb.connect(str(path)) as connection:
        assert [row[0] for row in connection.execute("DESCRIBE videos").fetchall()] == ["title"]
        assert connection.execute("SHOW TABLES").fetchall() == [("videos",)]


@pytest.mark.parametrize("was_recorded", [True, False])
def test_an_older_store_is_brought_forward_in_order(url, was_recorded, monkeypatch):
    steps = []
    monkeypatch.setattr(
        schema,
        "MIGRATIONS",
        [*schema.MIGRATIONS, *(lambda connection, step=step: steps.append(step) for step in (1, 2))],
    )
    if not was_recorded:  # a file from before versions were recorded
        run(url, "DROP TABLE videolib_schema")
    store = FrameStore(url)
    assert len(store.read_frames("v1")) == 3
    assert len(store.read_frames("v1")) == 3
    assert steps == [1, 2]
    assert version(url) == [(4,)]
    FrameStore(url).list_videos()
    assert steps == [1, 2]


def test_a_migration_that_fails_is_tried_again_at_the_next_opening(url, monkeypatch):
    def fail(connection):
        raise ArithmeticError("half way")

    real = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", [*real, fail])
    store = FrameStore(url)
    with pytest.raises(StoreError, match="half way"):
        store.list_videos()
    assert version(url) == [(2,)]
    monkeypatch.setattr(schema, "MIGRATIONS", [*real, lambda connection: None])
    assert len(store.list_videos()) == 1
    assert version(url) == [(3,)]


def test_a_newer_store_is_refused_by_name(url):
    run(url, "UPDATE videolib_schema SET version = 7")
    with pytest.raises(
        StoreError,
        match=r"tables have version 7, and this videolib knows them up to version 2: update videolib",
    ):
        FrameStore(url).search(np.ones(32))


def test_a_missing_client_names_the_extra(tmp_path):
    script = (
        "import sys; sys.modules['singlestoredb'] = None; import videolib; videolib.FrameStore('u:p@host/db')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert "needs its client, which is not installed: pip install 'videolib[singlestore]'" in done.stderr
