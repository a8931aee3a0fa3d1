"""A local HTTP server whose answers are scripted: complete, cut, stalled, lying."""

import hashlib
import random
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

BODY, OTHER = (random.Random(seed).randbytes(300_000) for seed in (0, 1))
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 338000000\n"


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@dataclass(frozen=True)
class Reply:
    """One answer; the defaults are those of a well-behaved file server."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/octet-stream"
    content_encoding: str = ""
    etag: str = ""
    last_modified: str = ""
    location: str = ""
    accepts_ranges: bool = True
    honours_if_range: bool = True
    tells_length: bool = True
    range_start: int | None = None  # where every partial answer starts, whatever was asked for
    longest_range: int | None = None  # bytes of one partial answer, as some caches limit it
    cut_after: int | None = None  # bytes of the body, then the connection is closed
    wait_after: int | None = None  # bytes of the body, then silence for wait_seconds
    wait_seconds: float = 30.0
    wait_between: float | None = None  # seconds after each byte of the body
    content_length: str = ""  # what the server says, whatever is true
    endless: bool = False
    silent: bool = False  # the connection stands, and no answer comes


class FileServer:
    """Answers each address with its replies in turn, the last one for ever, and remembers the requests."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.requests: list[dict[str, str]] = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(dict(self.headers))
                replies = server.replies.get(self.path.partition("?")[0], [Reply(status=404)])
                server.answer(self, replies.pop(0) if len(replies) > 1 else replies[0])

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True

    def add(self, path: str, *replies: Reply) -> str:
        """Script the answers at `path`; returns its URL."""
        self.replies[path] = list(replies)
        return f"http://127.0.0.1:{self.http.server_port}{path}"

    def answer(self, request: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.silent:
            self.closing.wait()
            return
        version = reply.etag or reply.last_modified
        span = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        condition = request.headers.get("If-Range", version)
        partial = span and reply.accepts_ranges and (condition == version or not reply.honours_if_range)
        start, end, status = 0, len(reply.body), reply.status
        if span and partial and status == 200:
            start = int(span[1]) if reply.range_start is None else reply.range_start
            status = 206 if start < len(reply.body) else 416
            end = min(end, start + (reply.longest_range or end))
        request.send_response(status)
        request.send_header("Content-Type", reply.content_type)
        fields = {"ETag": reply.etag, "Last-Modified": reply.last_modified, "Location": reply.location}
        fields["Content-Encoding"] = reply.content_encoding
        if status == 206:
            fields["Content-Range"] = f"bytes {start}-{end - 1}/{len(reply.body)}"
        if reply.tells_length and not reply.endless:
            fields["Content-Length"] = str(max(end - start, 0))
        fields["Content-Length"] = reply.content_length or fields.get("Content-Length", "")
        for name, value in fields.items():
            if value:
                request.send_header(name, value)
        request.end_headers()
        try:
            self.send_body(request, reply, reply.body[start:end])
        except (BrokenPipeError, ConnectionResetError):
            return  # the client has had enough

    def send_body(self, request: BaseHTTPRequestHandler, reply: Reply, body: bytes) -> None:
        if reply.wait_after is not None:
            request.wfile.write(body[: reply.wait_after])
            self.closing.wait(reply.wait_seconds)
            body = body[reply.wait_after :]
        if reply.wait_between is not None:
            for place in range(len(body)):
                request.wfile.write(body[place : place + 1])
                if self.closing.wait(reply.wait_between):
                    return
            return
        request.wfile.write(body[: reply.cut_after])
        while reply.endless and not self.closing.is_set():
            request.wfile.write(body)


@contextmanager
def file_server() -> Iterator[FileServer]:
    server = FileServer()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def refusing_url(path: str) -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}{path}"


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A file server of a test's own."""
    with file_server() as running:
        yield running
