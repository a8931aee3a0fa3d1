"""What is an address and what a path, and what of an address may be shown."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import URL

# `Path` makes one slash of two. One letter is a drive of Windows, not a scheme.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/+", re.IGNORECASE)


class Secret(str):
    """A text with a password in it, which no repr shows: not in a dict, and not in a traceback with its locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return self  # else str() would make a plain one of it


def printable(name: str) -> str:
    """Replace what Python keeps of a file name's bytes that are not UTF-8: no database and no file takes it."""
    return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", name)


def is_address(source: object) -> bool:
    """Tell a URL from a path."""
    if not isinstance(source, str | os.PathLike):
        return False
    text = os.fspath(source)
    return isinstance(text, str) and ("://" in text or _SCHEME.match(text) is not None)


def local_path(path: str | os.PathLike[str]) -> Path:
    """Write out the ~ of a path, wherever one is taken; what begins with ~ and names nobody stays as it is."""
    return Path(os.path.expanduser(path))


def store_file(name: str) -> Path:
    """Tell the file of a store that nobody named: the same one wherever the program runs."""
    folder = local_path(os.environ.get("VIDEOLIB_DATA_DIR") or "~/.local/share/videolib").absolute()
    file = folder / f"{name}.duckdb"
    if not file.exists() and (earlier := Path(file.name).absolute()).exists():
        warnings.warn(
            f"{earlier} is not used, for a store without a path is {file} now: give the path, or move it there",
            stacklevel=2,
        )
    return file


def hide_secrets(source: str | os.PathLike[str]) -> str:
    """Cut user, password, query and fragment off a URL, for messages and the store; a path stays as it is.

    A password with characters that should be written as %XX makes an address that no parser reads as it was
    meant: up to the last @ that may end it, all is hidden.
    """
    text = os.fspath(source)
    if not is_address(text):
        return text
    scheme, _, rest = text.partition(":")
    rest = rest.lstrip("/")
    shown = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority = shown.partition("/")[0]
    if "@" in authority or (":" in authority and "@" in rest):
        shown = shown.rpartition("@")[2] if "@" in shown else "…"
    return f"{scheme}://{shown}"


def hide_password(url: URL) -> URL:
    """Leave the password out of a database's URL, for engines too: a repr, a message or %sql would show it."""
    query = {name: value for name, value in url.query.items() if name != "password"}
    return url.create(url.drivername, url.username, None, url.host, url.port, url.database, query)
