import json

import duckdb
import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_frames, make_video
from videolib import FrameStore, StoreError, copy_videos, load_marks

MODEL = {"model": "tiny", "dimension": 32, "every_seconds": 1.0}
SPAN = {"query": "a red car", "video_id": "v1", "start_seconds": 1.5, "end_seconds": 3, "right": True}
ABSENT = {"query": "a cat", "video_id": "v2", "right": False}
WRONG = SPAN | {"start_seconds": 7.25, "end_seconds": 9, "right": False}


@pytest.fixture(params=["duckdb", pytest.param("singlestore", marks=pytest.mark.singlestore)])
def store(request, tmp_path) -> FrameStore:
    is_duckdb = request.param == "duckdb"
    store = FrameStore(tmp_path / "s.duckdb" if is_duckdb else request.getfixturevalue("singlestore_url"))
    for video_id in ("v1", "v2"):
        store.write_video(make_video(video_id), **MODEL)
    store.write_frames(make_frames("v1", np.eye(3, 32)))
    return store


def spans(marks: pd.DataFrame) -> list[tuple]:
    names = ["query", "video_id", "start_seconds", "right"]
    rows = marks[names].astype(object).where(marks[names].notna(), None)
    return [tuple(row) for row in rows.to_numpy()]


def test_a_store_without_marks_has_an_empty_table_of_the_same_types(store):
    empty = store.read_marks()
    assert empty.empty
    store.write_marks([SPAN])
    assert store.read_marks().dtypes.tolist() == empty.dtypes.tolist()


def test_marks_come_back_as_they_were_written(store):
    before = pd.Timestamp.now("UTC").tz_localize(None).floor("ms")
    store.write_marks([SPAN, ABSENT, WRONG], who="Ada")
    marks = store.read_marks()
    assert spans(marks) == [
        ("a cat", "v2", None, False),
        ("a red car", "v1", 1.5, True),
        ("a red car", "v1", 7.25, False),
    ]
    assert np.isnan(marks["end_seconds"][0])
    assert marks["end_seconds"].tolist()[1:] == [3.0, 9.0]
    assert set(marks["who"]) == {"Ada"}
    assert marks["written_at"].between(before, before + pd.Timedelta(hours=1)).all()
    assert marks["right"].dtype == bool


def test_some_are_read_by_description_or_video(store):
    store.write_marks([SPAN, ABSENT, SPAN | {"query": "A Red Car"}])
    assert len(store.read_marks(query=" a red car ")) == 1
    assert spans(store.read_marks(video_id="v2")) == [("a cat", "v2", None, False)]
    assert store.read_marks(video_id="no such").empty


def test_the_same_span_by_the_same_person_is_one_mark_with_the_last_answer(store):
    store.write_marks([SPAN, SPAN | {"right": False}], who="Ada")
    store.write_marks([SPAN, ABSENT], who="Bob")
    store.write_marks([ABSENT], who="Bob")
    marks = store.read_marks()
    assert marks[["query", "who", "right"]].to_numpy().tolist() == [
        ["a cat", "Bob", False],
        ["a red car", "Ada", False],
        ["a red car", "Bob", True],
    ]


def test_a_mark_is_of_the_content_whatever_its_sampling(store):
    finer = store.write_video(make_video("v1"), **MODEL | {"every_seconds": 0.5})
    assert finer == "v1@0.5s"
    store.write_marks([SPAN | {"video_id": finer}])
    store.write_marks([SPAN])
    assert len(store.read_marks(video_id=finer)) == len(store.read_marks(video_id="v1")) == 1
    store.delete_marks(pd.DataFrame([SPAN | {"video_id": finer}]))
    assert store.read_marks().empty


def test_what_a_person_wrote_stays_when_its_video_is_deleted(store):
    store.write_marks([SPAN, ABSENT])
    kept = store.read_marks()
    store.delete_video("v1")
    pd.testing.assert_frame_equal(store.read_marks(), kept)
    store.delete_marks(kept[kept["video_id"] == "v1"])
    assert store.read_marks()["video_id"].tolist() == ["v2"]
    store.delete_marks(kept)
    store.delete_marks(kept)
    assert store.read_marks().empty


def test_a_video_that_is_not_stored_is_refused_and_nothing_written(store):
    with pytest.raises(
        StoreError, match="video_id must be of a video in the store, got 'v9': see list_videos"
    ):
        store.write_marks([SPAN, SPAN | {"video_id": "v9"}])
    assert store.read_marks().empty


def test_a_bad_mark_is_refused_and_nothing_written(store):
    with pytest.raises(ValueError, match="right must be true or false, got 'maybe' in row 2"):
        store.write_marks([SPAN, ABSENT | {"right": "maybe"}])
    with pytest.raises(ValueError, match="who must be a text of at most 255 characters"):
        store.write_marks([SPAN], who="x" * 256)
    assert store.read_marks().empty


def test_texts_of_every_kind_and_length_are_kept(store):
    texts = ["x'; DROP TABLE marks; --", "ünï 日本語 🚗", "a" * 4096, "NULL", "2024", "caf\udce9"]
    store.write_marks([SPAN | {"query": text} for text in texts], who='Ada "\\')
    found = set(store.read_marks()["query"])
    assert {text for text in texts if text.isprintable()} <= found
    assert len(found) == len(texts)


def test_marks_are_copied_with_the_videos_and_those_that_are_there_stay(store, tmp_path):
    store.write_marks([SPAN, ABSENT, WRONG], who="Ada")
    store.delete_video("v2")
    copy = FrameStore(tmp_path / "copy.duckdb")
    copy_videos(store, copy, progress=False)
    pd.testing.assert_frame_equal(copy.read_marks(), store.read_marks())
    copy.write_marks([SPAN | {"right": False}], who="Ada")
    later = copy.read_marks()
    copy_videos(store, copy, progress=False)
    pd.testing.assert_frame_equal(copy.read_marks(), later)


def test_the_marks_of_no_video_at_all_are_copied_too(store, tmp_path):
    store.write_marks([SPAN])
    for video_id in ("v1", "v2"):
        store.delete_video(video_id)
    copy = FrameStore(tmp_path / "copy.duckdb")
    copy_videos(store, copy, progress=False)
    assert spans(copy.read_marks()) == spans(store.read_marks())
    copy.write_video(make_video("v1"), **MODEL)
    copy.write_marks([ABSENT | {"video_id": "v1"}])
    assert len(copy.read_marks()) == 2


def test_a_store_of_before_gets_its_table_with_the_first_mark(store):
    def tables() -> set[str]:
        with store.engine.connect() as connection:
            return {row[0] for row in connection.exec_driver_sql("SHOW TABLES")}

    assert "marks" not in tables()
    store.read_marks()
    store.delete_marks(pd.DataFrame([SPAN]))
    assert "marks" not in tables()
    store.write_marks([SPAN])
    assert "marks" in tables()


def test_one_can_ask_in_sql(store):
    store.write_marks([SPAN, WRONG, ABSENT])
    with store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT query FROM marks WHERE is_right")
        assert [row[0] for row in rows] == ["a red car"]


def test_there_are_no_marks_where_there_is_no_store(tmp_path):
    store = FrameStore(tmp_path / "none.duckdb")
    with pytest.raises(StoreError, match="there is no store"):
        store.read_marks()
    with pytest.raises(StoreError, match="there is no store"):
        store.write_marks([SPAN])
    assert not (tmp_path / "none.duckdb").exists()


def test_a_table_of_marks_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "others.duckdb"
    store = FrameStore(path)
    store.write_video(make_video("v1"), **MODEL)
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE marks (pupil VARCHAR, mark INTEGER)")
    for use in (store.read_marks, lambda: store.write_marks([SPAN])):
        with pytest.raises(StoreError, match="a table 'marks' of another origin: use another database"):
            use()


def test_marks_go_out_as_csv_and_json_and_in_again(store, tmp_path):
    store.write_marks([SPAN, ABSENT, WRONG, SPAN | {"query": "2024"}], who="Ada, or Bob")
    marks = store.read_marks()
    marks.to_csv(tmp_path / "marks.csv", index=False)
    marks.to_json(tmp_path / "marks.json", orient="records", date_format="iso")
    marks.to_json(tmp_path / "marks.jsonl", orient="records", lines=True, date_format="iso")
    for name in ("marks.csv", "marks.json", "marks.jsonl"):
        pd.testing.assert_frame_equal(load_marks(tmp_path / name, store), marks)
    (tmp_path / "old.json").write_text(
        json.dumps(json.loads(marks.assign(written_at=1_700_000_000_123).to_json()))
    )
    old = load_marks(tmp_path / "old.json", store)
    assert set(old["written_at"]) == {pd.Timestamp("2023-11-14 22:13:20.123")}
    store.delete_marks(marks)
    store.write_marks(load_marks(tmp_path / "marks.csv", store))
    pd.testing.assert_frame_equal(store.read_marks(), marks)


def test_an_explorer_s_marks_become_marks_by_its_moments(store):
    """`explorer.marks` tells frames, `explorer.moments` the spans around them."""
    moments = pd.DataFrame(
        {
            "video_id": ["v1", "v1"],
            "frame_number": [2, 9],
            "start_seconds": [0.5, 7.5],
            "end_seconds": [1.5, 9.5],
        }
    )
    marked = pd.DataFrame({"video_id": ["v1", "v1"], "frame_number": [2, 9], "right": [True, False]})
    store.write_marks(moments.merge(marked).assign(query="a red car"), who="Ada")
    assert spans(store.read_marks()) == [("a red car", "v1", 0.5, True), ("a red car", "v1", 7.5, False)]
