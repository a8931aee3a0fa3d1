"""Make one file of each notebook for SingleStore's Data Studio: it carries videolib, its model and its video.

Writes `build/datastudio/<name>.ipynb` and, in the layout of SingleStore's public collection of notebooks,
`build/datastudio/gallery/<name>/`. Where that collection is kept, and what it checks:
https://github.com/singlestore-labs/spaces-notebooks
"""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell
from packaging.requirements import Requirement

from videolib.encoding import clip

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "build" / "datastudio"

# What a hosted kernel has for itself, or what runs it: never to be changed under a running notebook.
NOT_INSTALLED = {"ipython", "jupyterlab", "papermill"}
HEADLESS = {"opencv-python": "opencv-python-headless"}  # the same but for windows, which need a libGL

# One message between browser and kernel may hold 10 MiB at most in Jupyter's server, and less in proxies.
PART_CHARS = 1_000_000
LINE_CHARS = 1_000
GALLERY_LINE_CHARS = 100_000  # nothing is collapsed there, so that each line is one to scroll past

NOTE = """\
# A notebook in one file

It carries the library videolib, its small demo model and the sample video in the collapsed cells below. They were \
made from the project's own notebook: change that one, and build this again with `make datastudio`.

**In SingleStore's Data Studio**, choose a workspace and a database at the top: frames are stored there. \
Elsewhere they go to a DuckDB file beside the notebook. In "Edit Firewall", allow

- nothing for the libraries that are missing: the package index is allowed from the start. Where PyTorch is among \
them, the first run takes minutes;
- `{weights}`, for OpenAI's CLIP models; the demo model needs nothing;
- the host of your video, where `video_path` is an address; the sample video needs nothing.

A cell that waits for a host that is not allowed hangs instead of failing.
"""

SET_UP = """\
# Installs what is missing, and unpacks videolib from the cells above.
import base64
import importlib
import io
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import distributions
from importlib.util import find_spec

requirements = {requirements}
if find_spec("cv2") is None:
    requirements.append({opencv!r})
before = {{package.name: package.version for package in distributions()}}
command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
pip = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
if pip.returncode:
    raise RuntimeError(f"pip could not install what is missing; are its hosts allowed?\\n{{pip.stdout}}")
changed = [
    package.name
    for package in distributions()
    if package.name.lower() in sys.modules and before.get(package.name, package.version) != package.version
]
if changed:
    print(f"pip has replaced {{', '.join(changed)}}, in use already: if a cell fails, restart the kernel")

wheel = base64.b64decode({parts})
folder = tempfile.mkdtemp(prefix="videolib-")
zipfile.ZipFile(io.BytesIO(wheel)).extractall(folder)
sys.path.insert(0, folder)
importlib.invalidate_caches()
"""

PARAMETERS = """\
# A value that a job or papermill has set stands; else the one here counts, also when it is edited and run again.
if "set_before" not in globals(): set_before = set(globals())
"""

META = """\
[meta]
authors = ["videolib"]
title = {title}
description = {description}
icon = "camera-movie"
difficulty = "beginner"
tags = ["video", "clip", "vectordb"]
lesson_areas = ["AI"]
destinations = ["spaces"]
minimum_tier = "free-shared"
"""


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout; the same sources give the same bytes."""
    # In a copy: setuptools leaves its `build` in the sources, and packs from it what has long been deleted.
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(
            ROOT / "videolib", Path(copy, "videolib"), ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            if (ROOT / name).exists():
                shutil.copy(ROOT / name, copy)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run(
            [*command, "--wheel-dir", folder, copy],
            check=True,
            env=os.environ | {"SOURCE_DATE_EPOCH": "315532800"},  # 1980, where zip's calendar begins
        )
    (wheel,) = folder.glob("videolib-*.whl")
    return wheel


def requirements() -> tuple[list[str], str]:
    """What pip is to install, and OpenCV, which only comes where no other build of it is there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [Requirement(line) for line in project["dependencies"]]
    lines = [str(item) for item in found if item.name not in NOT_INSTALLED | HEADLESS.keys()]
    (opencv,) = [f"{HEADLESS[item.name]}{item.specifier}" for item in found if item.name in HEADLESS]
    return lines, opencv


def guard_parameters(source: str) -> str:
    """Let each parameter keep a value that was set before the cell's first run.

    One assignment a line, as papermill needs to list them. Asking `globals()` itself, the usual guard, would
    find the cell's own values when it is run again, and ignore what was edited.
    """
    lines = PARAMETERS
    for node, line in zip(ast.parse(source).body, source.splitlines(), strict=True):
        assert isinstance(node, ast.Assign)
        name = ast.unparse(node.targets[0])
        default = ast.get_source_segment(source, node.value)
        comment = line.removeprefix(f"{name} = {default}")
        if name == "store_path":
            default = 'globals().get("connection_url", "")'
            comment = "  # database URL or DuckDB file; here the workspace's database, where there is one"
        lines += f'{name} = {default} if "{name}" not in set_before else {name}{comment}\n'
    return lines.rstrip()


def carry(wheel: Path, line_chars: int) -> list[nbformat.NotebookNode]:
    """Cells that hold the wheel as text, and the one that unpacks it."""
    text = base64.b64encode(wheel.read_bytes()).decode()
    parts = [text[start : start + PART_CHARS] for start in range(0, len(text), PART_CHARS)]
    cells = []
    for number, part in enumerate(parts, 1):
        lines = [part[start : start + line_chars] for start in range(0, len(part), line_chars)]
        source = f'# {wheel.name} as text, part {number} of {len(parts)}\npart_{number} = """\n'
        cells.append(new_code_cell(source + "\n".join(lines) + '\n"""', id=f"part-{number}"))
    names = " + ".join(f"part_{number}" for number in range(1, len(parts) + 1))
    lines, opencv = requirements()
    listed = f"[\n{''.join(f'    {json.dumps(line)},{chr(10)}' for line in lines)}]"
    set_up = SET_UP.format(requirements=listed, opencv=opencv, parts=names).rstrip()
    cells.append(new_code_cell(set_up, id="set-up"))
    for cell in cells:
        cell.metadata = {"jupyter": {"source_hidden": True}}
    return cells


def build(source: Path, wheel: Path, *, line_chars: int = LINE_CHARS) -> nbformat.NotebookNode:
    """Make the one-file notebook of a notebook."""
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = guard_parameters(cell.source)
    (weights,) = {urlsplit(url).netloc for url in clip.clip._MODELS.values()}
    note = new_markdown_cell(NOTE.format(weights=weights).rstrip(), id="note")
    notebook.cells = [note, *carry(wheel, line_chars), *notebook.cells]
    nbformat.validate(notebook)
    return notebook


def write_gallery(source: Path, wheel: Path, folder: Path) -> None:
    """Write a notebook as SingleStore's collection wants it: without metadata, its cells counted."""
    notebook = build(source, wheel, line_chars=GALLERY_LINE_CHARS)
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
    for cell in notebook.cells:
        cell.metadata = {}
    folder.mkdir(parents=True)
    content = json.loads(nbformat.writes(notebook))
    (folder / "notebook.ipynb").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    opening = nbformat.read(source, as_version=4).cells[0].source
    title = re.sub(r"^# \d+ · ", "", opening.splitlines()[0])
    _, description = opening.split("**You get** ")
    meta = META.format(
        title=json.dumps(f"Moments in video: {title}", ensure_ascii=False),
        description=json.dumps(f"You get {' '.join(description.split())}", ensure_ascii=False),
    )
    (folder / "meta.toml").write_text(meta, encoding="utf-8")


def main(output: Path = OUTPUT) -> None:
    """Build all of notebooks/ anew."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
            target = output / source.name
            nbformat.write(build(source, wheel), target)
            write_gallery(source, wheel, output / "gallery" / f"video-{source.stem.replace('_', '-')}")
            print(f"{os.path.relpath(target)} ({target.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
