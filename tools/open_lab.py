"""Open JupyterLab on copies of the notebooks, in lab/: to look at one and to run it leaves its source as it is.

A copy that nobody has edited follows its source; one that was edited stays as it is, and that is said.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import nbformat

from tools.link_notebooks import FOLDER, list_notebooks

LAB = FOLDER.with_name("lab")
MARK = "copied_as"  # in a copy's metadata: the digest of the cells that were copied


def digest(notebook: nbformat.NotebookNode) -> str:
    """Sum up what a person edits: the kinds and texts of the cells, not their outputs."""
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def copy_notebooks(folder: Path = LAB, sources: Path = FOLDER) -> list[Path]:
    """Bring the copies up to their sources, and list those that stay behind because somebody edited them."""
    folder.mkdir(exist_ok=True)
    kept = []
    for source in list_notebooks(sources):
        target = folder / source.name
        notebook = nbformat.read(source, as_version=4)
        if target.exists():
            copy = nbformat.read(target, as_version=4)
            if digest(copy) == digest(notebook):
                continue  # with the outputs that it has
            if digest(copy) != copy.metadata.get(MARK):
                kept += [target] if copy.metadata.get(MARK) != digest(notebook) else []
                continue
        notebook.metadata[MARK] = digest(notebook)
        nbformat.write(notebook, target)
    return kept


def main() -> None:
    """Copy, say what was kept, and open."""
    for path in copy_notebooks():
        print(
            f"{path.relative_to(LAB.parent)} stays as you edited it, while its source in notebooks/ has changed: "
            "rename it to get the new one beside it"
        )
    sys.exit(subprocess.call([sys.executable, "-m", "jupyterlab", str(LAB), *sys.argv[1:]]))


if __name__ == "__main__":
    main()
