"""Write docs/api.md from the docstrings of the public names."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import videolib

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "api.md"
HEAD = """\
# The public names

`from videolib import …`; made from the docstrings by `tools/make_api_page.py`. Shapes: (n, d) is n embeddings of
length d; times are seconds from the first shown frame; `frame_number` counts from 1.
"""


def describe(name: str, thing: object, level: int) -> str:
    """One name as a heading, its signature and its docstring, and those of its public methods."""
    text = inspect.getdoc(thing) or ""
    signature = "" if inspect.isclass(thing) and issubclass(thing, Exception) else _signature(thing)
    own = name.rpartition(".")[2]
    entry = f"{'#' * level} {name}\n\n```text\n{own}{signature}\n\n{text}\n```\n"
    if inspect.isclass(thing):
        for method in dir(thing):
            member = inspect.getattr_static(thing, method)
            if not method.startswith("_") and inspect.isfunction(member) and member.__doc__:
                entry += "\n" + describe(f"{name}.{method}", getattr(thing, method), level + 1)
    return entry


def _signature(thing: object) -> str:
    if not callable(thing) or getattr(thing, "_is_protocol", False):
        return ""
    signature = inspect.signature(thing)
    parts = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        if parameter.name != "self":
            parts.append(_plain(parameter))
    returned = (
        ""
        if inspect.isclass(thing)
        else f" -> {_plain(inspect.formatannotation(signature.return_annotation))}"
    )
    line = f"({', '.join(parts)}){returned}"
    if len(line) < 90:
        return line
    return "(\n" + "".join(f"    {part},\n" for part in parts) + f"){returned}"


def _plain(annotated: object) -> str:
    """An annotation without the quotes that postponed ones have."""
    text = str(annotated)
    return (
        re.sub(r"((?:: |^))'([^']*)'(?= = |$)", r"\1\2", text)
        if "Literal" not in text
        else text.replace('"', "")
    )


def sections() -> dict[str, list[str]]:
    """The public names by the room or module of the ground that they come from."""
    stub = ast.parse((ROOT / "videolib" / "__init__.pyi").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.setdefault(node.module, []).extend(alias.name for alias in node.names)
    return found


def main(target: Path = TARGET) -> None:
    """Write the page."""
    page = HEAD
    for module, names in sections().items():
        page += f"\n## videolib.{module}\n"
        for name in sorted(names, key=str.lower):
            page += "\n" + describe(name, getattr(videolib, name), 3)
    target.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
