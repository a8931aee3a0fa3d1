import re

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

pytestmark = pytest.mark.slow


def test_a_notebook_without_ipywidgets_has_a_plain_bar_and_names_the_extra():
    source = (
        "import sys; sys.modules['ipywidgets'] = None\n"
        "from videolib.progress import tqdm\n"
        "len(list(tqdm(range(3))))"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    (cell,) = NotebookClient(notebook).execute().cells
    text = "".join(output.get("text", "") for output in cell.outputs)
    assert "needs ipywidgets, which is not installed: pip install 'videolib[notebooks]'" in text
    assert "3/3" in text
    assert cell.outputs[-1]["data"]["text/plain"] == "3"


BARS = """
from videolib.progress import tqdm
with tqdm(total=143, unit="frame", desc="talk <1> & 2") as bar:
    bar.update(100); bar.update(43)
---
with tqdm(total=143, initial=32, unit="frame", desc="talk") as bar:
    bar.update(111)
---
with tqdm(total=20_000_000, unit="B", unit_scale=True, desc="ViT-B-32") as bar:
    bar.update(20_000_000)
---
with tqdm(total=None, unit="B", unit_scale=True) as bar:
    bar.update(1_500_000)
---
with tqdm(total=143, unit="frame", desc="talk") as bar:
    bar.update(11)
    raise KeyboardInterrupt
---
with tqdm(total=1, unit="frame", disable=True) as bar:
    bar.update(1)
---
from tests.light import LightEncoder
from videolib import FrameStore, ingest
from videolib.demo import SAMPLE_VIDEO_PATH
ingest(SAMPLE_VIDEO_PATH, LightEncoder(), FrameStore("{store}"), every_seconds=50);
"""
LINES = [
    r"talk <1> & 2: 143 frames in \d+ s",
    r"talk: 143 frames, 111 of them in \d+ s",
    r"ViT-B-32: 20\.0 MB in \d+ s",
    r"1\.5 MB in \d+ s",
    r"talk: 11 of 143 frames in \d+ s",
    None,
    r"sample: 3 frames in \d+ s",
]


def test_a_bar_in_a_notebook_ends_as_a_plain_line(tmp_path):
    cells = BARS.replace("{store}", str(tmp_path / "store.duckdb")).split("---")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, allow_errors=True)
    views = []
    process = client.process_message

    def watch(message, *rest):
        views.append("application/vnd.jupyter.widget-view+json" in message["content"].get("data", {}))
        return process(message, *rest)

    client.process_message = watch
    client.execute()
    assert sum(views) == 6  # it was a widget while it lived
    for cell, line in zip(notebook.cells, LINES, strict=True):
        if line is None:
            assert not cell.outputs
            continue
        data = cell.outputs[0]["data"]
        assert list(data) == ["text/plain"]
        assert re.fullmatch(line, data["text/plain"])
    html, _ = HTMLExporter().from_notebook_node(notebook)
    assert "talk &lt;1&gt; &amp; 2: 143 frames in" in html
    assert "0/143" not in html
