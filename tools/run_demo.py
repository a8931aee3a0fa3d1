"""Run the notebooks on the sample video, print their tables of matches and moments, and make pages of them."""

from __future__ import annotations

import io
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
import pandas as pd
import papermill
from traitlets.config import Config

from tools.demo_pages import write_index, write_page
from tools.link_notebooks import list_notebooks, read_title
from videolib.demo import sample_scenes

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "build"


def tables(notebook: nbformat.NotebookNode) -> list[pd.DataFrame]:
    """Tables of the cells tagged `matches` or `moments`, beside what the sample video shows at those times."""
    scenes = sample_scenes()
    found = []
    for cell in notebook.cells:
        if {"matches", "moments"} & set(cell.metadata.get("tags", [])) and cell.outputs:
            table = pd.read_csv(io.StringIO(cell.outputs[0]["data"]["text/plain"]), sep=r"\s+")
            seconds = table["peak_seconds" if "peak_seconds" in table else "timestamp_seconds"]
            scene = scenes["start_seconds"].searchsorted(seconds, side="right") - 1
            found.append(table.assign(on_screen=scenes["caption"].to_numpy()[scene]))
    return found


def run(source: Path) -> tuple[nbformat.NotebookNode, float]:
    """Run a notebook as a pipeline would, and write it and its page; one that needs a server waits for one."""
    started = time.monotonic()
    target = OUTPUT / source.name
    notebook = nbformat.read(source, as_version=4)
    if "SINGLESTOREDB_URL" in notebook.cells[0].source and not os.environ.get("SINGLESTOREDB_URL"):
        nbformat.write(notebook, target)
    else:
        with tempfile.TemporaryDirectory() as folder:  # two kernels that start at once want a file each
            # Over TCP each kernel warns that others on the machine can listen; Windows knows nothing else.
            transport = "ipc" if os.name == "posix" else "tcp"
            options = {"transport": transport, "connection_file": os.path.join(folder, "kernel.json")}
            notebook = papermill.execute_notebook(
                source,
                target,
                cwd=OUTPUT,
                progress_bar=False,
                kernel_name="python3",
                config=Config(KernelManager=options),
            )
    write_page(notebook, target.with_suffix(".html"))
    return notebook, time.monotonic() - started


def tell(notebook: nbformat.NotebookNode, seconds: float) -> None:
    """Print a notebook's title and its tables."""
    print(f"{read_title(notebook)} ({seconds:.0f} s)", flush=True)
    if not any(cell.get("outputs") for cell in notebook.cells):
        print("\nNot run: it needs a server, as its first lines tell.\n")
    for table in tables(notebook):
        print(f"\n{table.to_string(index=False)}\n")


def main() -> None:
    """Run the first notebook, which stores the video, and then the others, two at a time."""
    OUTPUT.mkdir(exist_ok=True)
    os.environ["VIDEOLIB_DATA_DIR"] = str(OUTPUT)  # the kernels' store, too, is of this run
    first, *others = list_notebooks()
    tell(*run(first))
    with ProcessPoolExecutor(2) as pool:
        for result in pool.map(run, others):
            tell(*result)
    index = write_index([OUTPUT / source.name for source in (first, *others)])
    print(f"The notebooks as they ran, with figures: open {index.relative_to(ROOT)} in a browser")


if __name__ == "__main__":
    main()
