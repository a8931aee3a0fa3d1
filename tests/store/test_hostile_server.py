"""A server that asks for what it must not get. 127.1 leads here, but is no name of this machine that videolib knows."""

import socket
import struct
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.singlestore_standin import StandIn
from videolib import FrameStore, StoreError

PASSWORD = "secret-word"
CONNECT_WITH_DB, PROTOCOL_41, SSL, SECURE, PLUGIN_AUTH = 8, 0x200, 0x800, 0x8000, 0x80000
OK = b"\0\0\0\2\0\0\0"


def packet(number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def greeting(plugin: str, flags: int) -> bytes:
    """Of the handshake protocol, version 10, as MySQL documents it."""
    low, high = struct.pack("<I", flags)[:2], struct.pack("<I", flags)[2:]
    nonce = b"abcdefghijklmnopqrst"
    head = b"\x0a5.7.32\0" + struct.pack("<I", 1) + nonce[:8] + b"\0" + low + b"\x2d\2\0" + high + b"\x15"
    return packet(0, head + bytes(10) + nonce[8:] + b"\0" + plugin.encode() + b"\0")


class HostileServer:
    """Greets, asks for another way to log in, takes any answer, and remembers every byte that comes."""

    def __init__(self, plugin: str, switch_to: bytes, flags: int, answer: bytes) -> None:
        self.plugin, self.switch_to, self.answer = plugin, switch_to, answer
        self.flags = flags | CONNECT_WITH_DB | PROTOCOL_41 | SECURE | PLUGIN_AUTH
        self.received = b""
        self.logins = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            try:
                line, _ = self.listener.accept()
            except OSError:  # closed: the test has ended
                return
            with line:
                line.settimeout(10)
                try:
                    self.talk(line)
                except OSError:
                    continue

    def talk(self, line: socket.socket) -> None:
        line.sendall(greeting(self.plugin, self.flags))
        if not self.take(line):
            return
        self.logins += 1
        if self.switch_to:
            line.sendall(packet(2, b"\xfe" + self.switch_to))
            if not self.take(line):
                return
            line.sendall(packet(4, OK))
        else:
            line.sendall(packet(2, OK))
        while data := self.take(line):
            line.sendall(packet(1, OK if b"SET" in data or b"ROLLBACK" in data else self.answer))

    def take(self, line: socket.socket) -> bytes:
        data = line.recv(65536)
        self.received += data
        return data


@contextmanager
def hostile_server(
    plugin: str = "mysql_native_password", switch_to: bytes = b"", flags: int = 0, answer: bytes = OK
) -> Iterator[HostileServer]:
    server = HostileServer(plugin, switch_to, flags, answer)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        thread.join(10)


def open_store(server: HostileServer, host: str, query: str = "") -> FrameStore:
    url = f"singlestoredb://tester:{PASSWORD}@{host}:{server.port}/videos{query}"
    return FrameStore(url, retry_seconds=0)


SWITCHES = [b"mysql_clear_password\0", b"dialog\0\1Password: ", b"mysql_old_password\0abcdefgh\0"]


@pytest.mark.parametrize("query", ["", "?ssl_verify_cert=false", "?ssl_cipher=", "?track_env=true"])
@pytest.mark.parametrize("switch_to", [*SWITCHES, b""])
def test_nothing_of_the_login_is_sent_without_tls(switch_to: bytes, query: str) -> None:
    with hostile_server(switch_to=switch_to) as server:
        with pytest.raises(StoreError, match=r"'127.1' must offer TLS.*add \?ssl_disabled=true"):
            open_store(server, "127.1", query).list_videos()
        assert server.received == b""


def test_a_server_that_promises_tls_and_breaks_it_off_gets_no_login() -> None:
    with hostile_server(switch_to=SWITCHES[0], flags=SSL) as server:
        with pytest.raises(StoreError):
            open_store(server, "127.1").list_videos()
        assert b"tester" not in server.received
        assert PASSWORD.encode() not in server.received


@pytest.mark.parametrize("plugin", ["mysql_native_password", "sha256_password"])
@pytest.mark.parametrize("switch_to", SWITCHES)
def test_a_local_server_without_tls_gets_no_password_in_clear(switch_to: bytes, plugin: str) -> None:
    with hostile_server(plugin, switch_to) as server:
        with pytest.raises(StoreError, match=r"'127.0.0.1'.*asks for the password in clear"):
            open_store(server, "127.0.0.1").list_videos()
        assert server.logins > 0
        assert PASSWORD.encode() not in server.received


def test_tls_that_is_switched_off_on_purpose_stays_off() -> None:
    with hostile_server(switch_to=SWITCHES[0]) as server:
        store = open_store(server, "127.1", "?ssl_disabled=true")
        with pytest.raises(StoreError):  # it answers every question with "done"
            store.list_videos()
        assert PASSWORD.encode() in server.received


@pytest.mark.parametrize("value", ["true", "1", "false"])
@pytest.mark.parametrize("name", ["local_infile", "LOCAL_INFILE"])
def test_files_of_this_machine_are_not_for_an_address_to_give_away(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="url must leave out local_infile"):
        FrameStore(f"singlestoredb://tester@127.0.0.1/videos?{name}={value}")


@pytest.mark.parametrize("url", ["singlestoredb+http://u:{}@h/db", "singlestoredb://u:{}@h/db?driver=http"])
def test_a_line_that_cannot_be_guarded_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url must") as caught:
        FrameStore(url.format(PASSWORD))
    assert PASSWORD not in str(caught.value)


def test_a_server_that_asks_for_a_local_file_gets_none(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "private.txt"
    path.write_text("what is mine")
    monkeypatch.setenv("SINGLESTOREDB_LOCAL_INFILE", "1")
    with hostile_server(answer=b"\xfb" + bytes(path)) as server:
        store = open_store(server, "127.0.0.1")
        with pytest.raises(StoreError, match=r"asks for a file of this machine.*LOCAL INFILE") as caught:
            store.list_videos()
        assert b"what is mine" not in server.received
        assert str(caught.value).endswith("or use another database")


def all_shown(error: BaseException) -> str:
    """Tracebacks of an error and its causes, with the locals of every frame but those of this file."""
    text = ""
    each: BaseException | None = error
    while each is not None:
        text += str(each)
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if frame.f_code.co_filename != __file__:
                text += "".join(f"{name} = {value!r}\n" for name, value in frame.f_locals.items())
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return text


@pytest.mark.parametrize(
    "url",
    [
        "singlestoredb://tester:{}@127.1:{}/videos",
        "singlestoredb://tester:{}@127.0.0.1:{}/videos",
        "singlestoredb://tester@127.0.0.1:{1}/videos?password={0}",
        "singlestoredb://tester:{}@127.0.0.1:1/videos",
        "singlestoredb://tester:{}@127.0.0.1:{}/videos?driver=http",
        "singlestoredb://tester:{}@127.0.0.1:{}",
        "mysql://tester:{}@127.0.0.1/videos",
        "tester:/{}@127.0.0.1:{}/videos",
        "tester:a@{}@127.0.0.1:{}/videos",
        "duckdb://tester:{}@host/videos.duckdb",
        "singlestoredb:/tester:{}@127.0.0.1/videos",
        "nonsense",
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_password_is_in_no_traceback_and_no_parameter(url: str, kind: type, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    if kind is Path and "://" not in url and ":/" not in url:
        return  # the name of a file
    with hostile_server(switch_to=SWITCHES[0]) as server:
        try:
            store = FrameStore(kind(url.format(PASSWORD, server.port)), retry_seconds=0)
            shown = repr(store) + store.url + repr(store.engine) + repr(vars(store))
            store.list_videos()
        except (StoreError, ValueError) as error:
            shown = all_shown(error)
        assert PASSWORD not in shown
        assert not list(tmp_path.iterdir()) or url == "nonsense"


def test_a_password_is_not_in_the_parameters_of_a_connection() -> None:
    with StandIn(password=PASSWORD) as server, FrameStore(server.url()).engine.connect() as connection:
        line = connection.connection.driver_connection
        assert PASSWORD not in repr(line.connection_params)


def test_a_token_of_duckdb_is_not_shown(tmp_path: Path) -> None:
    store = FrameStore(f"duckdb:///{tmp_path}/store.duckdb?motherduck_token={PASSWORD}")
    assert PASSWORD not in repr(store) + store.url + repr(store.engine)
    (tmp_path / "store.duckdb").touch()
    with pytest.raises(StoreError) as caught:
        store.list_videos()
    assert "there is no store" not in str(caught.value)
    assert PASSWORD not in all_shown(caught.value)
