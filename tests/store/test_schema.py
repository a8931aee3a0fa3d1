import subprocess
import sys

import numpy as np
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


def test_a_new_store_has_version_1(url):
    assert version(url) == [(1,)]


@pytest.mark.parametrize("was_recorded", [True, False])
def test_an_older_store_is_brought_forward_in_order(url, was_recorded, monkeypatch):
    steps = []
    monkeypatch.setattr(
        schema, "MIGRATIONS", [lambda connection, step=step: steps.append(step) for step in (1, 2)]
    )
    if not was_recorded:  # a file from before versions were recorded
        run(url, "DROP TABLE videolib_schema")
    store = FrameStore(url)
    assert len(store.read_frames("v1")) == 3
    assert len(store.read_frames("v1")) == 3
    assert steps == [1, 2]
    assert version(url) == [(3,)]
    FrameStore(url).list_videos()
    assert steps == [1, 2]


def test_a_migration_that_fails_is_tried_again_at_the_next_opening(url, monkeypatch):
    def fail(connection):
        raise ArithmeticError("half way")

    monkeypatch.setattr(schema, "MIGRATIONS", [fail])
    store = FrameStore(url)
    with pytest.raises(StoreError, match="half way"):
        store.list_videos()
    assert version(url) == [(1,)]
    monkeypatch.setattr(schema, "MIGRATIONS", [lambda connection: None])
    assert len(store.list_videos()) == 1
    assert version(url) == [(2,)]


def test_a_newer_store_is_refused_by_name(url):
    run(url, "UPDATE videolib_schema SET version = 7")
    with pytest.raises(
        StoreError,
        match=r"tables have version 7, and this videolib knows them up to version 1: update videolib",
    ):
        FrameStore(url).search(np.ones(32))


def test_a_missing_client_names_the_extra(tmp_path):
    script = (
        "import sys; sys.modules['singlestoredb'] = None; import videolib; videolib.FrameStore('u:p@host/db')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert "needs its client, which is not installed: pip install 'videolib[singlestore]'" in done.stderr
