"""A card in Chromium, without a network: what is on the screen of a telephone, of a desk, and on paper."""

import pytest

pytest.importorskip("playwright", reason="no browser test without Playwright: make test-browser installs it")
from playwright.sync_api import expect

from tests.display.test_card import judged, make_moments
from tests.test_browser import browser  # noqa: F401
from tests.test_shown import HOSTILE, LONG
from videolib import save_card

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CARDS = {
    "judged": (lambda: judged(5, 2), "a red car"),
    "hostile": (lambda: judged(3, 1).assign(title=HOSTILE + "x" * 300, sentence="y" * 300), HOSTILE + LONG),
    "many": (lambda: make_moments(61), "a red car"),
    "none": (lambda: judged(2, 0).head(0), "a zebra"),
}


@pytest.fixture(params=CARDS)
def path(request, tmp_path):
    make, query_text = CARDS[request.param]
    save_card(make(), tmp_path / "card.html", query_text=query_text)
    return tmp_path / "card.html"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_a_card_on_a_screen(browser, path, theme, width):  # noqa: F811
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=theme, java_script_enabled=True, offline=True
    )
    page = context.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_load_state()
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert errors == []
    shown = page.evaluate("() => [...document.images].filter(each => each.naturalWidth && each.alt).length")
    assert shown == page.locator("li").count() == path.read_text(encoding="utf-8").count("<img")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate("() => document.scripts.length") == 0
    assert page.evaluate(CONTRAST) >= 4.5
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(27, 28, 30)"
    assert dark is (theme == "dark")
    context.close()


def test_a_card_without_scripts_and_on_paper(browser, tmp_path):  # noqa: F811
    save_card(judged(5, 2), tmp_path / "card.html", query_text="a red car")
    context = browser.new_context(java_script_enabled=False, color_scheme="dark", offline=True)
    page = context.new_page()
    page.goto((tmp_path / "card.html").as_uri())
    expect(page.get_by_role("heading")).to_have_text("“a red car”")
    expect(page.get_by_role("img", name="Timeline of talk")).to_be_visible()
    expect(page.get_by_role("img", name="1 · talk · at 0:01.0")).to_be_visible()
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="print")
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    context.close()


# The least contrast of a text to the ground (WCAG 2.2, relative luminance).
CONTRAST = """() => {
    const light = (text) => {
        const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(c => linear(Number(c) / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const back = light(getComputedStyle(document.body).backgroundColor);
    const texts = [...document.querySelectorAll('h1, p, b, bdi, figcaption span, .axis span, .marks span')];
    return Math.min(...texts.map(each => {
        const [a, b] = [light(getComputedStyle(each).color), back].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    }));
}"""
