"""Tables of frames and matches go out as text without their pictures, and are plain tables in all else."""

import base64
import io
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.conftest import make_frames, make_video
from videolib import (
    FrameStore,
    NullQueries,
    find_moments,
    find_sequences,
    judge,
    match_frames,
    moments_of,
    normalize,
    plot_frames,
)
from videolib.images import encode_jpeg
from videolib.tables import FrameTable

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


def test_the_display_of_a_table_is_short_and_has_the_pictures_small(table):
    text, html = repr(table), table._repr_html_()
    assert "frame_data" in text
    assert f"{len(JPEG):,} bytes" in text
    assert len(text) < 300 * (1 + len(table))
    pictures = re.findall(r'base64,([^"]+)"', html)
    assert len(pictures) == len(table)
    for picture in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(picture))).size == (120, 80)
        assert len(picture) < 6000  # of noise, which compresses worst
    assert max(map(len, re.sub(r"base64,[^\"]+", "", html).splitlines())) < 200


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """A table as its HTML has it; of a picture, what is said of it."""
    html = re.sub(r'<img alt="([^"]*)"[^>]*>', r"\1", table._repr_html_())
    rows = [re.findall("<td>(.*?)</td>", row) for row in html.split("<tr>")[1:]]
    return pd.DataFrame(rows, columns=table.columns)


TIMES = ("timestamp_seconds", "start_seconds", "peak_seconds", "end_seconds")


def make_table(**columns) -> FrameTable:
    rows = len(next(iter(columns.values())))
    return FrameTable({"rank": range(1, rows + 1), "title": "talk", "frame_data": [JPEG] * rows, **columns})


def test_times_are_m_ss_and_told_apart_and_a_picture_is_told_in_words():
    table = shown(make_table(timestamp_seconds=[5.0, 65.0, 3661.9]))
    assert table["timestamp_seconds"].tolist() == ["0:05", "1:05", "1:01:01"]
    assert table["frame_data"].tolist() == ["1 · talk · 0:05", "2 · talk · 1:05", "3 · talk · 1:01:01"]
    table = shown(make_table(timestamp_seconds=[12.0, 12.25, 12.5]))
    assert table["timestamp_seconds"].tolist() == ["0:12.0", "0:12.2", "0:12.5"]
    moments = make_table(start_seconds=[5.5], peak_seconds=[12.0], end_seconds=[12.75])
    assert shown(moments)[[*TIMES[1:]]].values.tolist() == [["0:05.5", "0:12.0", "0:12.7"]]
    odd = make_table(timestamp_seconds=[np.nan, np.inf, 3.0])
    assert shown(odd)["timestamp_seconds"].tolist() == ["NaN", "inf", "0:03"]


@pytest.mark.parametrize("count", [21, 60, 61, 500])
def test_a_long_table_shows_some_rows_and_few_pictures(count):
    table = make_table(timestamp_seconds=np.arange(count) / 10)
    html = table._repr_html_()
    assert html.count("<img") == (10 if count > 60 else 20)
    assert len(html) < 150_000
    assert len(repr(table).splitlines()) < 70
    if count > 60:
        assert f"{count} rows \N{MULTIPLICATION SIGN} 4 columns" in html
        assert "0:00.0" in html


def test_what_is_no_picture_is_no_error():
    table = make_table(timestamp_seconds=[1.0, 2.0, 3.0, 4.0])
    table["frame_data"] = [b"no JPEG", None, np.nan, "aGVsbG8="]
    assert shown(table)["frame_data"].tolist()[0] == "no picture"
    assert "aGVsbG8=" in table._repr_html_()
    assert "no JPEG" not in repr(table) + table._repr_html_()


def test_an_embedding_is_told_by_its_shape(store):
    frames = store.read_frames("v1")
    for text in (repr(frames), frames._repr_html_()):
        assert text.count("(32,) float32") == len(frames)


def test_what_is_typed_stays_text_and_no_row_is_wider_than_a_terminal():
    digest = "0123456789abcdef" * 2
    title = '<script>alert(1)</script>\x1b[31m "a" ' + "long " * 99
    table = make_table(
        timestamp_seconds=[1.0], video_id=[f"{digest}@0.5s"], sentence=["it is probably not there, " * 9]
    ).assign(title=title, **{"<b>": "<i>"})
    html, text = table._repr_html_(), repr(table)
    assert "<script>" not in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert "01234567…@0.5s" in html
    assert "01234567…@0.5s" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 101  # pandas ends a broken line with a backslash
    assert max(map(len, re.sub(r"base64,[^\"]+", "", html).splitlines())) < 500


def test_options_of_pandas_hold(store):
    matches = store.search(ROWS[2])
    with pd.option_context("display.notebook_repr_html", False):
        assert matches._repr_html_() is None
    with pd.option_context("display.max_rows", 3, "display.min_rows", 2, "display.precision", 2):
        assert matches._repr_html_().count("<img") == 2
        assert "[5 rows x 7 columns]" in repr(matches)
    with pd.option_context("display.large_repr", "info", "display.max_rows", 2):
        assert "RangeIndex" in repr(matches)
        assert "RangeIndex" in matches._repr_html_()


def test_moments_and_frames_of_every_origin_have_this_form(store):
    index = store.load_index()
    curve = store.similarities(ROWS[2], "v1")
    for table in (
        find_moments(store, ROWS[2]),
        find_moments(index, ROWS[2]),
        find_moments(store, ROWS[2], 0),
        moments_of(curve),
        moments_of(curve.head(0)),
        find_sequences(store, ROWS[1:3]),
        judge(
            store.search(ROWS[2]), ROWS[2], store, NullQueries(("x",) * 99, np.repeat(ROWS[:1], 99, axis=0))
        ),
    ):
        assert isinstance(table, FrameTable)
        assert "frame_data" in table._repr_html_()
        assert "frame_data" in repr(table)


def test_the_same_name_twice_is_shown(store):
    matches = store.search(ROWS[2])
    for table in (pd.concat([matches, matches], axis=1), pd.concat({"a": matches, "b": matches}, axis=1)):
        assert "rank" in repr(table)
        assert "rank" in table._repr_html_()


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
