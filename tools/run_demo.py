"""Run the notebooks on the sample video, print their top-5 tables, and save them with their HTML."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import papermill
from nbconvert import HTMLExporter

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0*.ipynb"))
OUTPUT = ROOT / "build"


def tables(notebook: nbformat.NotebookNode) -> list[str]:
    """Texts of the tables that the cells tagged `matches` show."""
    return [
        output["data"]["text/plain"]
        for cell in notebook.cells
        if "matches" in cell.metadata.get("tags", [])
        for output in cell.outputs
        if "data" in output
    ]


def main() -> None:
    """Run each notebook as a pipeline would, in a folder of its own."""
    OUTPUT.mkdir(exist_ok=True)
    written = []
    for source in NOTEBOOKS:
        started = time.monotonic()
        target = OUTPUT / source.name
        papermill.execute_notebook(source, target, cwd=OUTPUT, progress_bar=False, kernel_name="python3")
        notebook = nbformat.read(target, as_version=4)
        html, _ = HTMLExporter().from_notebook_node(notebook)
        target.with_suffix(".html").write_text(html, encoding="utf-8")
        written += [target, target.with_suffix(".html")]
        print(f"{source.stem}: {time.monotonic() - started:.0f} s")
        for table in tables(notebook):
            print(f"\n{table}\n")
    print("The notebooks as they ran, with figures:")
    for path in written:
        print(f"  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
