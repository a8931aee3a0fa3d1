"""Notebook 09, on a given folder of several videos; that it runs without one tests/test_notebooks.py sees."""

import re
from importlib.util import find_spec
from pathlib import Path

import papermill
import pytest

from tests.many_videos import make_folder
from videolib import FrameStore, cut_clip
from videolib.demo import SAMPLE_VIDEO_PATH

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "09_many_videos.ipynb"


def run_many(tmp_path: Path, **parameters: object) -> dict[str, str]:
    """Run it; returns what each cell showed as text, by its id."""
    given = {"model": "demo", "store_path": str(tmp_path / "many.duckdb")} | parameters
    notebook = papermill.execute_notebook(
        NOTEBOOK, tmp_path / "out.ipynb", given, cwd=tmp_path, progress_bar=False, kernel_name="python3"
    )
    return {
        cell.id: "\n".join(
            output["text"] if "text" in output else output["data"]["text/plain"] for output in cell.outputs
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def test_of_many_videos_the_right_one_is_found_at_its_time_and_the_next_run_stores_nothing(tmp_path):
    folder = tmp_path / "videos"
    make_folder(folder, 5, damaged=1, same=1)
    cut_clip(SAMPLE_VIDEO_PATH, 0, 12.6, folder / "more" / "two scenes.mp4", exact=False)
    told = run_many(tmp_path, folder=str(folder), query_text="a red car in the city")
    assert re.findall(r"(stored|failed|duplicate of .*000 mp4\.mp4) *$", told["ingest"], re.M) == [
        "stored",
        "duplicate of " + str(folder / "000 mp4.mp4"),
        "stored",
        "failed",
        "stored",
        "stored",
    ]
    assert str(folder / "more" / "two scenes.mp4") in told["ingest"]
    assert re.findall(r"004 mov\S* is empty", told["failed"])
    assert re.search(r"^1 of \d moments stand out, in 1 of 4 videos$", told["sure"].strip())
    best, *others = told["explore"].splitlines()[1:-1]
    assert re.match(r"1\. 0:0[56] to 0:12 · two scenes · \w+( unrelated descriptions?)? of 200", best)
    assert others
    assert all(line.endswith("it is probably not in these videos") for line in others)

    again = run_many(tmp_path, folder=f"{folder}/**/*.mp4", query_text="a pink flower in the desert")
    assert set(re.findall(r"(already stored|(?<!already )stored) *$", again["ingest"], re.M)) == {
        "already stored"
    }
    assert re.search(r"^0 of \d moments stand out, in 0 of \d videos$", again["sure"].strip())
    assert len(FrameStore(tmp_path / "many.duckdb").list_videos()) == 4


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"folder": "talsk"}, "folder must be an existing folder, .* got 'talsk': check the path"),
        ({"folder": "empty"}, "sources must lead to a video, got 'empty', where none is: check the path"),
        pytest.param(
            {"folder": "empty", "cluster": "auto"},
            r"cluster 'auto' needs Ray, which is not installed: pip install 'videolib\[ray\]'",
            marks=pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed"),
        ),
    ],
)
def test_what_is_wrong_with_a_folder_or_a_cluster_is_said_in_a_sentence(parameters, message, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        run_many(tmp_path, **parameters)
    assert re.match(message, caught.value.evalue)
    assert "\n" not in caught.value.evalue
    assert not (tmp_path / "many.duckdb").exists()
