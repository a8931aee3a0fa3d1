"""The database part of the article that videolib grew from, as its readers type it; and notebook 05's own SQL."""

from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from sqlalchemy import create_engine, inspect, text

from tests.conftest import make_frames, make_video
from videolib import FrameStore, find_sequences

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.singlestore

CREATE = """\
CREATE TABLE IF NOT EXISTS frames (
    frame_number INT(10) UNSIGNED NOT NULL,
    embedding_data VECTOR(512) NOT NULL,
    frame_data TEXT,
    KEY(frame_number)
);
"""
SELECT_ONE = """\
SELECT frame_number,
    SUBSTRING(embedding_data, 1, 50) AS embedding_data,
    SUBSTRING(frame_data, 1, 50) AS frame_data
FROM frames
LIMIT 1;
"""
ADD_INDEX = """\
ALTER TABLE frames ADD VECTOR INDEX (embedding_data)
    INDEX_OPTIONS '{
        "index_type":"AUTO",
        "metric_type":"DOT_PRODUCT"
    }';
"""
SEARCH_EXACTLY = """\
SELECT frame_number, embedding_data <*> :query_string AS similarity
FROM frames
ORDER BY similarity USE INDEX () DESC
LIMIT 5;
"""
SEARCH = """\
SELECT frame_number, embedding_data <*> :query_string AS similarity
FROM frames
ORDER BY similarity DESC
LIMIT 5;
"""
SEQUENCES = """\
WITH compared AS (SELECT frame_number, timestamp_seconds AS seconds, embedding_data <*> :first AS a,
    embedding_data <*> :second AS b FROM frames WHERE video_id = :video_id),
levels AS (SELECT AVG(a) AS a0, STDDEV_POP(a) AS a1, AVG(b) AS b0, STDDEV_POP(b) AS b1 FROM compared),
z AS (SELECT frame_number, seconds, (a - a0) / a1 AS a, (b - b0) / b1 AS b FROM compared CROSS JOIN levels),
pairs AS (SELECT x.frame_number AS first_frame, y.frame_number AS second_frame, LEAST(x.a, y.b) AS least_z,
    ROW_NUMBER() OVER (PARTITION BY x.frame_number ORDER BY LEAST(x.a, y.b) DESC, y.frame_number) AS place
    FROM z x JOIN z y ON y.seconds > x.seconds AND y.seconds <= x.seconds + 10 WHERE x.a > 0 AND y.b > 0)
SELECT p.first_frame, p.second_frame, p.least_z FROM pairs p LEFT JOIN pairs q ON q.place = 1
    AND q.first_frame <= p.second_frame AND p.first_frame <= q.second_frame AND (q.least_z > p.least_z
    OR (q.least_z = p.least_z AND q.first_frame < p.first_frame))
WHERE p.place = 1 AND q.place IS NULL ORDER BY p.least_z DESC LIMIT 5
"""
DROP_INDEX = "DROP INDEX embedding_data ON frames;"
DROP_TABLE = "DROP TABLE IF EXISTS frames;"

RANDOM = np.random.default_rng(3)
EMBEDDINGS = RANDOM.normal(size=(1200, 512)).astype(np.float32)
EMBEDDINGS /= np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
PICTURE = RANDOM.integers(0, 256, (90, 160, 3), dtype=np.uint8)
QUERY = EMBEDDINGS[7] + EMBEDDINGS[700] / 2


def as_text(array):
    return np.array2string(array, separator=", ", max_line_width=np.inf)


FRAMES = pd.DataFrame(
    {
        "frame_number": np.arange(1, len(EMBEDDINGS) + 1),
        "embedding_data": [as_text(embedding) for embedding in EMBEDDINGS],
        "frame_data": as_text(PICTURE),
    }
)
# What the text of an embedding keeps is about 8 digits.
STORED = np.array([np.fromstring(line.strip("[]"), np.float32, sep=",") for line in FRAMES["embedding_data"]])
BEST = np.argsort(-(STORED @ QUERY))[:5]


@pytest.fixture
def engine(singlestore_url):
    engine = create_engine(singlestore_url)
    yield engine
    engine.dispose()


@pytest.fixture
def run(engine, tmp_path, monkeypatch):
    """Run a notebook cell, and return its value."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell.instance()
    shell.user_ns.update(engine=engine, query_string=as_text(QUERY))

    def run_cell(cell):
        result = shell.run_cell(cell)
        result.raise_error()
        return result.result

    run_cell("%load_ext sql")
    run_cell('%config SqlMagic.named_parameters = "enabled"')
    run_cell("%sql engine")
    yield run_cell
    run_cell(f"%sql --close {engine.url}")
    InteractiveShell.clear_instance()


def test_in_sql_cells(engine, run):
    run(f"%%sql\n{CREATE}")
    FRAMES.to_sql("frames", engine, if_exists="append", index=False, chunksize=1000)
    check_first_frame(run(f"%%sql\n{SELECT_ONE}").DataFrame())
    check_matches(run(f"%%sql\n{SEARCH_EXACTLY}").DataFrame())
    run(f"%%sql\n{ADD_INDEX}")
    check_matches(run(f"%%sql\n{SEARCH}").DataFrame())
    run(f"%%sql\n{DROP_INDEX}")
    run(f"%%sql\n{DROP_TABLE}")
    assert not inspect(engine).has_table("frames")


def test_in_python_cells(engine):
    query = {"query_string": as_text(QUERY)}
    with engine.connect() as connection:
        connection.execute(text(CREATE))
        FRAMES.to_sql("frames", connection, if_exists="append", index=False, chunksize=1000)
        assert pd.read_sql("SELECT COUNT(*) AS n FROM frames", connection)["n"].tolist() == [len(FRAMES)]
        check_first_frame(pd.read_sql(text(SELECT_ONE), connection))
        check_matches(pd.read_sql(text(SEARCH_EXACTLY), connection, params=query))
        connection.execute(text(ADD_INDEX))
        check_matches(pd.read_sql(text(SEARCH), connection, params=query))
        connection.execute(text(DROP_INDEX))
        connection.execute(text(DROP_TABLE))
    assert inspect(engine).get_table_names() == []


def check_first_frame(rows):
    """One of the frames: 50 bytes of its vector, which are 12 numbers and a half, and 50 letters of text."""
    (number, embedding, picture) = rows.to_records(index=False).tolist()[0]
    assert len(rows) == 1
    assert embedding == STORED[number - 1].tobytes()[:50]
    assert picture == FRAMES["frame_data"][0][:50]


def check_matches(matches):
    assert matches["frame_number"].tolist() == (BEST + 1).tolist()
    np.testing.assert_allclose(matches["similarity"], STORED[BEST] @ QUERY, rtol=1e-5)


def test_first_this_then_that_in_one_statement(singlestore_url):
    notebook = nbformat.read(Path(__file__).parents[1] / "notebooks" / "05_singlestore.ipynb", 4)
    assert f"%%sql\n{SEQUENCES.rstrip()}" in [cell.source for cell in notebook.cells]
    store = FrameStore(singlestore_url)
    for video_id, seed in (("v1", 0), ("v2", 1)):
        store.write_video(make_video(video_id), model="tiny", dimension=64, every_seconds=1.0)
        store.write_frames(make_frames(video_id, np.random.default_rng(seed).normal(size=(80, 64))))
    queries = np.random.default_rng(2).normal(size=(2, 64)).astype("<f4")
    values = {"first": queries[0].tobytes(), "second": queries[1].tobytes(), "video_id": "v1"}
    with store.engine.connect() as connection:
        rows = pd.read_sql(text(SEQUENCES), connection, params=values)
    found = find_sequences(store, queries, 10, 5, video_id="v1")
    pairs = found["frame_number"].to_numpy().reshape(-1, 2)
    assert rows[["first_frame", "second_frame"]].to_numpy().tolist() == pairs.tolist()
    np.testing.assert_allclose(rows["least_z"], found["least_z"][::2], atol=1e-5)
    assert len(rows) > 1
