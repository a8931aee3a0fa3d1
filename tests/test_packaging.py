import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_USERS = PROJECT["dependencies"] + EXTRAS["notebooks"] + EXTRAS["singlestore"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
CONDA_NAMES = {"pytorch": "torch", "py-opencv": "opencv-python", "python-duckdb": "duckdb"}
ASKED_FOR = {"jupyterlab", "torch", "clip-anytorch", "opencv-python", "pandas", "numpy", "matplotlib", "tqdm"}
ASKED_FOR |= {"requests", "sqlalchemy", "singlestoredb", "ipywidgets", "papermill"}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines]
    return {requirement.name.lower(): requirement for requirement in found}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    names = [name.lower().replace("_", "-") for name, _ in pairs]
    assert len(set(names)) == len(names)
    return dict(zip(names, (version for _, version in pairs), strict=True))


def test_every_dependency_has_one_pin_within_its_range():
    extra = [line for lines in EXTRAS.values() for line in lines if not line.startswith("videolib[")]
    for name, requirement in requirements(PROJECT["dependencies"] + extra).items():
        name = name.replace("_", "-")
        assert name in pins(), f"constraints.txt has no {name}"
        assert requirement.specifier.contains(pins()[name]), f"{name} {pins()[name]} is outside {requirement}"


def test_the_conda_environment_is_the_same():
    pip = next(entry["pip"] for entry in ENVIRONMENT if isinstance(entry, dict))
    conda = [line for line in ENVIRONMENT if isinstance(line, str)]
    conda = [line for line in conda if Requirement(line).name not in ("python", "pip")]
    named = requirements(conda + [line for line in pip if not line.startswith("--")])
    renamed = {CONDA_NAMES.get(name, name): requirement.specifier for name, requirement in named.items()}
    assert renamed == {name: item.specifier for name, item in requirements(FOR_USERS).items()}


def test_every_line_of_the_conda_environment_says_why():
    lines = (ROOT / "environment.yml").read_text().splitlines()
    entries = [
        line for line in lines if line.strip().startswith("- ") and not line.endswith(("conda-forge", "pip:"))
    ]
    assert all("  # " in line for line in entries)


def test_the_parts_that_users_named_are_there():
    assert set(requirements(FOR_USERS)) >= ASKED_FOR


def test_the_installed_version_is_the_one_of_the_project():
    from importlib.metadata import version

    assert version("videolib") == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


PAGE = """
import json
from jupyterlab_server.config import get_page_config
from jupyter_core.paths import jupyter_path
page = get_page_config(jupyter_path("labextensions"))
print(json.dumps([[each["name"] for each in page["federated_extensions"]], page["disabledExtensions"]]))
"""


@pytest.mark.slow
def test_jupysql_puts_no_button_into_the_notebooks(tmp_path):
    """Its part in the browser comes with the package; what the Makefile runs after installing switches it off."""
    (line,) = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if "labextensions disable" in line
    ]
    command = line.strip().removeprefix(".venv/bin/python ").split()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    (packages,) = tmp_path.glob("lib/python*/site-packages")
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "libraries.pth").write_text(here)
    python = tmp_path / "bin" / "python"
    environment = os.environ | {
        "HOME": str(tmp_path),
        "JUPYTER_PATH": str(Path(sys.prefix, "share", "jupyter")),
    }

    def page() -> tuple[list[str], list[str]]:
        told = subprocess.run(
            [python, "-c", PAGE], env=environment, check=True, capture_output=True, text=True
        )
        return json.loads(told.stdout)

    found, disabled = page()
    assert "jupysql-plugin" in found
    assert "jupysql-plugin" not in disabled
    subprocess.run([python, *command], env=environment, check=True)
    assert "jupysql-plugin" in page()[1]
