"""Make one file of each notebook for SingleStore's Data Studio: it carries videolib, its model and its video.

Writes `build/datastudio/<name>.ipynb` and, in the layout of SingleStore's public collection of notebooks,
https://github.com/singlestore-labs/spaces-notebooks, `build/datastudio/gallery/<name>/`.

It imports the standard library alone, and asks pip for the wheel: the 6 GB that videolib runs on are not needed here.
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
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "build" / "datastudio"

WEIGHTS_HOST = "openaipublic.azureedge.net"  # of each address in clip's own table

GROUPS = ("notebooks", "singlestore")  # the optional dependencies that a notebook in Data Studio needs
# What a hosted kernel has for itself, or what runs it: never to be changed under a running notebook.
NOT_INSTALLED = {"ipython", "jupyterlab", "papermill"}
HEADLESS = {"opencv-python": "opencv-python-headless"}  # the same but for windows, which need a libGL

# One message between browser and kernel may hold 10 MiB at most in Jupyter's server, and less in proxies.
PART_CHARS = 1_000_000
LINE_CHARS = 1_000

NEIGHBOURS = re.compile(r"\n\nNotebooks: .*")  # links to other files, which lie nowhere near an imported one

NOTE = """\
# A notebook in one file

It carries the library videolib, its small demo model and the sample video in the collapsed cells below. They were \
made from the project's own notebook: change that one, and build this again with `make datastudio`.

**In SingleStore's Data Studio**, choose a workspace and a database at the top: frames are stored there. \
Elsewhere they go to a DuckDB file beside the notebook. A database holds the frames of one model: between the sample \
video and your own, choose another database, or delete the one's frames with `store.delete_video(video.video_id)`. In \
"Edit Firewall", allow

- nothing for the libraries that are missing: the package index is allowed from the start. Where PyTorch is among \
them, the first run takes minutes and 6 GB;
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

try:
    wheel = base64.b64decode({parts})
except NameError as error:
    raise RuntimeError("videolib is in the collapsed cells above, which must run first: Run All Cells") from error
unpacked = tempfile.mkdtemp(prefix="videolib-")
zipfile.ZipFile(io.BytesIO(wheel)).extractall(unpacked)
sys.path.insert(0, unpacked)
importlib.invalidate_caches()
"""

SET_BEFORE = """\
# What a job has set before the first run: it stands over the values of the parameters cell.
if "set_before" not in globals():
    set_before = {{name: globals()[name] for name in {names} if name in globals()}}
"""

PARAMETERS = """
globals().update(set_before)  # what a scheduled job has set
"""
WORKSPACE = """\
if not store_path: store_path = globals().get("connection_url", "")  # the workspace's database, if one is chosen
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
    constraints = ROOT / "constraints.txt"
    (pin,) = re.findall(r"^setuptools==(\S+)$", constraints.read_text(encoding="utf-8"), re.MULTILINE)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # The wheel names the setuptools that made it: another release than the pinned one gives other bytes. Where
    # that one is installed, no registry is needed; elsewhere pip fetches it into an environment of its own.
    if any(package.version == pin for package in distributions(name="setuptools")):
        command.append("--no-build-isolation")
    pins = constraints.as_uri()  # a path would be split at its spaces
    environment = {
        "PIP_CONSTRAINT": pins,  # the option --constraint would not reach the environment that pip makes
        "PIP_BUILD_CONSTRAINT": pins,  # what newer releases of pip heed there instead: pip 26.3 does
        "SOURCE_DATE_EPOCH": "315532800",  # 1980, where zip's calendar begins
    }
    # In a copy: setuptools leaves its `build` in the sources, and packs from it what has long been deleted.
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(
            ROOT / "videolib", Path(copy, "videolib"), ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            if (ROOT / name).exists():
                shutil.copy(ROOT / name, copy)
        subprocess.run([*command, "--wheel-dir", folder, copy], check=True, env=os.environ | environment)
    (wheel,) = folder.glob("videolib-*.whl")
    return wheel


def requirements(pyproject: Path = ROOT / "pyproject.toml") -> tuple[list[str], str]:
    """What pip is to install, and OpenCV, which only comes where no other build of it is there."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional = [line for group in GROUPS for line in project["optional-dependencies"][group]]
    found = {}
    for line in [*project["dependencies"], *optional]:
        name, extras, specifier = re.fullmatch(r"([\w.-]+)(\[.+\])?(.*)", line).groups("")
        found[name] = extras + ",".join(sorted(specifier.split(",")))  # in the order of `packaging`
    lines = [name + rest for name, rest in found.items() if name not in NOT_INSTALLED | HEADLESS.keys()]
    (opencv,) = [HEADLESS[name] + rest for name, rest in found.items() if name in HEADLESS]
    return lines, opencv


def read(source: Path) -> dict[str, Any]:
    """Read a notebook, each cell's source in one piece, and without the outputs that somebody may have saved."""
    notebook = json.loads(source.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = NEIGHBOURS.sub("", "".join(cell["source"]))
        if cell["cell_type"] == "code":
            cell |= {"execution_count": None, "outputs": []}
    return notebook


def to_json(notebook: dict[str, Any], *, indent: int, ensure_ascii: bool) -> str:
    """Write a notebook as text; with an indent of 1 and beyond ASCII, it is what `nbformat.write` writes."""
    cells = [cell | {"source": cell["source"].splitlines(keepends=True)} for cell in notebook["cells"]]
    content = notebook | {"cells": cells}
    return json.dumps(content, indent=indent, ensure_ascii=ensure_ascii, sort_keys=True) + "\n"


def guard_parameters(source: str) -> tuple[str, str]:
    """Let each parameter keep a value that was set before: code for a cell above, and the parameters cell itself.

    Its lines stay as they are, for readers and for papermill, whose own values come in a cell after it. What was set
    is looked up once: later it would be the cell's own values, and what is edited would never count.
    """
    nodes = ast.parse(source).body
    names = [ast.unparse(node.targets[0]) for node in nodes if isinstance(node, ast.Assign)]
    assert len(names) == len(nodes)
    below = PARAMETERS + (WORKSPACE if "store_path" in names else "")
    return SET_BEFORE.format(names=tuple(names)).rstrip(), (source.rstrip() + "\n" + below).rstrip()


def hidden_cell(name: str, source: str) -> dict[str, Any]:
    """Make a collapsed code cell."""
    metadata = {"jupyter": {"source_hidden": True}}
    unrun = {"execution_count": None, "outputs": []}
    return {"cell_type": "code", "id": name, "metadata": metadata, "source": source, **unrun}


def carry(wheel: Path, line_chars: int | None) -> list[dict[str, Any]]:
    """Cells that hold the wheel as text, and the one that unpacks it."""
    text = base64.b64encode(wheel.read_bytes()).decode()
    parts = [text[start : start + PART_CHARS] for start in range(0, len(text), PART_CHARS)]
    cells = []
    for number, part in enumerate(parts, 1):
        quoted = f'"{part}"'
        if line_chars:
            lines = [part[start : start + line_chars] for start in range(0, len(part), line_chars)]
            quoted = '"""\n' + "\n".join(lines) + '\n"""'
        title = f"# {wheel.name} as text, part {number} of {len(parts)}: nothing to read"
        cells.append(hidden_cell(f"part-{number}", f"{title}\npart_{number} = {quoted}"))
    names = " + ".join(f"part_{number}" for number in range(1, len(parts) + 1))
    lines, opencv = requirements()
    listed = f"[\n{''.join(f'    {json.dumps(line)},{chr(10)}' for line in lines)}]"
    set_up = SET_UP.format(requirements=listed, opencv=opencv, parts=names).rstrip()
    return [*cells, hidden_cell("set-up", set_up)]


def build(source: Path, wheel: Path, *, line_chars: int | None = LINE_CHARS) -> dict[str, Any]:
    """Make the one-file notebook of a notebook."""
    notebook = read(source)
    above = []
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            set_before, cell["source"] = guard_parameters(cell["source"])
            above.append(hidden_cell("set-before", set_before))
    text = NOTE.format(weights=WEIGHTS_HOST).rstrip()
    note = {"cell_type": "markdown", "id": "note", "metadata": {}, "source": text}
    return notebook | {"cells": [note, *carry(wheel, line_chars), *above, *notebook["cells"]]}


def write_gallery(source: Path, wheel: Path, folder: Path) -> None:
    """Write a notebook as SingleStore's collection wants it: without metadata, its cells counted."""
    # Nothing is collapsed there: one long line is the least to scroll past.
    notebook = build(source, wheel, line_chars=None)
    for count, cell in enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), 1):
        cell["execution_count"] = count
    for cell in notebook["cells"]:
        cell["metadata"] = {}
    folder.mkdir(parents=True)
    text = to_json(notebook, indent=2, ensure_ascii=True)
    (folder / "notebook.ipynb").write_text(text, encoding="utf-8")
    opening = read(source)["cells"][0]["source"]
    title = re.sub(r"^# \d+ · ", "", opening.splitlines()[0])
    description = re.search(r"\*\*You get\*\* (.+)", opening)[1]
    meta = META.format(
        title=json.dumps(f"Moments in video: {title}", ensure_ascii=False),
        description=json.dumps(f"You get {description}", ensure_ascii=False),
    )
    (folder / "meta.toml").write_text(meta, encoding="utf-8")


def main(output: Path = OUTPUT) -> None:
    """Build the numbered ones of notebooks/ anew."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        for source in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
            target = output / source.name
            text = to_json(build(source, wheel), indent=1, ensure_ascii=False)
            target.write_text(text, encoding="utf-8")
            write_gallery(source, wheel, output / "gallery" / f"video-{source.stem.replace('_', '-')}")
            print(f"{os.path.relpath(target)} ({target.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
