"""Notebook 05 against the stand-in, or a real server, and without one."""

from pathlib import Path

import nbformat
import papermill
import pytest
from sqlalchemy import make_url

from videolib import FrameStore

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "05_singlestore.ipynb"


def run(folder: Path, **parameters) -> nbformat.NotebookNode:
    return papermill.execute_notebook(
        NOTEBOOK, folder / "out.ipynb", parameters, cwd=folder, progress_bar=False, kernel_name="python3"
    )


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_without_a_server_it_says_so_and_stops(tmp_path, monkeypatch):
    monkeypatch.delenv("SINGLESTOREDB_URL", raising=False)
    cells = code(run(tmp_path))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("No server" in output.get("data", {}).get("text/markdown", "") for output in outputs)
    assert [output.ename for output in outputs if output.output_type == "error"] == ["SystemExit"]
    assert sum(bool(cell.execution_count) for cell in cells) <= 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("notebook")


def test_it_runs_and_shows_something_in_every_step(singlestore_url, folder, monkeypatch):
    monkeypatch.setenv("SINGLESTOREDB_URL", singlestore_url)
    cells = code(run(folder, every_seconds=3.0, delete_at_end=True))
    for cell in cells[3:]:
        assert cell.outputs, cell.source
        assert not any(output.output_type == "error" for output in cell.outputs)
    assert make_url(singlestore_url).password not in (folder / "out.ipynb").read_text(encoding="utf-8")
    assert FrameStore(singlestore_url).list_videos().empty


def test_it_makes_a_database_where_it_is_allowed(singlestore_url, folder, monkeypatch):
    monkeypatch.setenv("SINGLESTOREDB_URL", singlestore_url)
    name = make_url(singlestore_url).database + "_more"
    run(folder, every_seconds=20.0, database=name)
    own = make_url(singlestore_url).set(database=name).render_as_string(hide_password=False)
    try:
        assert FrameStore(own).list_videos()["frame_count"].tolist() == [8]
    finally:
        with FrameStore(singlestore_url).engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE `{name}`")
