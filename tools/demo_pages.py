"""The pages of `make demo`: each executed notebook as HTML, and build/index.html, which leads to them.

They load nothing from elsewhere, and are light or dark as the reader's system is.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter
from PIL import Image

from tools.link_notebooks import read_title

WIDGET = "application/vnd.jupyter.widget-view+json"
THUMBNAIL_SIDES = 480, 270

# nbconvert's own page, without the scripts that it fetches (widgets, formulas), and with both of its themes.
PAGE = """\
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block footer -%}</html>{%- endblock -%}
{%- block html_head_css -%}
<meta name="color-scheme" content="light dark">
{{ resources.include_css('static/theme-dark.css')
   | replace('<style type="text/css">', '<style media="(prefers-color-scheme: dark)">') }}
<style>main { max-width: 1100px; margin: auto } img { max-width: 100% }</style>
{%- endblock -%}
"""

INDEX = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>videolib: the notebooks as they ran</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1000px; margin: auto; padding: 16px }}
ol {{ list-style: none; padding: 0; display: grid; gap: 24px; }}
li {{ display: flex; flex-wrap: wrap; gap: 16px; align-items: start }}
li > a {{ flex: 0 0 240px }} li > div {{ flex: 1 1 280px }}
li img {{ display: block; width: 240px; height: 135px; object-fit: contain; background: #fff; border-radius: 6px }}
h2, p {{ margin: 0 0 4px }} h2 {{ font-size: 1.1rem }}
</style>
</head>
<body>
<h1>The notebooks as they ran</h1>
<p>On the drawn sample video, with the small demo model. To run them yourself: <code>make lab</code>.</p>
<ol>
{}
</ol>
</body>
</html>
"""

ITEM = """\
<li>{picture}<div><h2><a href="{stem}.html">{title}</a></h2><p>{sentence}</p>
<p><a href="{stem}.ipynb" download>{stem}.ipynb</a></p></div></li>"""


def write_page(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write an executed notebook as one HTML file; its links go to the pages of the others."""
    opening = notebook.cells[0]
    linked = re.sub(r"\]\((\d+_\w+)\.ipynb\)", r"](\1.html)", opening.source)
    linked = linked.replace("\n\nNotebooks: ", "\n\n[Notebooks](index.html): ")
    cells = [opening | {"source": linked}, *map(without_widgets, notebook.cells[1:])]
    shown = notebook | {"cells": cells}
    exporter = HTMLExporter(extra_loaders=[DictLoader({"page.html.j2": PAGE})], template_file="page.html.j2")
    title = {"metadata": {"name": f"{read_title(notebook)} · videolib"}}
    html, _ = exporter.from_notebook_node(nbformat.from_dict(shown), resources=title)
    path.write_text(html, encoding="utf-8")


def without_widgets(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out what lives only with a kernel; the explorer's answer is another output."""
    outputs = [output for output in cell.get("outputs", []) if WIDGET not in output.get("data", {})]
    return cell | ({"outputs": outputs} if "outputs" in cell else {})


def write_index(paths: Sequence[Path]) -> Path:
    """Write the page that leads to executed notebooks and to their pages, which lie beside them."""
    items = []
    for path in paths:
        notebook = nbformat.read(path, 4)
        title, stem = escape(read_title(notebook)), escape(path.stem)
        sentence = "You get " + re.search(r"\*\*You get\*\* (.+)", notebook.cells[0].source)[1]
        if not any(cell.get("outputs") for cell in notebook.cells):
            sentence += " It was not run: it needs a server, as its first lines tell."
        thumbnail = find_thumbnail(notebook)
        picture = f'<a href="{stem}.html"><img src="{thumbnail}" alt=""></a>' if thumbnail else ""
        items.append(ITEM.format(picture=picture, stem=stem, title=title, sentence=escape(sentence)))
    index = paths[0].with_name("index.html")
    index.write_text(INDEX.format("\n".join(items)), encoding="utf-8")
    return index


def find_thumbnail(notebook: nbformat.NotebookNode) -> str:
    """Find a notebook's first figure, and make it small; an address that holds it all, or none."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                figure = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
                image = Image.new("RGB", figure.size, "white")
                image.paste(figure, mask=figure)
                image.thumbnail(THUMBNAIL_SIDES)
                jpeg = io.BytesIO()
                image.save(jpeg, "JPEG", quality=85)
                return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
    return ""
