import json

import pandas as pd
import pytest

from tests.conftest import make_video
from videolib import FrameStore, StoreError, load_marks
from videolib.search import as_marks

MODEL = {"model": "tiny", "dimension": 32, "every_seconds": 1.0}
MARK = {"query": "a car", "video_id": "v1", "start_seconds": 1, "end_seconds": 2, "right": True}


@pytest.fixture
def filled() -> FrameStore:
    store = FrameStore(":memory:")
    for video_id, title in (("id-1", "first"), ("id-2", "second"), ("id-3", "twice"), ("id-4", "twice")):
        store.write_video(make_video(video_id, title=title), **MODEL)
    store.write_video(make_video("id-1", title="first"), **MODEL | {"every_seconds": 0.5})
    return store


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query": " "}, "query must be a text of at most 4,096 characters, and not blank, got ' ' in row 1"),
        ({"query": None}, "query must be a text"),
        ({"query": 2024}, "query must be a text .* got 2024"),
        ({"query": "x" * 4097}, "query must be a text of at most 4,096"),
        ({"video_id": ""}, "video_id must be a text"),
        ({"right": None}, "right must be true or false, got None in row 1"),
        ({"right": 2}, "right must be true or false, got 2"),
        ({"start_seconds": None}, "must both be numbers .* or both be absent, got nan and 2.0 in row 1"),
        ({"start_seconds": 2}, "0 <= start < end, .* got 2.0 and 2.0"),
        ({"start_seconds": -1}, "got -1.0 and 2.0"),
        ({"end_seconds": float("inf")}, "got 1.0 and inf"),
        ({"end_seconds": "late"}, "end_seconds must be a number or absent, got 'late'"),
        ({"who": 7}, "who must be a text of at most 255 characters, got 7"),
        ({"written_at": "yesterday"}, "written_at must be a time or absent, got 'yesterday'"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(changed, message):
    with pytest.raises(ValueError, match=message):
        as_marks([MARK | changed])
    with pytest.raises(ValueError, match="in row 2"):
        as_marks([MARK, MARK | changed])


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="must have the columns query, video_id, right; missing: right"):
        as_marks(pd.DataFrame([MARK]).drop(columns="right"))


def test_what_is_unambiguous_is_taken():
    rows = [MARK | {"right": each} for each in ("TRUE", "1", 1, True)]
    marks = as_marks([*rows, MARK | {"start_seconds": "", "end_seconds": None, "right": "false"}])
    assert marks["right"].tolist() == [True] * 4 + [False]
    assert marks["start_seconds"].isna().tolist() == [False] * 4 + [True]
    times = as_marks([MARK | {"written_at": each} for each in ("2026-01-02T03:04:05+02:00", None)])[
        "written_at"
    ]
    assert times[0] == pd.Timestamp("2026-01-02 01:04:05")
    assert times.isna()[1]


def test_no_marks_have_the_same_columns_and_types():
    pd.testing.assert_series_equal(as_marks([]).dtypes, as_marks([MARK]).dtypes)


def test_a_table_by_hand_names_its_videos_by_title(filled, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        "query,title,right,start_seconds,end_seconds\n007,first,true,1,2.5\nNA,second,false,,\n",
        encoding="utf-8",
    )
    marks = load_marks(path, filled)
    assert marks[["query", "video_id", "right"]].to_numpy().tolist() == [
        ["007", "id-1", True],
        ["NA", "id-2", False],
    ]
    assert marks["end_seconds"].tolist()[0] == 2.5
    assert marks["start_seconds"].isna().tolist() == [False, True]


def write_highlights(path, *, vids=("first", "second")) -> None:
    """In the layout of highlight_val_release.jsonl."""
    rows = [
        {
            "qid": 8737,
            "query": "A family is playing basketball together on a green court outside.",
            "duration": 126,
            "vid": vids[0],
            "relevant_windows": [[0, 16], [40, 52]],
            "relevant_clip_ids": [0, 1, 2],
            "saliency_scores": [[4, 1, 1], [4, 1, 1], [4, 2, 1]],
        },
        {
            "qid": 2,
            "query": "Man in gray top walks from outside to inside.",
            "duration": 150,
            "vid": vids[1],
            "relevant_windows": [[26, 36]],
            "relevant_clip_ids": [13, 14],
            "saliency_scores": [[4, 4, 2], [3, 4, 2]],
        },
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


def test_qvhighlights_is_read_window_by_window(filled, tmp_path):
    write_highlights(tmp_path / "highlight_val_release.jsonl")
    marks = load_marks(tmp_path / "highlight_val_release.jsonl", filled)
    names = ["video_id", "start_seconds", "end_seconds", "right"]
    assert marks[names].to_numpy().tolist() == [
        ["id-1", 0, 16, True],
        ["id-1", 40, 52, True],
        ["id-2", 26, 36, True],
    ]
    assert marks["query"].str[:8].tolist() == ["A family", "A family", "Man in g"]


def test_its_test_split_tells_no_answers(filled, tmp_path):
    path = tmp_path / "highlight_test_release.jsonl"
    path.write_text(json.dumps({"qid": 1, "query": "a", "vid": "first", "duration": 150}), encoding="utf-8")
    with pytest.raises(ValueError, match="relevant_windows, which the test split has not: take val"):
        load_marks(path, filled)


MSRVTT = """key,vid_key,video_id,sentence
ret0,msr9770,first,a person is connecting something to system
ret1,msr9771,second,"a little girl, does gymnastics"
"""


def test_msr_vtt_s_test_split_is_read_video_by_video(filled, tmp_path):
    path = tmp_path / "MSRVTT_JSFUSION_test.csv"
    path.write_text(MSRVTT, encoding="utf-8")
    marks = load_marks(path, filled)
    assert marks[["query", "video_id", "right"]].to_numpy().tolist() == [
        ["a person is connecting something to system", "id-1", True],
        ["a little girl, does gymnastics", "id-2", True],
    ]
    assert marks["start_seconds"].isna().all()


def test_titles_that_are_not_there_are_named_or_left_out(filled, tmp_path):
    write_highlights(tmp_path / "some.jsonl", vids=("first", "gone_0.0_150.0"))
    with pytest.raises(StoreError, match=r"has no 'gone_0.0_150.0': ingest them, or pass missing_ok=True"):
        load_marks(tmp_path / "some.jsonl", filled)
    assert set(load_marks(tmp_path / "some.jsonl", filled, missing_ok=True)["video_id"]) == {"id-1"}


def test_a_title_of_two_videos_is_refused(filled, tmp_path):
    (tmp_path / "m.csv").write_text("query,title,right\na,twice,true\n", encoding="utf-8")
    with pytest.raises(ValueError, match="title must be that of one video, got 'twice', which several have"):
        load_marks(tmp_path / "m.csv", filled)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.csv", None, "must be an existing .csv, .json or .jsonl file of marks, got .*none.csv"),
        ("marks.txt", "query", "must be an existing .csv, .json or .jsonl file of marks"),
        ("empty.csv", "", "must be a readable table"),
        ("broken.json", "{", "must be a readable table"),
        ("list.jsonl", "7\n", "must be a readable table|must have the columns"),
        (
            "other.json",
            '[{"name": 1}]',
            "must have the columns query, video_id, right; missing: query, video_id",
        ),
    ],
)
def test_a_file_that_holds_no_marks_is_refused(filled, tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_marks(tmp_path / name, filled)
