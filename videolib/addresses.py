"""What is an address and what a path, and what of an address may be shown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from sqlalchemy import URL


def is_address(source: object) -> bool:
    """Tell a URL from a path."""
    return isinstance(source, str | os.PathLike) and "://" in str(os.fspath(source))


def hide_secrets(source: str) -> str:
    """Cut user, password, query and fragment off a URL, for messages and the store; a path stays as it is."""
    if not is_address(source):
        return source
    parts = urlsplit(source)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def hide_password(url: URL) -> URL:
    """Leave the password out of a database's URL, for engines too: a repr, a message or %sql would show it."""
    query = {name: value for name, value in url.query.items() if name != "password"}
    return url.create(url.drivername, url.username, None, url.host, url.port, url.database, query)
