import io
import re
from datetime import datetime
from importlib.metadata import version

import nbformat
import numpy as np
import pandas as pd
import pytest

from tests.conftest import make_frames, make_video
from tests.test_shown import HOSTILE, LONG, check_html
from videolib import FrameStore, StoreError, find_moments, moments_of, save_card
from videolib.images import encode_jpeg

ROWS = np.eye(8)[[0, 1, 1, 2, 3, 0, 4, 5]]
NOISE = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
PLAIN = encode_jpeg(np.full((270, 480, 3), (200, 40, 30), dtype=np.uint8))


def make_moments(count: int, jpeg: bytes = PLAIN, **columns) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "rank": range(1, count + 1),
            "video_id": "v1",
            "title": "talk",
            "start_seconds": [number + 0.5 for number in range(count)],
            "peak_seconds": [number + 1.0 for number in range(count)],
            "end_seconds": [number + 1.5 for number in range(count)],
            "similarity": 0.3,
            "frame_number": range(1, count + 1),
            "frame_data": [jpeg] * count,
            **columns,
        }
    )


def judged(count: int, found: int) -> pd.DataFrame:
    return make_moments(count).assign(
        p_value=[0.005] * found + [0.4] * (count - found),
        found=[True] * found + [False] * (count - found),
        sentence="3 of 200 unrelated descriptions do as well",
    )


@pytest.fixture
def filled(store) -> FrameStore:
    for video_id in ("v1", "v2"):
        store.write_video(
            make_video(video_id, duration_seconds=62.0), model="tiny-1", dimension=8, every_seconds=1.0
        )
        store.write_frames(make_frames(video_id, ROWS).assign(frame_data=PLAIN))
        store.mark_complete(video_id)
    return store


def card(moments: pd.DataFrame, folder, **options) -> str:
    path = folder / "card.html"
    save_card(moments, path, **options)
    assert path.stat().st_size < 2_000_000
    assert [each for each in folder.iterdir() if each.name.startswith(".")] == []
    return path.read_text(encoding="utf-8")


def plain(html: str) -> str:
    return re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S).replace("&nbsp;", " ")


def test_a_card_has_pictures_times_verdicts_timeline_query_model_and_versions(filled, tmp_path):
    moments = find_moments(filled, ROWS[1], video_id="v1").assign(p_value=0.005, found=True, sentence="Sure.")
    html = card(moments, tmp_path, store=filled, query=ROWS[1], query_text="a red car")
    text = plain(html)
    for part in (
        *(
            "“a red car”",
            "1 of 1 moment stands out",
            "title of v1",
            "0:00 to 0:02",
            "peak 0:01",
            "1:02",
        ),
        *("Sure.", "p = 0.005", "similarity 1.000", "Model tiny-1.", f"videolib {version('videolib')}"),
        datetime.now().astimezone().strftime("%Y-%m"),
    ):
        assert part in text, part
    assert html.count("<img") == html.count("<svg") == html.count("<li") == html.count('class="curve"') == 1
    assert 'alt="1 · title of v1 · at 0:01"' in html
    assert 'aria-label="Timeline of title of v1, 1:02 long: moments at 0:01"' in html


def test_the_timeline_marks_each_moment_at_its_place(tmp_path, filled):
    moments = make_moments(2, start_seconds=[0.0, 31.0], peak_seconds=[6.2, 46.5], end_seconds=[12.4, 62.0])
    html = card(moments, tmp_path, store=filled)
    spans = re.findall(r'<rect class="span" x="([\d.]+)" y="0" width="([\d.]+)"', html)
    assert spans == [("0.0", "200.0"), ("500.0", "500.0")]
    assert re.findall(r'class="peak" d="M([\d.]+)', html) == ["100.0", "750.0"]
    assert re.findall(r"left: ([\d.]+)%", html) == ["10.00", "75.00"]
    assert "curve" not in html.partition("</style>")[2]


def test_the_curve_of_a_long_video_is_short_keeps_its_peaks_and_its_gap(tmp_path, store):
    count = 5000
    rows = np.zeros((count, 2))
    rows[:, 1] = 1
    rows[1234] = (1, 0)
    store.write_video(make_video(duration_seconds=float(count)), model="m", dimension=2, every_seconds=1.0)
    frames = make_frames("v1", rows).assign(frame_data=b"")
    store.write_frames(frames[(frames["frame_number"] < 3000) | (frames["frame_number"] > 4000)])
    store.mark_complete("v1")
    html = card(make_moments(1), tmp_path, store=store, query=[1, 0])
    path = re.search(r'class="curve" d="([^"]+)"', html)[1]
    assert len(path) < 8000
    assert path.count("M") == 2
    points = [tuple(map(float, point)) for point in re.findall(r"([\d.]+) ([\d.]+)", path)]
    assert min(points, key=lambda point: point[1]) == (246.8, 5.0)


@pytest.mark.parametrize(
    ("moments", "verdict"),
    [
        (judged(3, 1), "1 of 3 moments stands out from unrelated descriptions."),
        (judged(3, 2), "2 of 3 moments stand out from unrelated descriptions."),
        (judged(3, 0), "Probably not there: the 3 nearest moments do not stand out"),
        (judged(1, 0), "Probably not there: the nearest moment does not stand out"),
        (judged(3, 0).head(0), "Nothing was found: what is described is probably not in what was searched."),
        (make_moments(2), "2 moments"),
        (make_moments(2).head(0), "Nothing was found."),
        (judged(2, 2).assign(p_value=np.nan, sentence=""), "2 moments"),  # found by a picture
    ],
)
def test_the_verdict_is_a_sentence(moments, verdict, tmp_path, filled):
    for options in ({}, {"store": filled}):
        html = card(moments, tmp_path, query_text="a zebra", **options)
        assert verdict in plain(html)
        assert html.count("<img") == html.count("<li") == len(moments)
        assert ("Model tiny-1" in html) is bool(options)


def test_pictures_that_moments_lack_come_from_the_store(filled, tmp_path):
    bare = moments_of(filled.similarities(ROWS[1], "v1"))
    assert bare["frame_data"].isna().all()
    assert card(bare, tmp_path, store=filled).count("<img") == len(bare)
    assert card(bare.drop(columns="frame_data"), tmp_path, store=filled).count("<img") == len(bare)
    some = make_moments(3).assign(frame_data=[PLAIN, None, b"no JPEG"])
    assert card(some, tmp_path, store=filled).count("<img") == 2
    html = card(some.assign(frame_number=99), tmp_path, store=filled)  # such a frame is not stored
    assert html.count("<img") == 1
    assert "No picture is stored of 2 · talk · at 0:02" in plain(html)


@pytest.mark.parametrize("count", [1, 7, 60, 2000])
def test_large_pictures_and_many_moments_stay_below_the_limit(count, tmp_path):
    jpeg = encode_jpeg(NOISE, long_side=1920, quality=95)
    assert len(jpeg) > 1_000_000
    moments = make_moments(count, jpeg).assign(title=HOSTILE + LONG, sentence=HOSTILE * 99, p_value=0.5)
    moments["video_id"] = [f"v{number}" for number in range(count)]
    html = card(moments, tmp_path, query_text=LONG * 9)
    assert html.count("<img") == min(count, 60)
    assert ("1,940 more moments are left out here" in plain(html)) is (count == 2000)
    assert "and 48 more videos" in plain(html) or count < 60


def test_what_is_typed_is_text(tmp_path):
    moments = judged(2, 1).assign(title=HOSTILE, sentence=HOSTILE, rank=HOSTILE)
    html = card(moments, tmp_path, query_text=HOSTILE)
    check_html(
        re.sub(r"<!doctype html>|<meta[^>]*>|<(rect|path)[^>]*>|<style>.*?</style>", "", html, flags=re.S)
    )
    card(make_moments(1, title="caf\udce9"), tmp_path, query_text="caf\udce9")


def test_it_asks_for_nothing_outside_and_names_no_path(filled, tmp_path):
    html = card(make_moments(2), tmp_path, store=filled, query=ROWS[0])
    assert "http:" not in html
    assert "https:" not in html
    assert "v1.mp4" not in html
    assert str(tmp_path) not in html
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', html)) == {"data:"}
    assert "<script" not in html


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda m: m.drop(columns="peak_seconds"), {}, "missing: peak_seconds"),
        (
            lambda m: m.drop(columns="frame_data"),
            {},
            "missing: frame_data; pass store, which has the pictures",
        ),
        (lambda m: m, {"query": [1.0]}, "query must come with store"),
        (lambda m: m, {"to": "card.pdf"}, "to must be the path of an .html file in a folder that exists"),
        (lambda m: m, {"to": "nowhere/card.html"}, "to must be the path of an .html file"),
    ],
)
def test_what_cannot_be_shown_is_refused(change, options, message, tmp_path):
    options = dict(options)
    path = tmp_path / options.pop("to", "card.html")
    with pytest.raises(ValueError, match=message):
        save_card(change(make_moments(1)), path, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_card_that_fails_leaves_the_one_before(filled, tmp_path):
    before = card(make_moments(1), tmp_path, store=filled)
    with pytest.raises(StoreError, match="the store has no video 'v9' any more; leave its moments out"):
        save_card(make_moments(1, video_id="v9"), tmp_path / "card.html", store=filled)
    with pytest.raises(ValueError, match="query must fit the store's model"):
        save_card(make_moments(1), tmp_path / "card.html", store=filled, query=[1.0])
    assert (tmp_path / "card.html").read_text(encoding="utf-8") == before


@pytest.mark.slow
def test_a_cell_that_papermill_runs_writes_it(tmp_path):
    import papermill

    make_moments(2).to_pickle(tmp_path / "moments.pickle")
    code = (
        "import pandas as pd\nfrom videolib import save_card\nsave_card(pd.read_pickle('moments.pickle'), to)"
    )
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("to = 'card.html'", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(code),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, tmp_path / "in.ipynb")
    papermill.execute_notebook(
        str(tmp_path / "in.ipynb"),
        str(tmp_path / "out.ipynb"),
        {"to": "found.html"},
        cwd=str(tmp_path),
        progress_bar=False,
        stdout_file=io.StringIO(),
    )
    assert (tmp_path / "found.html").read_text(encoding="utf-8").count("<img") == 2
