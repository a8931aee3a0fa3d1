"""The one-file notebooks: how they are made, what is in them, and that they run where videolib is not installed."""

import ast
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from hashlib import sha256
from importlib.metadata import packages_distributions
from io import BytesIO
from pathlib import Path
from urllib.parse import quote, urlsplit
from zipfile import ZipFile

import nbformat
import papermill
import pytest
from clip import clip
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlalchemy import make_url

from tools import build_datastudio
from videolib import FrameStore

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
ALONE = os.environ | {"PYTHONPATH": ""}  # for a process that is not to see this checkout
EACH = pytest.mark.parametrize("name", [path.stem for path in SOURCES])


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder that `make datastudio` fills."""
    folder = tmp_path_factory.mktemp("datastudio")
    build_datastudio.main(folder)
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> bytes:
    return build_datastudio.build_wheel(tmp_path_factory.mktemp("wheel")).read_bytes()


def read(built: Path, name: str) -> nbformat.NotebookNode:
    return nbformat.read(built / f"{name}.ipynb", as_version=4)


def copy_checkout(folder: Path) -> Path:
    left_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    return shutil.copytree(ROOT, folder, ignore=left_out)


def make_datastudio(checkout: Path, python: str | Path = sys.executable) -> Path:
    """Run what stands behind `make datastudio`, in a checkout that is not this one."""
    subprocess.run([python, "tools/build_datastudio.py"], cwd=checkout, env=ALONE, check=True)
    return checkout / "build" / "datastudio"


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def gallery(built: Path, name: str) -> Path:
    return built / "gallery" / f"video-{name.replace('_', '-')}"


def parameters_cell(notebook: nbformat.NotebookNode) -> str:
    """What was set before is looked up in a cell of its own, and counts at the end of the parameters cell."""
    (above,) = [cell for cell in notebook.cells if "set_before = " in cell.source]
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert above.metadata == {"jupyter": {"source_hidden": True}}
    return f"{above.source}\n{cell.source}"


def carried(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if re.match(r"part-|set-up$", cell.id)]


@pytest.fixture(scope="module")
def plain_python(tmp_path_factory) -> Path:
    """A Python that has pip, and nothing else."""
    folder = tmp_path_factory.mktemp("plain")
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run(
        [python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"], env=ALONE, check=True
    )
    listed = subprocess.check_output([python, "-m", "pip", "list", "--format", "json"], env=ALONE)
    assert [package["name"] for package in json.loads(listed)] == ["pip"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    download = [python, "-m", "pip", "download", "--quiet", "--dest", folder, *constraints, "setuptools"]
    if subprocess.run(download, env=ALONE).returncode:
        pytest.skip("no package registry has the setuptools that makes the wheel")
    return python


def test_python_and_its_pip_alone_make_the_same_files(built, plain_python, tmp_path):
    """`built` is by this environment's Python, which has everything."""
    checkout = copy_checkout(tmp_path / "a checkout")  # a space is where pip splits its variables
    assert digests(make_datastudio(checkout, plain_python)) == digests(built)


def test_a_notebook_that_is_not_one_of_the_numbered_is_left_alone(built, tmp_path):
    checkout = copy_checkout(tmp_path / "checkout")
    (checkout / "notebooks" / "Untitled.ipynb").touch()
    assert digests(make_datastudio(checkout)).keys() == digests(built).keys()


def test_the_wheel_is_made_by_the_pinned_setuptools(wheel):
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (made,) = [name for name in ZipFile(BytesIO(wheel)).namelist() if name.endswith(".dist-info/WHEEL")]
    generator = re.search(r"Generator: setuptools \((.+)\)", ZipFile(BytesIO(wheel)).read(made).decode())
    assert generator
    assert f"setuptools=={generator[1]}" in pins


@EACH
def test_it_is_written_as_nbformat_writes_it(name, built):
    text = (built / f"{name}.ipynb").read_text(encoding="utf-8")
    assert text == nbformat.writes(nbformat.reads(text, as_version=4)) + "\n"


def test_outputs_saved_in_the_source_are_not_carried(tmp_path):
    source, wheel = tmp_path / "source.ipynb", tmp_path / "videolib.whl"
    wheel.touch()
    notebook = nbformat.read(SOURCES[0], as_version=4)
    nbformat.write(notebook, source)
    clean = build_datastudio.build(source, wheel)
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
        cell.outputs = [nbformat.v4.new_output("stream", text="of a run")]
    nbformat.write(notebook, source)
    assert "of a run" in source.read_text(encoding="utf-8")
    assert build_datastudio.build(source, wheel) == clean


@EACH
def test_it_is_the_source_with_what_it_needs_before_it(name, built):
    notebook = read(built, name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    source = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert notebook.metadata == source.metadata
    changed = [
        old.metadata.get("tags")
        for old, new in zip(source.cells, notebook.cells[-len(source.cells) :], strict=True)
        if old != new
    ]
    assert changed == [None, ["parameters"]]
    assert ".ipynb)" not in json.dumps(notebook)  # no links to files that are not there
    for host in ("package index", "openaipublic.azureedge.net", "video_path"):
        assert host in notebook.cells[0].source


@EACH
def test_the_wheel_inside_is_that_of_this_checkout(name, built, wheel):
    *parts, set_up = carried(read(built, name))
    values: dict[str, str] = {}
    for part in parts:
        exec(part.source, values)
        assert len(part.source) < 2_000_000
        assert max(map(len, part.source.splitlines())) <= build_datastudio.LINE_CHARS
    names = re.findall(r"part_\d+", set_up.source)
    assert base64.b64decode("".join(values[name] for name in names)) == wheel
    assert all(cell.metadata == {"jupyter": {"source_hidden": True}} for cell in [*parts, set_up])


@EACH
def test_no_parameter_is_set_by_the_cells_before(name, built):
    """Else its default would never count."""
    notebook = read(built, name)
    set_up = {
        node.id
        for cell in carried(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    values: dict[str, object] = {}
    exec(parameters_cell(notebook), values)
    assert set_up.isdisjoint(values)


@EACH
def test_the_parameters_read_as_in_the_source(name, built):
    (source,) = [cell.source for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells[2:3]]
    (cell,) = [cell for cell in read(built, name).cells if "parameters" in cell.metadata.get("tags", [])]
    assert cell.source.startswith(f"{source}\n")
    assert len(cell.source.splitlines()) - len(source.splitlines()) <= 3


def test_without_the_carrying_cells_the_error_says_what_to_run(built):
    (set_up,) = [cell.source for cell in read(built, "02_text_query").cells if cell.id == "set-up"]
    code = set_up[set_up.index("try:\n") :]
    with pytest.raises(RuntimeError, match="videolib is in the collapsed cells above, which must run first"):
        exec(code, {"base64": base64})


@EACH
def test_a_carrying_cell_of_the_gallery_is_two_lines(name, built):
    cells = json.loads((gallery(built, name) / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = [cell["source"] for cell in cells if cell["id"].startswith("part-")]
    assert len(parts) > 5
    assert all(len(lines) == 2 and lines[0].startswith("# videolib-") for lines in parts)


def test_a_value_set_before_counts_and_an_edited_default_too(built):
    source = parameters_cell(read(built, "02_text_query"))
    values = {"k": 3}
    exec(source, values)
    assert (values["k"], values["every_seconds"], values["store_path"]) == (3, 1.0, "")
    exec(source.replace("k = 5", "k = 7").replace("every_seconds = 1.0", "every_seconds = 2.0"), values)
    assert (values["k"], values["every_seconds"]) == (3, 2.0)


@EACH
def test_papermill_lists_the_parameters_with_their_comments(name, built):
    source = papermill.inspect_notebook(ROOT / "notebooks" / f"{name}.ipynb")
    parameters = papermill.inspect_notebook(built / f"{name}.ipynb")
    assert parameters.keys() == source.keys()
    assert all(parameter["help"] for parameter in parameters.values())


@pytest.mark.parametrize("name", [path.stem for path in SOURCES if path.stem != "05_singlestore"])
def test_frames_go_to_the_workspace_where_there_is_one(name, built):
    """Notebook 05 goes to `SINGLESTOREDB_URL`, which is the workspace there."""
    values = {"connection_url": "singlestoredb://user:pass@host:3306/videos"}
    exec(parameters_cell(read(built, name)), values)
    assert values["store_path"] == values["connection_url"]
    values = {"connection_url": "singlestoredb://user:pass@host:3306/videos", "store_path": "mine.duckdb"}
    exec(parameters_cell(read(built, name)), values)
    assert values["store_path"] == "mine.duckdb"


def test_the_weights_are_on_the_host_that_the_note_names():
    assert {urlsplit(url).netloc for url in clip._MODELS.values()} == {build_datastudio.WEIGHTS_HOST}


def test_requirements_are_read_as_packaging_reads_them():
    lines, opencv = build_datastudio.requirements()
    assert [*lines, opencv] == [str(Requirement(line)) for line in [*lines, opencv]]


GROUPED = """
[project]
dependencies = ["numpy>=2.0", "opencv-python>=4.9", "ipython>=8"]
[project.optional-dependencies]
dev = ["pytest>=8"]
notebooks = ["jupyterlab>=4.2", "ipywidgets>=8.1"]
singlestore = ["sqlalchemy[asyncio,mypy]>=2.0,<3"]
"""


def test_what_the_notebooks_and_singlestore_need_is_installed_too(tmp_path):
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(GROUPED, encoding="utf-8")
    lines, opencv = build_datastudio.requirements(pyproject)
    assert lines == ["numpy>=2.0", "ipywidgets>=8.1", "sqlalchemy[asyncio,mypy]<3,>=2.0"]
    assert opencv == "opencv-python-headless>=4.9"


def test_all_that_videolib_imports_is_installed():
    """The runs below see every library of this environment, and would not miss one."""
    lines, opencv = build_datastudio.requirements()
    assert opencv.startswith("opencv-python-headless>=")
    installed = {canonicalize_name(Requirement(line).name) for line in lines} | {"opencv-python", "ipython"}
    roots = set()
    for path in (ROOT / "videolib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                roots.add(node.module.split(".")[0])
    providers = packages_distributions()
    of_extras = {"huggingface_hub", "open_clip", "ray", "timm"}  # whose absence is told in a sentence
    for root in sorted(roots - sys.stdlib_module_names - {"videolib"} - of_extras):
        names = {name.lower().replace("_", "-") for name in providers[root]}
        assert names & installed, f"videolib imports {root}, which the set-up cell does not install"


@EACH
def test_the_gallery_copy_keeps_the_rules_of_the_collection(name, built):
    """The rules of resources/nb-check.py and nb-meta-check.py of singlestore-labs/spaces-notebooks."""
    folder = gallery(built, name)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", folder.name)
    assert sorted(path.name for path in folder.iterdir()) == ["meta.toml", "notebook.ipynb"]
    text = (folder / "notebook.ipynb").read_text(encoding="utf-8")
    content = json.loads(text)
    assert text == json.dumps(content, indent=2) + "\n"
    nbformat.validate(content)
    assert not any(key.startswith("singlestore") for key in content["metadata"])
    for cell in content["cells"]:
        assert cell["metadata"] == {}
        assert cell["source"] == [line.rstrip() + "\n" for line in cell["source"][:-1]] + [
            cell["source"][-1].rstrip()
        ]
        assert cell["source"][-1]
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not any(cell["outputs"] for cell in code)
    copied = ["".join("".join(cell["source"]).split()) for cell in content["cells"]]
    expected = ["".join(cell.source.split()) for cell in read(built, name).cells]
    # the text of the wheel stands in one line there
    assert [text.replace('"""', '"') for text in copied] == [text.replace('"""', '"') for text in expected]

    meta = tomllib.loads((folder / "meta.toml").read_text(encoding="utf-8"))["meta"]
    assert len(meta["title"]) > 20
    assert len(meta["description"]) > 20
    assert meta["authors"]
    assert meta["icon"] == "camera-movie"
    assert all(re.fullmatch("[a-z0-9]+", tag) for tag in meta["tags"])
    assert len(set(meta["tags"])) == len(meta["tags"])
    assert meta["lesson_areas"] == ["AI"]
    assert meta["destinations"] == ["spaces"]
    assert meta["minimum_tier"] == "free-shared"


DATA_STUDIO = """
from sqlalchemy import make_url
connection_url = {url!r}
_url = make_url(connection_url)
connection_user, connection_password = _url.username, _url.password
connection_host, connection_port = _url.host, str(_url.port)
get_ipython().run_line_magic("load_ext", "sql")
k, every_seconds = 2, 7.0  # a job's parameters
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A new virtual environment that has this one's libraries, but not videolib."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A .pth file adds a folder without running that folder's own, as which videolib is installed.
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "libraries.pth").write_text(here)
    done = subprocess.run(
        [folder / "bin" / "python", "-c", "import duckdb, videolib"],
        env=ALONE,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert "No module named 'videolib'" in done.stderr
    return folder


@pytest.fixture
def kernel(bare, tmp_path, monkeypatch, singlestore_url) -> str:
    """A kernel as Data Studio starts it: in the bare environment, the connection's variables set, `%sql` on."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "data_studio.py").write_text(DATA_STUDIO.format(url=str(singlestore_url)))
    spec = tmp_path / "jupyter" / "kernels" / "datastudio"
    spec.mkdir(parents=True)
    environment = {
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "VIDEOLIB_DATA_DIR": str(tmp_path / "data"),
        "PYTHONPATH": "",
        "SINGLESTOREDB_URL": singlestore_url,
        "DATABASE_URL": singlestore_url,  # what %sql connects to by itself
        "PLOOMBER_STATS_ENABLED": "false",
    }
    argv = [str(bare / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    content = {"argv": argv, "env": environment, "display_name": "Data Studio", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(content))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    return "datastudio"


@EACH
def test_it_runs_without_videolib_as_in_data_studio(name, built, kernel, tmp_path, singlestore_url):
    notebook = read(built, name)
    notebook.cells.append(nbformat.v4.new_code_cell("%sql SELECT COUNT(*) AS n FROM frames"))
    source, folder = tmp_path / "source.ipynb", tmp_path / "run"
    nbformat.write(notebook, source)
    folder.mkdir()
    done = papermill.execute_notebook(
        source,
        folder / "out.ipynb",
        {"every_seconds": 10.0},
        cwd=folder,
        progress_bar=False,
        request_save_on_cell_execute=False,  # 10 MB each time
        kernel_name=kernel,
    )
    made = {"moment.mp4", "sample_pairs", "sample_videos"}  # what 06, 08 and 09 make
    assert set(os.listdir(folder)) - made == {"out.ipynb"}
    assert not (tmp_path / "data").exists()  # no DuckDB file
    videos = FrameStore(singlestore_url).list_videos()
    assert videos["complete"].all()
    assert set(videos["every_seconds"]) == {10.0}  # papermill's, neither the job's nor the default
    counts = {"08_benchmark": [1] * 24, "09_many_videos": [1, 1, 2, 2]}.get(name, [15])
    assert sorted(videos["frame_count"]) == counts
    assert str(sum(counts)) in str(done.cells[-1].outputs)
    for cell in done.cells:
        if "matches" in cell.metadata.get("tags", []):
            assert len(cell.outputs[0]["data"]["text/plain"].splitlines()) == 1 + 2  # the job's k

    password = make_url(singlestore_url).password
    assert password
    for path in (built / f"{name}.ipynb", folder / "out.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert password not in text
        assert quote(password) not in text
