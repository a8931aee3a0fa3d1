"""The house: which room may import which, by its face alone, and what a first use loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import videolib

PACKAGE = Path(videolib.__file__).parent
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.pyi")}
GROUND = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} | {"demo"}
# Who may use whom, beside the ground.
ARROWS = {
    "video": set(),
    "search": {"encoding"},  # the protocol of an encoder, for type checkers alone
    "encoding": {"search"},  # normalize: the one place where embeddings get unit length
    "store": {
        "search",
        "encoding",
    },  # the table of matches and the index in memory; of encoding the protocol alone
    "ingestion": {"video", "encoding", "store"},
    "display": {"video", "search", "store", "encoding"},  # of encoding the protocol alone
}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}
USERS = [*PACKAGE.parent.glob("benchmarks/*.py"), *PACKAGE.parent.glob("tools/*.py")]


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each import of videolib in a file: the module without `videolib.`, and the names taken from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            if module == "videolib" or module.startswith("videolib."):
                yield module[len("videolib.") :], [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name[9:], []) for alias in node.names if alias.name.startswith("videolib."))


def face(room: str) -> set[str]:
    """The names that a room's stub offers."""
    tree = ast.parse((PACKAGE / room / "__init__.pyi").read_text(encoding="utf-8"))
    return {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_the_rooms_are_those_of_the_plan():
    assert ARROWS.keys() == ROOMS


@pytest.mark.parametrize("name", MODULES)
def test_a_module_takes_from_the_ground_its_own_room_and_the_faces_it_may_see(name):
    room = name.partition(".")[0] if "." in name else None
    for module, names in imports(MODULES[name]):
        first, _, inner = module.partition(".")
        if first in GROUND:
            assert not inner
        elif first != room:
            assert not inner, f"{name} reaches behind the face of {first}"
            assert room in ARROWS, f"{name} stands on the ground and uses {module}"
            assert first in ARROWS[room], f"{name} must not use {first}"
            assert set(names) <= face(first)
        assert not any(each.startswith("_") for each in names), f"{name} takes a private name of {module}"


@pytest.mark.parametrize("path", USERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_tools_and_benchmarks_take_no_private_name(path):
    for module, names in imports(path):
        assert not any(each.startswith("_") for each in names), module


def test_there_is_no_circle():
    """Imports for type checkers and inside functions do not count: they run when all is there."""
    graph = {}
    for name, path in MODULES.items():
        top = ast.parse(path.read_text(encoding="utf-8")).body
        wanted = {node.module.removeprefix("videolib.") for node in top if isinstance(node, ast.ImportFrom)}
        graph[name] = {
            each for module in wanted for each in MODULES if each == module or each.startswith(f"{module}.")
        } - {name}
    assert list(TopologicalSorter(graph).static_order())


def test_no_public_name_is_that_of_a_module_beside_it():
    """Else `import videolib.name as module` would give a function."""
    for folder in (PACKAGE, *(PACKAGE / room for room in ROOMS)):
        names = face(folder.relative_to(PACKAGE).as_posix())
        assert not names & {path.stem for path in folder.iterdir()}


def test_every_face_gives_what_its_stub_promises():
    for room in ("", *sorted(ROOMS)):
        module = __import__(f"videolib.{room}".rstrip("."), fromlist=["_"])
        assert set(dir(module)) == set(module.__all__) == face(room)
        assert all(getattr(module, name).__doc__ or name.isupper() for name in module.__all__)


LIBRARIES = {
    *("av", "cv2", "duckdb", "IPython", "matplotlib", "pandas", "PIL", "requests", "scenedetect"),
    *("singlestoredb", "sqlalchemy", "torch", "tqdm"),
}
STORE = "store = videolib.FrameStore(':memory:'); store.list_videos(); store.search([1.0])"


@pytest.mark.parametrize(
    ("call", "loaded"),
    [
        ("pass", set()),
        ("dir(videolib)", set()),
        ("next(videolib.extract_frames(SAMPLE))", {"av"}),
        ("videolib.top_k(videolib.similarity([1.0], [[1.0]]), 1)", set()),
        (STORE, {"duckdb", "pandas", "sqlalchemy"}),
        ("videolib.ClipEncoder('demo', device='cpu')", {"cv2", "PIL", "requests", "torch", "tqdm"}),
        ("videolib.plot_frames", {"cv2", "matplotlib", "pandas", "PIL"}),
    ],
)
def test_a_first_use_loads_no_more_than_it_needs(call, loaded, tmp_path):
    script = f"import sys, videolib; from videolib.demo import SAMPLE_VIDEO_PATH as SAMPLE; {call}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True, cwd=tmp_path
    )
    assert LIBRARIES.intersection(done.stdout.split()) <= loaded


def test_importing_videolib_loads_the_standard_library_alone_and_the_loader():
    script = "import sys; before = set(sys.modules); import videolib; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    assert roots - sys.stdlib_module_names == {"lazy_loader", "videolib"}
