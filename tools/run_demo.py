"""Run the notebooks on the sample video, print their tables of matches and moments, and save them with their HTML."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import nbformat
import pandas as pd
import papermill
from nbconvert import HTMLExporter
from traitlets.config import Config

from videolib.demo import sample_scenes

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
OUTPUT = ROOT / "build"
# Over TCP each kernel warns that others on the machine can listen; Windows knows nothing else.
KERNEL = Config(KernelManager={"transport": "ipc" if os.name == "posix" else "tcp"})


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


def main() -> None:
    """Run each notebook as a pipeline would, in a folder of its own."""
    OUTPUT.mkdir(exist_ok=True)
    os.environ["VIDEOLIB_DATA_DIR"] = str(OUTPUT)  # the kernels' store, too, is of this run
    written = []
    for source in NOTEBOOKS:
        started = time.monotonic()
        target = OUTPUT / source.name
        papermill.execute_notebook(
            source, target, cwd=OUTPUT, progress_bar=False, kernel_name="python3", config=KERNEL
        )
        notebook = nbformat.read(target, as_version=4)
        html, _ = HTMLExporter().from_notebook_node(notebook)
        target.with_suffix(".html").write_text(html, encoding="utf-8")
        written += [target, target.with_suffix(".html")]
        title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
        print(f"{title} ({time.monotonic() - started:.0f} s)")
        if any(
            output.get("ename") == "SystemExit"
            for cell in notebook.cells
            for output in cell.get("outputs", [])
        ):
            print("\nIt stopped: it needs a server, as its first lines tell.\n")
        for table in tables(notebook):
            print(f"\n{table.to_string(index=False)}\n")
    print("The notebooks as they ran, with figures:")
    for path in written:
        print(f"  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
