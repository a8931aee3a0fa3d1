import nbformat
import pytest
from nbclient import NotebookClient

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
