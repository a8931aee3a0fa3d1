"""Fixtures for tests that talk to SingleStore: a real server where SINGLESTOREDB_URL is set, else the stand-in.

`tests/conftest.py` imports them for all test modules. With REQUIRE_SINGLESTORE=1 the stand-in is not enough:
what needs SingleStore then fails without SINGLESTOREDB_URL.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import singlestoredb
from sqlalchemy import make_url

from tests.singlestore_standin import StandIn


class SecretUrl(str):
    """A URL whose password stays out of pytest's tracebacks."""

    def __repr__(self) -> str:
        return repr(make_url(self).render_as_string())


@pytest.fixture(scope="session")
def _standin() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


@pytest.fixture
def standin(_standin: StandIn) -> StandIn:
    """The stand-in itself, for what no real server can do: faults, and a list of what it received."""
    _standin.clear()
    return _standin


@pytest.fixture
def real_singlestore_url() -> str:
    """SINGLESTOREDB_URL; skips without it, or fails where REQUIRE_SINGLESTORE=1."""
    url = os.environ.get("SINGLESTOREDB_URL")
    if url:
        return SecretUrl(url if "://" in url else f"singlestoredb://{url}")
    if os.environ.get("REQUIRE_SINGLESTORE") == "1":
        pytest.fail("REQUIRE_SINGLESTORE=1 needs a server's address in SINGLESTOREDB_URL")
    pytest.skip("needs a server's address in SINGLESTOREDB_URL")


@pytest.fixture
def singlestore_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database, which is dropped after the test.

    The one database of a shared tier is used where it is empty, and emptied after the test.
    """
    if "SINGLESTOREDB_URL" in os.environ or os.environ.get("REQUIRE_SINGLESTORE") == "1":
        server = request.getfixturevalue("real_singlestore_url")
    else:
        server = request.getfixturevalue("standin").url()
    with singlestoredb.connect(server, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW VARIABLES LIKE 'is_shared_tier'")
        if ("is_shared_tier", "ON") in [(name, value.upper()) for name, value in cursor.fetchall()]:
            cursor.execute("SHOW TABLES")
            if tables := [name for (name,) in cursor.fetchall()]:
                pytest.fail(f"SINGLESTOREDB_URL must lead to an empty database, got the tables {tables}")
            yield server
            cursor.execute("SHOW TABLES")
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP TABLE `{name}`")
        else:
            database = f"videolib_test_{uuid.uuid4().hex[:8]}"
            cursor.execute(f"CREATE DATABASE {database}")
            yield SecretUrl(make_url(server).set(database=database).render_as_string(hide_password=False))
            cursor.execute(f"DROP DATABASE {database}")


def make_certificate(folder: Path, host: str = "127.0.0.1") -> Path:
    """Make a PEM file with a self-signed certificate of this address and its key, for StandIn(tls=...)."""
    path = folder / f"{host}.pem"
    kind = "IP" if host.replace(".", "").isdigit() else "DNS"
    command = [
        "openssl",
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]
    names = ["-subj", f"/CN={host}", "-addext", f"subjectAltName={kind}:{host}", "-days", "2"]
    subprocess.run(
        [*command, *names, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True
    )
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path
