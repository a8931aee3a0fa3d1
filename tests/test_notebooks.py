"""The house style of notebooks, and that each runs alone."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import nbformat
import papermill
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from tests.media import write_video
from tools import link_notebooks, run_demo
from videolib import ClipEncoder, FrameStore, ingest
from videolib.demo import sample_scenes

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
OWN = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# It needs a server: tests/test_notebook_singlestore.py runs it.
ALONE = [path for path in NOTEBOOKS if path.stem != "05_singlestore"]
WITHOUT_SERVER = pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)


def python(source: str) -> ast.Module:
    """Parse a cell; a line of `%sql` is a call."""
    return ast.parse(TransformerManager().transform_cell(source))


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return code_cells_of(nbformat.read(path, 4))


def code_cells_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def words(text: str) -> int:
    """Words of prose; the heading of a section and the links are not counted."""
    return len(re.sub(r"^#+ .*$", "", link_notebooks.LINKS.sub("", text), flags=re.M).split())


@OWN
def test_a_notebook_is_valid_and_without_outputs(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(path))


@OWN
def test_it_begins_with_a_title_imports_and_parameters(path):
    title, imports, parameters, *_ = nbformat.read(path, 4).cells
    assert re.match(r"# \d+ · ", title.source)
    assert words(title.source) <= 60
    assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(imports.source).body)
    assert parameters.metadata.tags == ["parameters"]


@OWN
def test_its_links_are_those_that_make_format_writes(path):
    opening = nbformat.read(path, 4).cells[0].source
    assert opening == link_notebooks.LINKS.sub("", opening) + link_notebooks.write_links(path)


@OWN
def test_it_leads_to_its_neighbours_and_a_long_one_to_its_sections(path):
    notebook = nbformat.read(path, 4)
    targets = re.findall(r"\]\((.+?)\)", notebook.cells[0].source)
    near = NOTEBOOKS[max(0, NOTEBOOKS.index(path) - 1) : NOTEBOOKS.index(path) + 2]
    files = [target for target in targets if target.endswith(".ipynb")]
    assert files == [one.name for one in near if one != path]
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    headings = re.findall(r"^## (.*)$", "\n".join(texts), re.M)
    anchors = [target for target in targets if target.startswith("#")]
    assert len(set(headings)) == len(headings)
    assert anchors == (["#" + text.replace(" ", "-") for text in headings] if len(headings) > 5 else [])


def test_a_new_notebook_is_linked_by_its_file_alone(tmp_path):
    for path in NOTEBOOKS:
        shutil.copy(path, tmp_path)
    new = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 1 · Something new\n\nAnd why.")])
    nbformat.write(new, tmp_path / "01_zz.ipynb")  # behind the first, whatever others there are
    for _ in range(2):
        link_notebooks.main(tmp_path)
    first, second, *others = NOTEBOOKS
    before, own, after = (
        nbformat.read(tmp_path / name, 4).cells[0].source for name in (first.name, "01_zz.ipynb", second.name)
    )
    titles = [link_notebooks.read_title(nbformat.read(path, 4)) for path in (first, second)]
    assert own == (
        "# 1 · Something new\n\nAnd why.\n\n"
        f"Notebooks: ← [{titles[0]}]({first.name}) | [{titles[1]}]({second.name}) →"
    )
    assert "Notebooks: [1 · Something new](01_zz.ipynb) →" in before
    assert after.count("Notebooks: ← [1 · Something new](01_zz.ipynb) | ") == 1
    assert all((tmp_path / path.name).read_bytes() == path.read_bytes() for path in others)


@OWN
def test_parameters_are_plain_literals_with_a_comment_each(path):
    source = nbformat.read(path, 4).cells[2].source
    for node, line in zip(ast.parse(source).body, source.splitlines(), strict=True):
        assert isinstance(node, ast.Assign)
        ast.literal_eval(node.value)
        assert "  # " in line


@OWN
def test_papermill_shows_every_parameter_with_its_comment(path):
    parameters = papermill.inspect_notebook(path)
    assert len(parameters) >= 4
    assert all(parameter["help"] for parameter in parameters.values())


@OWN
def test_prose_and_code_alternate_and_are_short(path):
    cells = nbformat.read(path, 4).cells[3:]
    assert [cell.cell_type for cell in cells] == ["markdown", "code"] * (len(cells) // 2)
    for cell in cells:
        if cell.cell_type == "markdown":
            assert 10 <= words(cell.source) <= 45, cell.source
        else:
            assert len(cell.source.splitlines()) <= 12, cell.source
            assert max(map(len, cell.source.splitlines())) <= 110, cell.source


@OWN
def test_every_cell_ends_in_a_value_and_defines_nothing(path):
    for cell in code_cells(path)[2:]:
        tree = python(cell.source)
        assert isinstance(tree.body[-1], ast.Expr), cell.source
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.walk(tree))
        assert not re.search(r"\binput\(|!pip|%pip", cell.source)


@cache
def execute(path: Path) -> nbformat.NotebookNode:
    """A notebook, run alone in an empty folder, once for all tests of it."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEOLIB_DATA_DIR", folder)
        return papermill.execute_notebook(
            path, Path(folder) / path.name, cwd=folder, progress_bar=False, kernel_name="python3"
        )


@WITHOUT_SERVER
def test_it_runs_alone_and_shows_something_in_every_step(path):
    for cell in [cell for cell in execute(path).cells if cell.cell_type == "code"][3:]:
        assert cell.outputs, cell.source
        assert not any(output.output_type == "error" for output in cell.outputs)


@WITHOUT_SERVER
def test_it_stays_small_with_its_outputs(path):
    assert len(nbformat.writes(execute(path))) < 4_000_000


@WITHOUT_SERVER
def test_the_demo_can_read_its_tables(path):
    for table in run_demo.tables(execute(path)):
        assert table["on_screen"].str.len().gt(0).all()
        assert table.index.tolist() == list(range(len(table)))


def first_match(notebook: nbformat.NotebookNode) -> float:
    """The timestamp in the first row of the table of matches."""
    cell = next(cell for cell in notebook.cells if "matches" in cell.metadata.get("tags", []))
    row = cell.outputs[0]["data"]["text/plain"].splitlines()[1].split()
    return float(row[3])


def caption_at(seconds: float) -> str:
    scenes = sample_scenes()
    return scenes[(scenes["start_seconds"] <= seconds) & (seconds < scenes["end_seconds"])]["caption"].item()


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("02_text_query", "a red car in the city"),
        ("03_image_query", "an azure fish at sea"),
        ("04_combined_query", "a yellow boat and a pink house at sea"),
    ],
)
def test_the_right_scene_is_found(name, caption):
    (path,) = [path for path in NOTEBOOKS if path.stem == name]
    assert caption_at(first_match(execute(path))) == caption


@pytest.mark.parametrize(
    "name", ["02_text_query", "03_image_query", "04_combined_query", "06_explore", "09_many_videos"]
)
def test_the_explorer_leaves_its_answer_as_pictures(name):
    """What a viewer without a kernel shows; the widget is an output beside it, with a text for its fallback."""
    (path,) = [path for path in NOTEBOOKS if path.stem == name]
    (cell,) = [cell for cell in code_cells_of(execute(path)) if "explore(" in cell.source]
    static, widget = cell.outputs
    assert static["data"]["text/html"].count('<img src="data:image/jpeg;base64,') >= 1
    assert "could not be displayed" not in str(cell.outputs)
    assert "application/vnd.jupyter.widget-view+json" in widget["data"]
    assert "text/html" not in widget["data"]


def test_parameters_change_the_run(tmp_path):
    path = next(path for path in NOTEBOOKS if path.stem == "02_text_query")
    parameters = {
        "query_text": "a yellow star at night",
        "k": 2,
        "every_seconds": 2.0,
        "store_path": "mine.duckdb",
    }
    notebook = papermill.execute_notebook(
        path,
        tmp_path / "out.ipynb",
        parameters=parameters,
        cwd=tmp_path,
        progress_bar=False,
        kernel_name="python3",
    )
    assert caption_at(first_match(notebook)) == "a yellow star at night"
    assert (tmp_path / "mine.duckdb").exists()


@pytest.mark.parametrize(("least_recall", "code"), [("0.5", 0), ("0.99", 1)])
def test_a_pipeline_is_stopped_by_too_little_recall(least_recall, code, tmp_path):
    """As a shell sees it: an exit code, and a last line that says why."""
    path = next(path for path in NOTEBOOKS if path.stem == "07_evaluate")
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--no-progress-bar",
        "--kernel",
        "python3",
        path,
        "out.ipynb",
    ]
    done = subprocess.run(
        [*command, "-p", "least_recall", least_recall],
        cwd=tmp_path,
        env=os.environ | {"VIDEOLIB_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    if code:
        last = done.stderr.strip().splitlines()[-1]
        assert re.search(r"recall@10 is 0.\d+, below least_recall, which is 0.99$", last)
    else:
        told = nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs[0]["data"]["text/plain"]
        assert re.fullmatch(r"'recall@10 is 0.\d+, at least 0.5'", told)


def test_marks_of_a_store_of_ones_own_are_evaluated(tmp_path):
    video_path = write_video(tmp_path / "video.mp4", count=100)
    where = {"video_path": str(video_path), "model": "demo", "store_path": str(tmp_path / "own.duckdb")}
    store = FrameStore(where["store_path"])
    video = ingest(video_path, ClipEncoder("demo"), store, progress=False)
    mark = {
        "query": "a red car",
        "video_id": video.video_id,
        "start_seconds": 1,
        "end_seconds": 3,
        "right": True,
    }
    store.write_marks([mark], who="Ada")
    path = next(path for path in NOTEBOOKS if path.stem == "07_evaluate")
    notebook = papermill.execute_notebook(
        path,
        tmp_path / "out.ipynb",
        parameters=where | {"query_seconds": 0.0},
        cwd=tmp_path,
        progress_bar=False,
        kernel_name="python3",
    )
    assert notebook.cells[-1].outputs[0]["data"]["text/plain"] == "'recall@10 is 1.000, at least 0'"


def test_another_interval_on_the_same_store_is_stored_beside_the_first(tmp_path):
    path = next(path for path in NOTEBOOKS if path.stem == "02_text_query")
    video_path = write_video(tmp_path / "video.mp4", count=100)
    for every_seconds in (1.0, 0.5, 1.0):
        notebook = papermill.execute_notebook(
            path,
            tmp_path / "out.ipynb",
            parameters={
                "every_seconds": every_seconds,
                "video_path": str(video_path),
                "model": "demo",
                "store_path": str(tmp_path / "videolib.duckdb"),
            },
            cwd=tmp_path,
            progress_bar=False,
            kernel_name="python3",
        )
        (same,) = [
            cell for cell in notebook.cells if cell.source.endswith('matches["frame_number"].tolist()')
        ]
        assert same.outputs[0]["data"]["text/plain"] == "True"
    videos = FrameStore(tmp_path / "videolib.duckdb").list_videos()
    assert videos["every_seconds"].tolist() == [1, 0.5]
    assert videos["frame_count"].tolist() == [4, 7]
    assert videos["latest"].tolist() == [True, False]
