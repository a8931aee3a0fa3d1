import importlib

import pytest

from benchmarks import cases, run, videos, why
from videolib.demo import DEMO_MODEL_PATH

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Two seconds in place of 600."""
    path = videos.make_video(tmp_path_factory.mktemp("bench"), "hd720", 2)
    cases.decode_reference(str(path))
    return path


@pytest.mark.parametrize("contender", ["article", "opencv", "videolib"])
def test_decoding_finds_the_frames_of_a_full_decode(contender, video):
    figures = cases.decode(contender, str(video))
    assert (figures["count"], figures["same"], figures["expected"]) == (2, 2, 2)
    assert figures["seconds"] > 0
    assert figures["peak_mb"] > figures["extra_mb"]


def test_a_sample_of_another_time_is_not_the_same(video, monkeypatch):
    monkeypatch.setattr(cases, "_decode_late", lambda path: iter(late), raising=False)
    monkeypatch.setitem(cases.IMPORTS, "late", "cv2")
    pictures = list(cases._decode_videolib(video))
    late = pictures[1:] + pictures[:1]
    assert cases.decode("late", str(video))["same"] == 0


def test_ingest_and_preflight_tell_frames_and_seconds(video):
    assert cases.ingest_videolib(str(DEMO_MODEL_PATH), str(video))["count"] == 2
    figures = cases.estimate(str(DEMO_MODEL_PATH), str(video))
    assert figures["told"] == figures["count"] == 2


def test_cosines_against_clip(video):
    assert cases.cosines(str(DEMO_MODEL_PATH), str(video))["least"] > 0.99


def test_every_search_finds_the_nearest(tmp_path):
    embeddings, store = str(tmp_path / "embeddings.npy"), str(tmp_path / "store.duckdb")
    cases.make_embeddings(embeddings, "200")
    cases.make_store(store, embeddings, "50")
    for case in (cases.search_numpy, cases.search_article, cases.search_bare_index):
        assert case(embeddings)["right"], case
    for case in (cases.search_index, cases.search_store):
        assert case(embeddings, store)["right"], case


def test_a_report_tells_medians_ratios_and_who_is_missing(tmp_path):
    rows = [
        {"label": "slow", "seconds": 3.0},
        {"label": "fast", "seconds": 1.5},
        {"label": "gone", "failed": "no"},
    ]
    table = run._table("A race", rows, run.TIME)
    results = {"machine": ["a CPU"], "decoding": [table]}
    run.draw_chart(results, tmp_path / "results.png")
    run.write_report(results, tmp_path)
    report = (tmp_path / "results.md").read_text()
    assert "| fast | 1.5 | 2 |" in report
    assert "| gone | no |" in report
    assert (tmp_path / "results.png").stat().st_size > 1000


def test_a_missing_peer_is_left_out(monkeypatch, capsys):
    def miss(*_arguments):
        importlib.import_module("no_such_peer")

    miss.__module__ = cases.__name__
    monkeypatch.setattr(cases, "encode_article", miss)
    cases.main("encode_article", "a", "1")
    assert "no_such_peer" in capsys.readouterr().out


def test_why_videolib_exists():
    """The figures of docs/why.png: the article's code as it is, with RGB and unit length, and videolib."""
    ways = [
        why.answer_as_the_article("as it is", swap=False, unit=False),
        why.answer_as_the_article("mended", swap=True, unit=True),
        why.answer_with_videolib(),
    ]
    assert [way.right().sum() for way in ways] == [2, 13, 24]
