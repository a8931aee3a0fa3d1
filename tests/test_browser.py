"""The notebooks in JupyterLab, as a person uses them: Chromium types, looks, plays and marks in 06, runs the others."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no browser test without Playwright: make test-browser installs it")
from playwright.sync_api import Error, Page, expect, sync_playwright

from tests.lab import FIRST_RUN_MS, find_browser, open_notebook, run_all, running_lab
from tools.open_lab import copy_notebooks
from videolib import probe_video

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
WIDGET = ".videolib"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"no browser test without Chromium, make test-browser installs it: {error}")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[str]:
    """The address of a JupyterLab on copies of the notebooks, with a store and settings of its own."""
    folder = tmp_path_factory.mktemp("lab")
    copy_notebooks(folder)
    with running_lab(folder) as address:
        yield address


@pytest.fixture(scope="module")
def page(browser, lab) -> Iterator[Page]:
    """Notebook 06, run to its end."""
    page = open_notebook(browser, lab, "06_explore.ipynb")
    run_all(page)
    page.locator(f"{WIDGET} .pick img").first.wait_for(timeout=FIRST_RUN_MS)
    yield page
    page.context.close()


def cells(page: Page) -> list[dict[str, Any]]:
    """The notebook's code cells as they would be saved."""
    notebook = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.toJSON()")
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def ask(page: Page, text: str) -> None:
    """Type, and wait for the answer with its pictures."""
    before = int(page.locator(WIDGET).get_attribute("data-answers") or 0)
    page.get_by_label("Look for").fill(text)
    answered(page, before)


def answered(page: Page, before: int) -> None:
    page.wait_for_function(
        """before => {
            const root = document.querySelector('.videolib');
            const images = [...root.querySelectorAll('.pick img')];
            return Number(root.dataset.answers) > before && images.every(each => each.complete && each.naturalWidth);
        }""",
        arg=before,
    )


def act(page: Page, do) -> None:
    """Do something that is answered."""
    before = int(page.locator(WIDGET).get_attribute("data-answers") or 0)
    do()
    answered(page, before)


def in_kernel(page: Page, expression: str) -> str:
    """What an expression gives in the notebook's kernel, as a cell that is run later would see it."""
    return page.evaluate(
        """async code => {
            const {kernel} = window.jupyterapp.shell.currentWidget.context.sessionContext.session;
            const future = kernel.requestExecute({code});
            const parts = [];
            future.onIOPub = ({content}) => parts.push(content.text ?? content.evalue ?? '');
            await future.done;
            return parts.join('').trim();
        }""",
        f"print({expression})",
    )


def test_the_static_answer_gives_way_to_the_living_one(page):
    expect(page.locator(f"{WIDGET}")).to_have_count(1)
    expect(page.locator(f"{WIDGET}")).to_be_visible()
    expect(page.locator("[class^=videolib-static]")).to_have_count(1)
    expect(page.locator("[class^=videolib-static]")).to_be_hidden()


def test_typing_is_answered_and_read_from_python(page):
    ask(page, "a yellow star at night")
    times = page.locator(f"{WIDGET} .pick b").first.text_content()
    expect(page.locator(f"{WIDGET} .sentence").first).to_contain_text("unrelated description")
    assert in_kernel(page, "explorer.query['query_text']") == "a yellow star at night"
    assert in_kernel(page, "int(explorer.moments['start_seconds'][0])") == str(
        seconds(times.split(" to ")[0])
    )


def seconds(text: str) -> int:
    minutes, rest = text.split(":")
    return 60 * int(minutes) + int(rest)


def test_what_is_set_in_python_is_on_the_screen(page):
    act(page, lambda: in_kernel(page, "setattr(explorer, 'query', {'query_text': 'a green tree', 'k': 1})"))
    expect(page.get_by_label("Look for")).to_have_value("a green tree")
    expect(page.locator(f"{WIDGET} li")).to_have_count(1)
    act(page, lambda: page.get_by_label("How many").fill("5"))


def test_a_moment_plays_from_its_beginning(page):
    ask(page, "a red car in the city")
    page.locator(f"{WIDGET} .pick").first.click()
    video = page.locator(f"{WIDGET} video")
    video.wait_for()
    page.wait_for_function("() => document.querySelector('.videolib video').currentTime > 0")
    begin = video.evaluate("each => each.currentTime")
    start = float(in_kernel(page, "explorer.moments['start_seconds'][0]"))
    shown = float(in_kernel(page, "min(explorer.moments['start_seconds'][0], 1.5)"))
    assert begin >= shown - 0.1
    assert begin < start + 5
    page.wait_for_function(
        "was => document.querySelector('.videolib video').currentTime > was + 0.3", arg=begin
    )


def test_marks_refine(page):
    ask(page, "a car")
    act(page, lambda: page.locator(f"{WIDGET} [data-mark=wrong]").first.click())
    expect(page.get_by_role("button", name="Forget 1 mark")).to_be_visible()
    assert in_kernel(page, "explorer.marks['right'].tolist()") == "[False]"
    act(page, lambda: page.get_by_role("button", name="Forget 1 mark").click())
    assert in_kernel(page, "len(explorer.marks)") == "0"


def test_a_moment_is_cut_out_in_the_next_cell(page):
    ask(page, "a yellow star at night")
    page.evaluate(
        """async () => {
            const {content} = window.jupyterapp.shell.currentWidget;
            content.activeCellIndex = content.widgets.length - 1;
            await window.jupyterapp.commands.execute('notebook:run-cell');
        }"""
    )
    (output,) = cells(page)[-1]["outputs"]
    assert "is_copied=False" in "".join(output["data"]["text/plain"]), output
    clip = probe_video(in_kernel(page, "__import__('os').path.abspath(clip_path)"))
    start, end = (
        float(in_kernel(page, f"explorer.moments['{name}_seconds'][0]")) for name in ("start", "end")
    )
    assert clip.duration_seconds == pytest.approx(end - start, abs=0.1)


def test_by_keyboard_alone(page):
    ask(page, "a car")
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    page.get_by_label("Look for").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("b")  # JupyterLab's key for a new cell
    picks = page.locator(f"{WIDGET} .pick")
    expect(picks.nth(1)).to_be_focused()
    act(page, lambda: page.keyboard.press("r"))
    assert page.evaluate("() => document.activeElement.className") == "pick"
    page.keyboard.press("Enter")
    page.locator(f"{WIDGET} video").wait_for()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Look for")).to_be_focused()
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells
    page.keyboard.press("Control+s")
    expect(page.locator("#jp-main-dock-panel .lm-mod-current.jp-mod-dirty")).to_have_count(0)
    act(page, lambda: page.get_by_role("button", name="Forget").click())


def test_a_picture_and_its_balance(page):
    ask(page, "a car")
    act(page, lambda: page.locator(f"{WIDGET} li").first.get_by_role("button", name="More like").click())
    expect(page.get_by_label("Picture ↔ text")).to_be_visible()
    act(page, lambda: page.get_by_label("Look for").fill(""))
    expect(page.locator(f"{WIDGET} .status")).to_contain_text("like the picture")
    act(page, lambda: page.get_by_role("button", name="Without the picture").click())
    expect(page.locator(f"{WIDGET} .status")).to_contain_text("Type what to look for")


def test_a_part_of_chosen_videos(page):
    ask(page, "a car")
    start, end = page.get_by_label("From (s)"), page.get_by_label("Up to (s)")
    act(page, lambda: start.fill("30"))
    act(page, lambda: end.fill("60"))
    assert in_kernel(page, "(explorer.query['start_seconds'], explorer.query['end_seconds'])") == "(30, 60)"
    assert (
        in_kernel(page, "explorer.moments[['start_seconds', 'end_seconds']].stack().between(30, 60).all()")
        == "True"
    )
    expect(page.locator(f"{WIDGET} .outside")).to_have_count(2)
    start.fill("90")
    expect(page.get_by_role("alert")).to_contain_text(
        "start_seconds must be below end_seconds, got 90 and 60"
    )
    expect(start).to_have_attribute("aria-invalid", "true")
    act(page, lambda: start.fill(""))
    expect(start).to_have_attribute("aria-invalid", "false")
    act(page, lambda: end.fill(""))
    choice = page.locator(f"{WIDGET} summary")
    choice.focus()
    for key in ("Enter", "Tab"):
        page.keyboard.press(key)
    expect(choice).to_have_attribute("aria-label", "In: sample")  # as the notebook asks
    act(page, lambda: page.keyboard.press("Space"))
    expect(choice).to_have_attribute("aria-label", "In: All videos")
    assert in_kernel(page, "explorer.query['video_id']") == "None"
    act(page, lambda: page.keyboard.press("Space"))
    expect(choice).to_have_attribute("aria-label", "In: sample")
    assert in_kernel(page, "explorer.query['video_id'] == explorer.moments['video_id'][0]") == "True"
    page.keyboard.press("Escape")
    expect(choice).to_be_focused()
    expect(page.locator(f"{WIDGET} .boxes")).to_be_hidden()


def test_an_error_is_shown_and_the_next_search_answers(page):
    ask(page, "a car")
    page.get_by_label("Look for").fill("car " * 200)
    expect(page.locator(f"{WIDGET} .error")).to_contain_text("tokens")
    ask(page, "a boat")
    expect(page.locator(f"{WIDGET} .error")).to_be_hidden()


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("width", [600, 1400])
def test_both_themes_and_widths(page, theme, width):
    ask(page, "a red car in the city")
    page.set_viewport_size({"width": width, "height": 1000})
    page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {theme}"
    )
    act(page, lambda: page.locator(f"{WIDGET} [data-mark=right]").first.click())
    act(page, lambda: page.locator(f"{WIDGET} [data-mark=wrong]").last.click())
    root = page.locator(WIDGET)
    root.scroll_into_view_if_needed()
    assert root.evaluate("each => each.scrollWidth <= each.clientWidth + 1")
    contrast = root.evaluate(CONTRAST)
    assert contrast >= 4.5, contrast
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(500)
        page.screenshot(path=f"{folder}/{theme}-{width}.png")
        root.screenshot(path=f"{folder}/{theme}-{width}-explorer.png")
    act(page, lambda: page.get_by_role("button", name="Forget").click())
    page.set_viewport_size({"width": 1400, "height": 1000})


PINK = ".jp-OutputArea-output[data-mime-type$=stderr], .jp-OutputArea-output[data-mime-type$=error]"


@pytest.mark.usefixtures("page")  # which has stored the video
@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS if path.stem != "06_explore"])
def test_every_notebook_runs_to_its_end(browser, lab, name):
    page = open_notebook(browser, lab, name)
    try:
        run_all(page)
        shown = [output for cell in cells(page) for output in cell["outputs"]]
        assert not [output for output in shown if output["output_type"] == "error"]
        if name.startswith("05"):
            assert "No server" in str(shown[-1])
            assert page.locator(PINK).count() == 0
            assert cells(page)[-1]["execution_count"] is None
            return
        assert cells(page)[-1]["execution_count"] == len(cells(page))
        if "explore(" in cells(page)[-1]["source"]:
            page.evaluate(
                """() => {
                    const {content} = window.jupyterapp.shell.currentWidget;
                    return content.scrollToItem(content.widgets.length - 1, 'end');
                }"""
            )
            page.locator(f"{WIDGET} .pick img").first.wait_for()
            expect(page.locator("[class^=videolib-static]")).to_be_hidden()
    finally:
        page.evaluate("() => window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()")
        page.context.close()


def test_links_lead_to_sections_and_to_neighbours(browser, lab):
    page = open_notebook(browser, lab, "04_combined_query.ipynb")
    heading = page.locator("h2[data-jupyter-id=How-sure]")
    heading.wait_for(state="attached")  # JupyterLab draws what is further down a little later
    page.get_by_role("link", name="How sure", exact=True).click()
    expect(heading).to_be_in_viewport()
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.scrollToItem(0)")
    page.get_by_role("link", name="3 · Search by picture").click()
    expect(page.get_by_role("tab", name="03_image_query.ipynb")).to_be_visible()
    page.context.close()


# The least contrast of the explorer's texts (WCAG 2.2, relative luminance).
CONTRAST = """root => {
    const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const light = (rgb) => {
        const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = rgb.slice(0, 3).map(c => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const over = (front, back) => front.slice(0, 3).map((c, n) => back[n] + (c - back[n]) * (front[3] ?? 1));
    const ground = (each) => {
        for (; each; each = each.parentElement) {
            const rgb = parse(getComputedStyle(each).backgroundColor);
            if (rgb.length === 3 || rgb[3] > 0) return rgb;
        }
        return [255, 255, 255];
    };
    const texts = [...root.querySelectorAll('label, .status, .sentence, .note, b, .title, .axis span, button')];
    const ratios = texts.filter(each => each.textContent.trim() && each.offsetParent).map(each => {
        const back = ground(each);
        const front = over(parse(getComputedStyle(each).color), back);
        const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    });
    return Math.min(...ratios);
}"""
