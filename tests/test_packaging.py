import tomllib
from pathlib import Path

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
