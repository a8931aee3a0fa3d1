"""Documentation tied to the code: what it names is there, and what is there is named."""

import ast
import re
from pathlib import Path

import pytest

import videolib
from tools import make_api_page

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "videolib" / "demo" / "README.md"])
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_each_public_name_has_its_place_on_the_api_page():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### (\w+)$", page, re.M)) == sorted(videolib.__all__)


def test_the_api_page_is_made_from_the_docstrings_as_they_are(tmp_path):
    make_api_page.main(tmp_path / "api.md")
    made = (tmp_path / "api.md").read_text(encoding="utf-8")
    assert made == (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), "run `make format`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_picture_inside_the_project_exists(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_make_target_it_names_exists(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:videolib|tests|tools|notebooks|docs|benchmarks)/[\w./]*)`", text):
        assert (ROOT / name).exists(), name
    targets = set(re.findall(r"^([\w-]+):", MAKEFILE, re.M))
    assert set(re.findall(r"`make ([\w-]+)`", text)) <= targets


def defined() -> set[str]:
    """The names of all functions and classes of the library."""
    names = set()
    for path in (ROOT / "videolib").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return names


@pytest.mark.parametrize("name", ["walk.md", "decoding.md"])
def test_the_walks_name_what_is_in_the_code(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Za-z_]\w*)\(\)`", text))
    assert len(named) >= 5
    assert named <= defined()
