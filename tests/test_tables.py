"""Tables of frames and matches go out as text without their pictures, and are plain tables in all else."""

import base64
import io
import pickle

import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_frames, make_video
from videolib import FrameStore, match_frames, normalize, plot_frames
from videolib.images import encode_jpeg

ROWS = normalize(np.random.default_rng(0).normal(size=(6, 32)))
JPEG = encode_jpeg(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FrameStore:
    store = FrameStore(tmp_path_factory.mktemp("tables") / "store.duckdb")
    store.write_video(make_video(), model="tiny", dimension=32, every_seconds=1.0)
    store.write_frames(make_frames("v1", ROWS).assign(frame_data=JPEG))
    store.mark_complete("v1")
    return store


TABLES = {
    "search": lambda store: store.search(ROWS[2]),
    "index": lambda store: store.load_index().search(ROWS[2]),
    "in memory": lambda store: match_frames(ROWS[2], store.read_frames("v1")),
    "a part": lambda store: store.search(ROWS[2])[["rank", "title", "frame_data"]].iloc[1:4],
    "changed": lambda store: store.search(ROWS[2]).assign(note="é").rename(columns={"rank": "place"}),
    "merged": lambda store: store.search(ROWS[2]).merge(store.list_videos()[["video_id", "source"]]),
    "joined": lambda store: pd.concat([store.search(ROWS[2]), store.search(ROWS[3])], ignore_index=True),
    "frames": lambda store: store.read_frames("v1").drop(columns="embedding_data"),
    "a batch": lambda store: next(store.read_batches("v1")).drop(columns="embedding_data"),
}


@pytest.fixture(params=TABLES)
def table(request, store) -> pd.DataFrame:
    return TABLES[request.param](store)


def test_text_is_without_pictures(table):
    assert len(JPEG) > 10_000
    names = [name for name in table.columns if name != "frame_data"]
    csv = table.to_csv(index=False)
    assert csv.splitlines()[0] == ",".join(names)
    assert list(pd.read_json(io.StringIO(table.to_json(orient="records"))).columns) == names
    for text in (csv, table.to_json(), table.to_string(), table.to_html(), table.to_csv(sep=";")):
        assert len(text) < 1000 * len(table)
        assert "frame_data" not in text
    assert "frame_data" in table
    assert table["frame_data"].tolist() == [JPEG] * len(table)


def test_files_of_text_are_too(store, tmp_path):
    matches = store.search(ROWS[2])
    matches.to_csv(tmp_path / "matches.csv")
    matches.to_json(tmp_path / "matches.json")
    assert all(path.stat().st_size < 5000 for path in tmp_path.iterdir())


def test_pictures_go_out_where_they_are_asked_for(store):
    matches = store.search(ROWS[2])
    assert len(matches.to_csv(columns=["rank", "frame_data"])) > len(JPEG)
    coded = matches.assign(frame_data=[base64.b64encode(jpeg).decode() for jpeg in matches["frame_data"]])
    back = pd.read_json(io.StringIO(coded.to_json()))
    assert [base64.b64decode(text) for text in back["frame_data"]] == [JPEG] * len(matches)


def test_the_display_of_a_table_is_short_and_tells_of_the_pictures(table):
    with pd.option_context("display.width", 1000, "display.max_columns", None):
        texts = (repr(table), table._repr_html_())
    for text in texts:
        assert len(text) < 1000 * len(table)
        assert "frame_data" in text


def test_it_is_a_table_as_any_other(table, tmp_path):
    back = pickle.loads(pickle.dumps(table))
    pd.testing.assert_frame_equal(back, table)
    assert isinstance(table, pd.DataFrame)
    assert table["frame_data"].map(len).tolist() == [len(JPEG)] * len(table)
    plain = pd.DataFrame(table)
    assert type(plain) is pd.DataFrame
    pd.testing.assert_frame_equal(plain, table, check_frame_type=False)


def test_parquet_keeps_the_pictures(store, tmp_path):
    pytest.importorskip("pyarrow")
    matches = store.search(ROWS[2])
    matches.to_parquet(tmp_path / "matches.parquet")
    assert pd.read_parquet(tmp_path / "matches.parquet")["frame_data"].tolist() == [JPEG] * 5


def test_figures_and_stores_take_it(store, table, tmp_path):
    if {"frame_number", "timestamp_seconds"} <= set(table):
        plot_frames(table)
    copy = FrameStore(tmp_path / "copy.duckdb")
    copy.write_video(make_video(), model="tiny", dimension=32, every_seconds=1.0)
    copy.write_frames(store.read_frames("v1"))
    assert copy.read_frames("v1")["frame_data"].tolist() == [JPEG] * 6


def test_a_table_without_rows_or_pictures_goes_out():
    empty = FrameStore(":memory:").search(ROWS[2])
    assert empty.to_csv(index=False).startswith("rank,video_id,title,")
    assert empty.to_json(orient="records") == "[]"
