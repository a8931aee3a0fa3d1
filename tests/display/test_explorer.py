"""The explorer without a browser: what it asks and answers, what it sends, and what stays where no kernel is."""

import builtins
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.conftest import make_frames, make_video
from videolib import (
    FrameStore,
    StoreError,
    combine,
    copy_videos,
    evaluate,
    explore,
    find_moments,
    ingest,
    judge,
    normalize,
    null_queries,
    probe_video,
    read_frame,
    refine,
    text_query,
)
from videolib.demo import SAMPLE_VIDEO_PATH, sample_scenes
from videolib.display import explorer_index
from videolib.display.explorer_marks import keep_mark
from videolib.display.explorer_widget import tell_span

CAR = "a red car in the city"


@pytest.fixture(scope="module")
def stored(tmp_path_factory, encoder) -> Path:
    """A folder with the sample video and a store of it."""
    folder = tmp_path_factory.mktemp("explored")
    shutil.copy(SAMPLE_VIDEO_PATH, folder / "sample.mp4")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEOLIB_MODEL_DIR", str(folder))
        ingest(folder / "sample.mp4", encoder, FrameStore(folder / "store.duckdb"), progress=False)
    return folder


@pytest.fixture
def sample(stored, tmp_path, monkeypatch) -> FrameStore:
    """A store of one's own, to be lost."""
    monkeypatch.setenv("VIDEOLIB_MODEL_DIR", str(stored))
    shutil.copy(stored / "store.duckdb", tmp_path)
    return FrameStore(tmp_path / "store.duckdb", retry_seconds=0)


class Screen:
    """What a browser would get of an explorer, and what it would send."""

    def __init__(self, explorer) -> None:
        self.explorer, self.got = explorer, []
        explorer.send = lambda content, buffers=(): self.got.append((content, list(buffers)))

    def ask(self, buffers=(), **content) -> dict[str, tuple[dict, list[bytes]]]:
        """Send a request; its answers by their kinds."""
        self.got.clear()
        # As ipywidgets hands on what came over the wire.
        content = json.loads(json.dumps(content | {"id": "me-1"}))
        self.explorer._handle_custom_msg(content, [memoryview(each) for each in buffers])
        for message, _ in self.got:
            json.dumps(message)  # plain numbers and texts alone
        return {message["kind"]: (message, data) for message, data in self.got}


def caption_at(seconds: float) -> str:
    scenes = sample_scenes()
    return scenes[scenes["start_seconds"] <= seconds]["caption"].iloc[-1]


def key(moments: pd.DataFrame, row: int = 0) -> dict[str, object]:
    return {"video_id": moments["video_id"][row], "frame_number": int(moments["frame_number"][row])}


def jpeg(color=(200, 30, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(buffer, "JPEG")
    return buffer.getvalue()


def test_it_answers_with_the_moments_and_how_sure_they_are(sample, encoder):
    explorer = explore(sample, encoder, query_text=CAR, k=2)
    plain = find_moments(sample, text_query(CAR, encoder), 2)
    pd.testing.assert_frame_equal(explorer.moments[plain.columns], plain)
    assert caption_at(explorer.moments["peak_seconds"][0]) == CAR
    assert explorer.moments["sentence"][0] == "No unrelated description of 200 does as well"
    assert explorer.query == {
        "query_text": CAR,
        "without_text": "",
        "query_image": None,
        "weight": 0.5,
        "video_id": None,
        "start_seconds": None,
        "end_seconds": None,
        "k": 2,
    }
    assert explorer.marks.columns.tolist() == ["video_id", "frame_number", "right"]
    assert repr(explorer) == f"Explorer('{CAR}', 2 moments)"
    again = explore(sample, encoder, **explorer.query)
    pd.testing.assert_frame_equal(again.moments, explorer.moments)


def test_what_should_not_be_there_counts_half_against_it(sample, encoder):
    explorer = explore(sample, encoder, query_text="a car", without_text="something red")
    car, red = (text_query(text, encoder) for text in ("a car", "something red"))
    query = combine(car, red, weights=[1, -0.5], embeddings=sample.sample_embeddings())
    assert explorer.moments["frame_number"].tolist() == find_moments(sample, query)["frame_number"].tolist()
    plain = explore(sample, encoder, query_text="a car").moments
    assert plain["frame_number"].tolist() != explorer.moments["frame_number"].tolist()
    assert explorer.moments["sentence"].str.contains("unrelated description").all()


def test_the_verdict_of_a_combined_query_is_the_texts_own(sample, encoder):
    plain = explore(sample, encoder, query_text=CAR)
    combined = explore(sample, encoder, query_text=CAR, without_text="a boat")
    same = plain.moments.merge(combined.moments, on=["video_id", "frame_number"])
    assert len(same)
    assert same["p_value_x"].tolist() == same["p_value_y"].tolist()


def test_a_search_from_the_screen(sample, encoder):
    screen = Screen(explore(sample, encoder))
    hello = screen.ask(kind="hello")
    assert [each["title"] for each in hello["videos"][0]["videos"]] == ["sample"]
    assert hello["answer"][0]["summary"] == "Type what to look for, in English, or choose a picture."
    assert hello["done"][0]["id"] == "me-1"
    got = screen.ask(kind="search", changes={"query_text": CAR, "k": 1})
    assert screen.explorer.query["query_text"] == CAR
    (moment,), (picture,) = got["answer"][0]["moments"], got["answer"][1]
    assert caption_at(moment["peak_seconds"]) == CAR
    assert moment["times"] == "0:05 to 0:12"
    assert Image.open(io.BytesIO(picture)).size == (240, 135)
    assert len(got["curve"][0]["seconds"]) == len(got["curve"][0]["similarities"]) == 143
    kinds = [message["kind"] for message, _ in screen.got]
    assert kinds == ["answer", "curve", "done"]  # the pictures do not wait for the curve


def test_what_is_set_in_python_goes_to_the_screen(sample, encoder):
    screen = Screen(explore(sample, encoder))
    screen.explorer.query = CAR
    assert screen.got[0][0]["asked"]["query_text"] == CAR
    assert screen.got[0][0]["id"] is None
    screen.explorer.query = {"k": 1, "video_id": screen.explorer.moments["video_id"].tolist()[:1]}
    assert len(screen.explorer.moments) == 1
    with pytest.raises(ValueError, match="got 'colour'"):
        screen.explorer.query = {"colour": "red"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_text": None}, "query_text must be a text"),
        ({"without_text": 3}, "without_text must be a text"),
        ({"weight": 1.5}, "weight must lie between 0"),
        ({"weight": "half"}, "weight must lie between 0"),
        ({"k": 0}, "k must be a whole number"),
        ({"k": 2.5}, "k must be a whole number"),
        ({"query_image": b"no picture"}, "image must be a readable picture"),
        ({"video_id": []}, "video_id"),
        ({"start_seconds": -1}, "start_seconds must be a number of seconds, 0 or more, or None, got -1"),
        ({"end_seconds": "1:00"}, "end_seconds must be a number of seconds, 0 or more, or None, got '1:00'"),
        ({"end_seconds": float("nan")}, "end_seconds must be a number of seconds"),
        ({"start_seconds": 9, "end_seconds": 3}, "start_seconds must be below end_seconds, got 9 and 3"),
        (
            {"start_seconds": 500},
            r"start_seconds must lie within what is searched, which is 142\.\d+ s long",
        ),
    ],
)
def test_a_wrong_argument_is_refused_and_changes_nothing(sample, encoder, changes, message):
    with pytest.raises(ValueError, match=message):
        explore(sample, encoder, **{"query_text": CAR} | changes)
    explorer = explore(sample, encoder, query_text=CAR)
    before, moments = explorer.query, explorer.moments
    with pytest.raises(ValueError, match=message):
        explorer.query = changes
    assert explorer.query == before
    assert explorer.moments is moments


@pytest.fixture
def several(sample, encoder) -> FrameStore:
    """The sample video, a part of it as another, and a third that shows nothing."""
    (video_id,) = sample.list_videos()["video_id"]
    frames = sample.read_frames(video_id)
    for name, rows in (("early", frames[:40]), ("late", frames[60:])):
        video = make_video(name, title=f"{name} part", duration_seconds=145.0)
        sample.write_video(video, model=encoder.model, dimension=encoder.dimension, every_seconds=1.0)
        sample.write_frames(rows.assign(video_id=name))
        sample.mark_complete(name)
    return sample


@pytest.mark.parametrize("most_bytes", [explorer_index.MOST_BYTES, 0])
def test_some_videos_and_a_part_of_them_are_searched_exactly(several, encoder, monkeypatch, most_bytes):
    monkeypatch.setattr(explorer_index, "MOST_BYTES", most_bytes)
    part = {"video_id": ["early", "late"], "start_seconds": 20.0, "end_seconds": 100.0}
    screen = Screen(explore(several, encoder, query_text=CAR, **part))
    is_index = isinstance(explorer_index.searched(several), explorer_index.Indexed)
    assert is_index == (most_bytes > 0)
    query = text_query(CAR, encoder)
    expected = find_moments(several, query, 5, **part)
    pd.testing.assert_frame_equal(screen.explorer.moments[expected.columns], expected)
    assert set(expected["video_id"]) == {"early", "late"}
    # What the null queries reach in the same seconds of the same videos, from the frames themselves.
    rows = pd.concat(
        [several.read_frames(name, start_seconds=20, end_seconds=100) for name in part["video_id"]]
    )
    alone = FrameStore("duckdb:///:memory:")
    alone.write_video(make_video("part"), model=encoder.model, dimension=encoder.dimension, every_seconds=1.0)
    alone.write_frames(rows.assign(video_id="part", frame_number=range(1, len(rows) + 1)))
    alone.mark_complete("part")
    judged = judge(expected, query, alone, null_queries(encoder))
    assert screen.explorer.moments["p_value"].tolist() == judged["p_value"].tolist()
    got = screen.ask(kind="search", changes={"query_text": "a zebra", "k": 20})["answer"][0]["moments"]
    missing = [each["sentence"] for each in got if not each["found"]]
    assert missing
    assert all(each.endswith("it is probably not in this part of these videos") for each in missing)
    assert screen.explorer.query | part == screen.explorer.query
    got = screen.ask(kind="search", changes={"start_seconds": None, "video_id": "early"})["answer"][0]
    assert got["asked"]["start_seconds"] is None
    assert {each["video_id"] for each in got["moments"]} == {"early"}


def test_a_part_without_frames_says_so(several, encoder):
    explorer = explore(several, encoder, query_text=CAR, video_id="early", start_seconds=60)
    assert explorer.moments.empty
    html = displayed(explorer)[0]["text/html"]
    assert f"“{CAR}” in 1 video from 1:00: No moments: there are no frames in what is searched." in html


def test_a_store_that_changes_is_searched_as_it_is(several, encoder):
    screen = Screen(explore(several, encoder, query_text=CAR))
    first = explorer_index.searched(several)
    assert isinstance(first, explorer_index.Indexed)
    assert explorer_index.searched(FrameStore(several.url)) is first  # another explorer has the same
    several.delete_video("late")
    got = screen.ask(kind="search", changes={"query_text": CAR})["answer"][0]
    assert "late" not in {each["video_id"] for each in got["moments"]}
    screen.ask(kind="search", changes={"query_text": "a boat"})
    second = explorer_index.searched(several)
    assert second is not first
    assert isinstance(second, explorer_index.Indexed)
    other = make_video("other", title="not complete")
    several.write_video(other, model=encoder.model, dimension=encoder.dimension, every_seconds=1.0)
    several.write_frames(several.read_frames("early").assign(video_id="other"))
    for _ in range(3):  # however often
        got = screen.ask(kind="search", changes={"query_text": CAR, "video_id": "other"})["answer"][0]
        assert len(got["moments"])
        assert "not complete" in got["notes"][0]


def test_an_index_that_is_kept_gives_way_to_a_newer_one(several, sample, encoder, tmp_path, monkeypatch):
    explore(several, encoder, query_text=CAR)
    size = explorer_index._bytes_of(explorer_index.searched(several).videos)
    monkeypatch.setattr(explorer_index, "MOST_BYTES", size + 1)
    several.compact()
    shutil.copy(tmp_path / "store.duckdb", tmp_path / "copy.duckdb")
    copy = FrameStore(tmp_path / "copy.duckdb")
    found = explore(copy, encoder, query_text=CAR).moments
    assert len(found)
    assert list(explorer_index._kept) == [copy.url]


def test_a_store_that_is_too_large_is_counted_now_and_then(several, monkeypatch):
    monkeypatch.setattr(explorer_index, "MOST_BYTES", 0)
    counts = []
    listen = (Engine, "before_cursor_execute", lambda *given: counts.append("GROUP BY" in given[2]))
    event.listen(*listen)
    try:
        for pause, expected in ((0, 1), (600, 2), (600, 2)):
            monkeypatch.setattr(explorer_index, "LOOK_AGAIN_SECONDS", pause)
            assert explorer_index.searched(several) is several
            assert sum(counts) == expected
    finally:
        event.remove(*listen)


def test_pictures_that_are_known_are_not_read_again(sample):
    indexed = explorer_index.searched(sample)
    asked = []
    read = indexed.index.add_pictures
    indexed.index.add_pictures = lambda rows: (asked.append(rows["frame_number"].tolist()), read(rows))[1]
    keys = pd.DataFrame({"video_id": indexed.videos["video_id"][0], "frame_number": [5, 2, 9]})
    for rows in (keys[:2], keys, keys[::-1]):
        pictures = indexed.add_pictures(rows)["frame_data"]
        assert pictures.tolist() == sample.add_pictures(rows)["frame_data"].tolist()
    assert asked == [[5, 2], [9]]


def test_times_of_a_short_moment_are_told_apart():
    assert tell_span({"start_seconds": 5.0, "end_seconds": 12.5}) == "0:05 to 0:12"
    assert tell_span({"start_seconds": 5.0, "end_seconds": 5.4}) == "0:05.0 to 0:05.4"


def test_marks_refine_and_can_be_set_again(sample, encoder):
    screen = Screen(explore(sample, encoder, query_text="a car"))
    explorer = screen.explorer
    was = explorer.moments
    got = screen.ask(kind="mark", right=False, **key(was, 0))
    free = next(each for each in got["answer"][0]["moments"] if each["mark"] is None)
    other = {name: free[name] for name in ("video_id", "frame_number")}
    got = screen.ask(kind="mark", right=True, **other)
    marks = explorer.marks
    assert marks["right"].tolist() == [False, True]
    assert got["answer"][0]["mark_count"] == 2
    rows = sample.add_embeddings(marks)["embedding_data"]
    query = refine(text_query("a car", encoder), [rows[1]], [rows[0]], embeddings=sample.sample_embeddings())
    expected = find_moments(sample, query)
    assert explorer.moments["frame_number"].tolist() == expected["frame_number"].tolist()
    assert [each["mark"] for each in got["answer"][0]["moments"]].count(True) == 1
    other = explore(sample, encoder, query_text="a car")
    other.marks = marks
    assert other.moments["frame_number"].tolist() == expected["frame_number"].tolist()
    screen.ask(kind="forget")
    pd.testing.assert_frame_equal(explorer.moments, was)
    with pytest.raises(
        ValueError, match="marks must have the columns video_id, frame_number, right; missing: right"
    ):
        explorer.marks = marks.drop(columns="right")


def test_marks_stay_with_the_words_they_were_made_for(sample, encoder):
    screen = Screen(explore(sample, encoder, query_text="a car"))
    screen.ask(kind="mark", right=False, **key(screen.explorer.moments))
    assert screen.ask(kind="search", changes={"query_text": "a boat"})["answer"][0]["mark_count"] == 0
    assert screen.ask(kind="search", changes={"query_text": "a car", "k": 3})["answer"][0]["mark_count"] == 1
    moment = screen.got[0][0]["moments"]
    marked = next(each for each in moment if each["mark"] is False)
    screen.ask(kind="mark", right=None, video_id=marked["video_id"], frame_number=marked["frame_number"])
    assert screen.explorer.marks.empty


def test_marks_on_the_screen_are_kept_in_the_store(sample, encoder, tmp_path):
    store = FrameStore(tmp_path / "marked.duckdb")
    copy_videos(sample, store, progress=False)
    screen = Screen(explore(store, encoder, query_text=" a car "))
    for _ in range(2):
        screen.ask(kind="search", changes={"query_text": "a car"})  # until the index is there
    first, second = screen.explorer.moments.head(2).to_dict("records")
    names = ("video_id", "frame_number")
    screen.ask(kind="mark", right=True, **{name: first[name] for name in names})
    got = screen.ask(kind="mark", right=False, **{name: second[name] for name in names})
    marks = store.read_marks(query="a car")
    assert marks.set_index("start_seconds")["right"].to_dict() == {
        first["start_seconds"]: True,
        second["start_seconds"]: False,
    }
    assert (marks["who"] != "").all()
    assert evaluate(store, encoder, marks, k=5).overall.loc["recall@5", "count"] == 1
    again = next(each for each in got["answer"][0]["moments"] if each["mark"] is False)
    screen.ask(kind="mark", right=None, **{name: again[name] for name in names})
    assert store.read_marks(query="a car")["right"].tolist() == [True]
    screen.ask(kind="search", changes={"without_text": "a boat"})
    screen.ask(kind="mark", right=False, **key(screen.explorer.moments))
    assert store.read_marks()["right"].tolist() == [True]  # what was asked for is no text alone


def test_why_a_mark_is_not_kept_is_told(sample):
    moment = {"video_id": "gone", "start_seconds": 1.0, "end_seconds": 2.0}
    assert "is not kept for later: video_id must be of a video" in keep_mark(sample, "a car", moment, True)


def test_a_picture_and_more_like_a_moment(sample, encoder):
    screen = Screen(explore(sample, encoder, query_text=CAR))
    peak = key(screen.explorer.moments)
    assert screen.ask(kind="like", **peak)["answer"][0]["asked"]["has_image"]
    got = screen.ask(kind="search", changes={"query_text": ""})["answer"]
    assert key(screen.explorer.moments) == peak
    assert len(got[1]) == len(got[0]["moments"]) + 1  # the picture that is searched by comes first
    assert screen.explorer.moments["p_value"].isna().all()
    image = screen.explorer.query["query_image"]
    screen.ask(kind="picture", buffers=[jpeg()])
    assert screen.explorer.query["query_image"] not in (None, image)
    assert screen.ask(kind="picture")["answer"][0]["moments"] == []


def test_the_balance_of_text_and_picture(sample, encoder):
    frame = sample.read_frames(sample.list_videos()["video_id"][0], start_seconds=8, end_seconds=9)[
        "frame_data"
    ][0]
    found = [
        explore(
            sample, encoder, query_text="a yellow star at night", query_image=frame, weight=weight
        ).moments
        for weight in (0.0, 1.0)
    ]
    assert found[0]["frame_number"][0] == 9
    assert caption_at(found[1]["peak_seconds"][0]) == "a yellow star at night"


def test_a_chosen_moment_plays_from_its_start_with_its_clip_kept(sample, encoder, tmp_path):
    screen = Screen(explore(sample, encoder, query_text=CAR))
    got, (clip,) = screen.ask(kind="play", **key(screen.explorer.moments))["clip"]
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    moment = screen.explorer.moments.iloc[0]
    assert 0 <= got["begin_seconds"] < got["stop_seconds"] <= probe_video(path).duration_seconds
    assert got["stop_seconds"] - got["begin_seconds"] == pytest.approx(
        moment["end_seconds"] - moment["start_seconds"]
    )
    shown = read_frame(path, got["begin_seconds"] + 0.01).image.astype(float)
    right = read_frame(SAMPLE_VIDEO_PATH, moment["start_seconds"] + 0.01).image.astype(float)
    assert np.abs(shown - right).mean() < 3
    assert screen.ask(kind="play", **key(screen.explorer.moments))["clip"][1][0] is clip


def test_a_file_that_is_gone_is_shown_by_the_stored_pictures(stored, sample, encoder):
    screen = Screen(explore(sample, encoder, query_text=CAR))
    path = stored / "sample.mp4"
    os.rename(path, stored / "elsewhere.mp4")
    try:
        got, pictures = screen.ask(kind="play", **key(screen.explorer.moments))["slides"]
    finally:
        os.rename(stored / "elsewhere.mp4", path)
    video_id = screen.explorer.moments["video_id"][0]
    assert got["sentence"] == (
        f"These are the stored pictures, without sound: no video file at {path}; "
        f"store.relocate_video({video_id!r}, path) tells where it was moved to."
    )
    assert len(pictures) == 7
    assert {Image.open(io.BytesIO(each)).size for each in pictures} == {(480, 270)}
    assert "clip" in screen.ask(kind="play", **key(screen.explorer.moments))  # it is there again


def test_a_lost_store_and_a_bad_query_are_told_and_the_next_search_answers(sample, encoder, tmp_path):
    screen = Screen(explore(sample, encoder, query_text=CAR))
    moments = screen.explorer.moments
    bad = screen.ask(kind="search", changes={"query_text": "car " * 200})
    assert "tokens" in bad["error"][0]["text"]
    assert "answer" not in bad
    os.rename(tmp_path / "store.duckdb", tmp_path / "away.duckdb")
    lost = screen.ask(kind="search", changes={"query_text": "a boat"})
    assert "store.duckdb" in lost["error"][0]["text"]
    assert lost["done"][0]["id"] == "me-1"
    assert screen.explorer.query["query_text"] == CAR
    assert screen.explorer.moments is moments
    assert not (tmp_path / "store.duckdb").exists()
    os.rename(tmp_path / "away.duckdb", tmp_path / "store.duckdb")
    assert "answer" in screen.ask(kind="search", changes={"query_text": "a boat"})
    gone = screen.ask(kind="play", video_id="other", frame_number=1)
    assert "has changed: choose again" in gone["error"][0]["text"]


HOLD = "import sys, duckdb; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"


def test_a_store_that_another_process_holds_is_told_of_and_let_go_after_each_search(
    sample, encoder, tmp_path
):
    screen = Screen(explore(sample, encoder, query_text=CAR))
    screen.ask(kind="search", changes={"query_text": "a boat"})
    command = [sys.executable, "-c", HOLD, str(tmp_path / "store.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()  # it has the file, so nothing here had
        locked = screen.ask(kind="search", changes={"query_text": "a green tree", "k": 20})
        assert "store.duckdb" in locked["error"][0]["text"]
        assert "answer" in screen.ask(
            kind="search", changes={"query_text": CAR, "k": 2}
        )  # all of it is known
        other.stdin.close()
    assert "answer" in screen.ask(kind="search", changes={"query_text": CAR})


def test_a_store_that_is_not_there_is_refused_at_the_call(tmp_path, encoder):
    with pytest.raises(StoreError):
        explore(FrameStore(tmp_path / "none.duckdb"), encoder, query_text=CAR)


def test_an_answer_without_moments_says_so(tmp_path, encoder):
    store = FrameStore(tmp_path / "empty.duckdb")
    store.write_video(make_video(), model=encoder.model, dimension=encoder.dimension, every_seconds=1.0)
    answer = Screen(explore(store, encoder, query_text=CAR)).ask(kind="hello")["answer"][0]
    assert answer["moments"] == []
    assert answer["summary"] == "No moments: there are no frames in what is searched."


def test_what_is_probably_not_there_is_said(sample, encoder):
    screen = Screen(explore(sample, encoder, query_text="a zebra"))
    assert screen.ask(kind="hello")["answer"][0]["summary"].startswith("Probably not there")


def test_a_warning_is_a_note_beside_the_answer(sample, encoder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        screen = Screen(explore(sample, encoder, query_text="a car without wheels"))
    (note,) = screen.ask(kind="hello")["answer"][0]["notes"]
    assert "CLIP reads over 'without'" in note


def displayed(explorer) -> list[dict[str, object]]:
    """What a cell that ends in it shows, in order."""
    InteractiveShell.instance()
    with capture_output() as captured:
        explorer._ipython_display_()
    return [output.data for output in captured.outputs]


class Tags(HTMLParser):
    """Names of the elements, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, _):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_the_answer_stays_where_there_is_no_kernel(sample, encoder):
    explorer = explore(sample, encoder, query_text=CAR)
    static, living = displayed(explorer)
    assert static.keys() == {"text/html", "text/plain"}
    assert f"videolib-static-{explorer.model_id}" in static["text/html"]
    assert living["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id
    tags = Tags(static["text/html"])
    assert tags.tags.count("img") == len(explorer.moments)
    assert set(tags.tags) <= {"div", "p", "img", "b"}  # what JupyterLab shows of a file it does not trust
    for moment in explorer.moments.to_dict("records"):
        assert moment["sentence"] in tags.text
    assert "0:05 to 0:12" in tags.text
    assert "http" not in static["text/html"]
    assert static["text/plain"].splitlines()[:2] == [
        f"“{CAR}”: 1 of 2 moments stands out",
        "1. 0:05 to 0:12 · sample · No unrelated description of 200 does as well",
    ]


def test_what_a_person_typed_and_titles_are_no_html(store, encoder):
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    store.write_video(
        make_video(title=evil), model=encoder.model, dimension=encoder.dimension, every_seconds=1.0
    )
    rows = normalize(np.random.default_rng(0).normal(size=(3, encoder.dimension)))
    store.write_frames(make_frames("v1", rows).assign(frame_data=jpeg()))
    store.mark_complete("v1")
    explorer = explore(store, encoder, query_text=evil, without_text=evil)
    html = displayed(explorer)[0]["text/html"]
    tags = Tags(html)
    assert "script" not in tags.tags
    assert tags.tags.count("img") == len(explorer.moments)
    assert tags.text.count(evil) == 2 + len(explorer.moments)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", explorer._esm)


def test_a_missing_anywidget_is_named(sample, encoder, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "anywidget":
            raise ModuleNotFoundError("No module named 'anywidget'", name="anywidget")
        return real(name, *args, **options)

    monkeypatch.delitem(sys.modules, "videolib.display.explorer_widget", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"explorer needs anywidget.*videolib\[notebooks\]"):
        explore(sample, encoder)
