"""`make lab` opens copies: the sources stay, and so does what a person edited."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools.open_lab import copy_notebooks


@pytest.fixture
def folders(tmp_path):
    source, lab = tmp_path / "notebooks", tmp_path / "lab"
    source.mkdir()
    edit(source / "01_one.ipynb", "1 + 1")
    copy_notebooks(lab, source)
    return source / "01_one.ipynb", lab / "01_one.ipynb"


def edit(path, code: str, **cell) -> None:
    """Write the only cell, as a person does it in JupyterLab: metadata stay."""
    notebook = nbformat.read(path, 4) if path.exists() else new_notebook()
    notebook.cells = [new_code_cell(code, **cell)]
    nbformat.write(notebook, path)


def read(path) -> str:
    return nbformat.read(path, 4).cells[0].source


def update(source, lab):
    return copy_notebooks(lab.parent, source.parent)


def test_a_copy_follows_its_source(folders):
    source, lab = folders
    before = source.read_bytes()
    assert read(lab) == "1 + 1"
    assert source.read_bytes() == before
    edit(lab, "1 + 1", outputs=[new_output("stream", text="2")])  # run, but not edited
    edit(source, "2 + 2")
    assert update(source, lab) == []
    assert read(lab) == "2 + 2"


def test_its_outputs_stay_while_the_source_does(folders):
    source, lab = folders
    edit(lab, "1 + 1", outputs=[new_output("stream", text="2")])
    assert update(source, lab) == []
    assert nbformat.read(lab, 4).cells[0].outputs


def test_what_was_edited_stays_and_is_named_where_the_source_changed(folders):
    source, lab = folders
    edit(lab, "mine")
    assert update(source, lab) == []  # nothing newer to miss
    edit(source, "2 + 2")
    assert update(source, lab) == [lab]
    assert read(lab) == "mine"
    lab.rename(lab.with_name("mine.ipynb"))
    assert update(source, lab) == []
    assert read(lab) == "2 + 2"


def test_only_numbered_notebooks_are_copied(folders):
    source, lab = folders
    edit(source.with_name("Untitled.ipynb"), "1")
    update(source, lab)
    assert [path.name for path in lab.parent.iterdir()] == ["01_one.ipynb"]
