"""Notebook 05 against the stand-in, or a real server, and without one."""

from pathlib import Path

import nbformat
import papermill
import pytest
from jupyter_client.manager import run_kernel
from papermill.exceptions import PapermillExecutionError
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


def test_without_a_server_it_says_so_and_stops_and_a_pipeline_fails(tmp_path, monkeypatch):
    monkeypatch.delenv("SINGLESTOREDB_URL", raising=False)
    with pytest.raises(PapermillExecutionError, match="SINGLESTOREDB_URL must be the address") as caught:
        run(tmp_path)
    assert caught.value.ename == "StoreError"
    cells = code(nbformat.read(tmp_path / "out.ipynb", 4))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("No server" in output.get("data", {}).get("text/markdown", "") for output in outputs)
    assert sum(bool(cell.execution_count) for cell in cells) <= 4


def test_a_person_sees_the_sentence_alone(monkeypatch):
    """Frontends in which a person can type, such as JupyterLab, say so in each request."""
    monkeypatch.delenv("SINGLESTOREDB_URL", raising=False)
    sources = [cell.source for cell in code(nbformat.read(NOTEBOOK, 4))[:3]]
    with run_kernel(kernel_name="python3") as client:
        shown = []
        for source in sources:
            reply = client.execute_interactive(source, allow_stdin=True, output_hook=shown.append)
        assert reply["content"]["status"] == "error"  # so that Run All stops here
        assert "No server" in str(shown)
        kinds = [message["msg_type"] for message in shown]
        assert not {"error", "stream"} & set(kinds), shown
        wrong = "os.environ['SINGLESTOREDB_URL'] = 'singlestoredb://nobody@127.0.0.1:1/none'\n"
        client.execute_interactive(wrong + sources[2], allow_stdin=True, output_hook=shown.append)
        client.execute_interactive("raise StoreError", allow_stdin=True, output_hook=shown.append)
        assert "StoreError" in [message["content"].get("ename") for message in shown]


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
