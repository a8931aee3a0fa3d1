"""A stand-in for SingleStore, for tests only. It is NOT SingleStore.

It speaks the MySQL wire protocol and answers, from an in-memory DuckDB, the statements that videolib and the
article send; any other is error 1064, never a guess. It shows that the client, the dialect and videolib work
together, and how they take faults. It says nothing about what a real server accepts, its plans, its vector
indexes (every search here is exact), its isolation (here a transaction is a snapshot, and a refused statement
ends it) or its speed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

ROOT = Path(__file__).parents[2]
USER = "tester"


class StandIn:
    """The stand-in in a process of its own on 127.0.0.1, controlled over its standard input and output.

    A process and not a thread: a forgotten client connection may be finalised in any thread of its process,
    and would wait there for an answer that the same thread has to give.

    Parameters
    ----------
    databases
        Names of the databases that are there from the start.
    shared_tier
        Behave as the free shared tier: no database can be created or dropped.
    tls
        A PEM file with certificate and key; without it the server offers no TLS.
    password
        Of the only user, ``tester``.
    """

    def __init__(
        self,
        databases: Sequence[str] = ("videos",),
        *,
        shared_tier: bool = False,
        tls: str | os.PathLike[str] | None = None,
        password: str = "correct horse",
    ) -> None:
        self.password = password
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.singlestore_standin.server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self._ask(
            databases=list(databases),
            shared_tier=shared_tier,
            certificate=tls and os.fspath(tls),
            user=USER,
            password=password,
        )

    def url(self, database: str = "videos", scheme: str = "singlestoredb", **options: Any) -> str:
        """Build a connection URL; options are those of the client, such as ``autocommit="false"``."""
        query = f"?{urlencode(options)}" if options else ""
        return f"{scheme}://{USER}:{quote(self.password)}@127.0.0.1:{self.port}/{database}{query}"

    def statements(self) -> list[str]:
        """List the statements received since the last clear(), oldest first, long literals shortened."""
        return [text for text, _ in self._ask(action="log")]

    def sizes(self) -> list[int]:
        """List the bytes of each of these statements, as they came."""
        return [size for _, size in self._ask(action="log")]

    @property
    def bytes_received(self) -> int:
        """Bytes of all these statements."""
        return sum(self.sizes())

    def fault(self, action: str, *, match: str = ".", nth: int = 1, **details: Any) -> None:
        """Plan one fault.

        Parameters
        ----------
        action
            ``drop_before``: the connection is closed, the statement not applied. ``drop_after``: applied,
            then closed before the answer. ``cut``: closed after the first 4096 bytes of the statement.
            ``cut_reply``: closed half way through the answer. ``error``: refused with ``code`` (and
            ``message``). ``slow``: answered ``seconds`` later.
        match
            Regular expression that the statement must begin with, in any case; it sees the first 4096 bytes.
        nth
            Which of these statements fails, counted from 1.
        """
        self._ask(action="fault", fault={"action": action, "match": match, "nth": nth, **details})

    def clear(self) -> None:
        """Forget the statements and the faults."""
        self._ask(action="clear")

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=10)

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the stand-in has ended with exit status {self._process.wait(10)}")
        return json.loads(answer)
