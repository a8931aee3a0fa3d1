"""The pages of `make demo`."""

import base64
import io
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tools.demo_pages import write_index, write_page

OPENING = """# {} · A <b> title

**You need** nothing.

**You get** something & more.

Notebooks: ← [1 · One](01_one.ipynb) | [2 · Two](02_two.ipynb) →

Sections: [First this, then that](#First-this,-then-that)"""


@pytest.fixture
def paths(tmp_path):
    """Two executed notebooks and one that was not run, with their pages."""
    png = io.BytesIO()
    Image.new("RGBA", (800, 200), (0, 0, 0, 0)).save(png, "PNG")
    figure = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": "<Figure>"}
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "Explorer('')"}
    outputs = {
        "01_one": [new_output("display_data", figure)],
        "02_two": [
            new_output("display_data", {"text/html": "<p>static</p>"}),
            new_output("display_data", widget),
        ],
        "03_three": [],
    }
    paths = []
    for number, (name, shown) in enumerate(outputs.items(), 1):
        cells = [new_markdown_cell(OPENING.format(number)), new_markdown_cell("## First this, then that")]
        notebook = new_notebook(cells=[*cells, new_code_cell("1", outputs=shown)])
        notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
        paths.append(tmp_path / f"{name}.ipynb")
        nbformat.write(notebook, paths[-1])
        write_page(notebook, paths[-1].with_suffix(".html"))
    return paths


def read_page(path) -> str:
    return path.with_suffix(".html").read_text(encoding="utf-8")


def test_a_page_has_a_title_of_its_own_and_leads_to_the_other_pages(paths):
    page = read_page(paths[1])
    assert "<title>2 · A &lt;b&gt; title · videolib</title>" in page
    assert re.findall(r'href="(\w+\.\w+)"', page) == ["index.html", "01_one.html", "02_two.html"]
    assert 'href="#First-this,-then-that"' in page
    assert 'id="First-this,-then-that"' in page


def test_nothing_is_fetched_from_elsewhere(paths):
    index = write_index(paths)
    for page in [index.read_text(encoding="utf-8"), *map(read_page, paths)]:
        assert not re.search(r"<script[^>]+src=|<link[^>]+href=|<img[^>]+src=\"http|url\(http|import\(", page)


def test_both_themes_are_there(paths):
    page = read_page(paths[0])
    assert '<style media="(prefers-color-scheme: dark)">' in page
    assert page.count("--jp-layout-color0:") == 2


def test_a_widget_without_its_kernel_is_left_out(paths):
    page = read_page(paths[1])
    assert "<p>static</p>" in page
    assert "Explorer(" not in page
    assert "vnd.jupyter.widget" not in page


def test_the_index_leads_to_each_notebook_and_its_page(paths):
    page = write_index(paths).read_text(encoding="utf-8")
    for path in paths:
        assert f'href="{path.stem}.html"' in page
        assert f'href="{path.name}"' in page
    assert page.count("You get something &amp; more.") == 3
    assert page.count("It was not run") == 1
    thumbnail = re.search(r'src="data:image/jpeg;base64,(.+?)"', page)
    image = Image.open(io.BytesIO(base64.b64decode(thumbnail[1])))
    assert image.size == (480, 120)
    assert image.getpixel((9, 9)) == (255, 255, 255)  # what is transparent in a figure
