"""Link the notebooks to each other: each to the previous and the next, a long one to its sections.

The links are the last paragraphs of a notebook's first cell and are made from the files that are there, so that a new
notebook needs nothing but itself and `make format`.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

FOLDER = Path(__file__).parents[1] / "notebooks"
MOST_SECTIONS = 5  # that go without a list of them
LINKS = re.compile(r"\n\n(Notebooks|Sections): .*")


def list_notebooks(folder: Path = FOLDER) -> list[Path]:
    """List the numbered notebooks in the order of their numbers."""
    return sorted(folder.glob("[0-9]*.ipynb"))


def read_title(notebook: nbformat.NotebookNode) -> str:
    """Read a notebook's title, with its number."""
    title: str = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
    return title


def list_sections(notebook: nbformat.NotebookNode) -> list[str]:
    """List the headings of its sections."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [heading for text in texts for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)]


def write_links(path: Path) -> str:
    """Write the links of a notebook between those that are beside it."""
    paths = list_notebooks(path.parent)
    place = paths.index(path)
    before, after = paths[:place][-1:], paths[place + 1 :][:1]
    near = {one: f"[{read_title(nbformat.read(one, 4))}]({one.name})" for one in before + after}
    near_links = [f"← {near[one]}" for one in before] + [f"{near[one]} →" for one in after]
    lines = [f"Notebooks: {' | '.join(near_links)}"] if near else []
    sections = list_sections(nbformat.read(path, 4))
    if len(sections) > MOST_SECTIONS:
        # an anchor as JupyterLab and nbconvert make it
        links = [f"[{heading}](#{heading.replace(' ', '-')})" for heading in sections]
        lines.append(f"Sections: {' | '.join(links)}")
    return "".join(f"\n\n{line}" for line in lines)


def main(folder: Path = FOLDER) -> None:
    """Write the links into all of them."""
    for path in list_notebooks(folder):
        notebook = nbformat.read(path, 4)
        opening = notebook.cells[0]
        linked = LINKS.sub("", opening.source) + write_links(path)
        if linked != opening.source:
            opening.source = linked
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
