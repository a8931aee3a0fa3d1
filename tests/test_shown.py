"""What a notebook and a terminal show of the things that a person meets."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from tests.conftest import make_video
from videolib import Preflight, PreflightVideos
from videolib.shown import facts_html, facts_text, shorten, shorten_id, thumbnail_html

HOSTILE = '<script>alert("x")</script>&lt;\x1b[31m\n\u202e'
LONG = "a very long name " * 99
VOID = {"img", "br"}


def check_html(html: str) -> list[str]:
    """The texts of HTML whose every element is closed, and which is short."""
    opened, texts = [], []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: None if tag in VOID else opened.append(tag)
    parser.handle_endtag = lambda tag: texts.append("") if opened.pop() == tag else pytest.fail(tag)
    parser.handle_data = texts.append
    parser.feed(html)
    assert not opened
    assert "<script" not in html
    assert max(map(len, texts)) < 200
    return texts


@pytest.mark.parametrize("text", ["", "talk", HOSTILE, LONG])
def test_a_video_is_told_in_short_lines_and_as_a_table(text):
    video = make_video("0123456789abcdef" * 2, title=text, source=f"/home/{text}.mp4", duration_seconds=754.3)
    lines = repr(video).splitlines()
    assert max(map(len, lines)) <= 100
    assert repr(video).startswith(f"Video(video_id='{video.video_id}',")
    for name in vars(video):
        assert f"{name}=" in repr(video)
    assert "\x1b" not in repr(video)
    texts = check_html(video._repr_html_())
    assert "12:34" in texts
    assert "640 x 360, 25 frames a second" in texts


@pytest.mark.parametrize("text", ["talk", HOSTILE, LONG])
def test_a_preflight(text):
    told = Preflight(make_video(title=text, duration_seconds=7200.0), 72_000, 7000.0, 10**9, 2 * 10**9)
    assert max(map(len, repr(told).splitlines())) <= 100
    texts = check_html(told._repr_html_())
    assert "72,000" in texts
    assert "about 117 minutes on this machine" in texts


@pytest.mark.parametrize("failed", [0, 2])
def test_a_preflight_of_many(failed):
    problems = pd.DataFrame({"source": [HOSTILE] * failed, "error": LONG})
    told = PreflightVideos(10_000, problems, 36e6, 36_000_000, 9e6, 10**12, 2 * 10**12)
    assert max(map(len, repr(told).splitlines())) <= 100
    texts = check_html(told._repr_html_())
    assert "10,000, 10000:00:00 together" in texts
    assert ("2: see problems" in texts) is (failed == 2)


def test_an_encoder(encoder, monkeypatch):
    texts = check_html(encoder._repr_html_())
    assert encoder.model in texts
    assert any(re.match(r"512 numbers of an image of \d+ x \d+ pixels", text) for text in texts)
    for name in (LONG, HOSTILE):
        monkeypatch.setattr(encoder, "model", name)
        check_html(encoder._repr_html_())
        assert len(repr(encoder)) <= 120
        assert repr(encoder).isprintable()


def test_a_long_text_loses_its_middle():
    assert shorten("abc", 3) == "abc"
    assert shorten("abcdefghij", 5) == "ab…ij"
    assert len(shorten(LONG, 120)) == 120


def test_an_id_keeps_what_tells_a_sampling():
    digest = "0123456789abcdef" * 2
    assert shorten_id(digest) == "01234567…"
    assert shorten_id(f"{digest}@keyframes-1s") == "01234567…@keyframes-1s"
    assert shorten_id("v1") == "v1"
    assert shorten_id(digest + "0") == digest + "0"  # no digest of a video


def test_facts_of_long_names_and_of_markup():
    assert max(map(len, facts_text("Thing", {"a" * 20: LONG, "b": LONG}).splitlines())) <= 100
    assert check_html(facts_html("<Thing>", {"<a>": "<b>"})).count("<b>") == 1


def test_what_is_no_picture_gives_none():
    assert thumbnail_html(None, "x") == thumbnail_html(b"no JPEG", "x") == ""


def test_a_picture_is_small_and_told_in_words():
    from tests.test_tables import JPEG

    html = thumbnail_html(JPEG, '"><script>')
    assert re.match(
        r'<img alt="&quot;&gt;&lt;script&gt;" src="data:image/jpeg;base64,[A-Za-z0-9+/=]+">$', html
    )
