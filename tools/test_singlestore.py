"""Run the tests that know SingleStore against a real server: that of SINGLESTOREDB_URL, else one in Docker.

The Docker image is SingleStore's, started by its own client library, which needs the package `docker`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "pytest", "-m", "singlestore"]


def run(url: str) -> int:
    """Run the marked tests; without a server they fail."""
    environment = os.environ | {"SINGLESTOREDB_URL": url, "REQUIRE_SINGLESTORE": "1"}
    return subprocess.run(COMMAND, cwd=ROOT, env=environment).returncode


def main() -> int:
    """Find or start a server."""
    if url := os.environ.get("SINGLESTOREDB_URL"):
        return run(url)
    from singlestoredb.server import docker

    with docker.start(database="videolib_tests") as server:
        return run(server.connection_url)


if __name__ == "__main__":
    sys.exit(main())
