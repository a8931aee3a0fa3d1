"""The stand-in's process: the MySQL wire protocol with planned faults, and control by lines of JSON.

The packets are mysql-mimic's; its server is not used, because it goes on after a refused login, loses the
start of a TLS handshake that comes early, and has no place for faults or for SingleStore's vector metadata.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from mysql_mimic import packets
from mysql_mimic.auth import NativePasswordAuthPlugin, User
from mysql_mimic.charset import CharacterSet
from mysql_mimic.types import (
    Capabilities,
    ColumnType,
    Commands,
    ServerStatus,
    str_len,
    uint_1,
    uint_2,
    uint_4,
    uint_len,
)

from tests.singlestore_standin.engine import Engine, Result, Session
from tests.singlestore_standin.syntax import SqlError, dimension_of, dtype_of, shorten

CAPABILITIES = (
    Capabilities.CLIENT_PROTOCOL_41
    | Capabilities.CLIENT_LONG_PASSWORD
    | Capabilities.CLIENT_FOUND_ROWS
    | Capabilities.CLIENT_CONNECT_WITH_DB
    | Capabilities.CLIENT_TRANSACTIONS
    | Capabilities.CLIENT_SECURE_CONNECTION
    | Capabilities.CLIENT_PLUGIN_AUTH
    | Capabilities.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
    | Capabilities.CLIENT_CONNECT_ATTRS
)
LONGEST_PACKET = 0xFFFFFF
HEAD = 4096  # bytes of a statement that faults look at
BINARY, UTF8 = 63, 45  # character sets
VECTOR_OF = {"<f4": 1, "<f2": 7}


@dataclass
class Fault:
    action: str
    match: str
    nth: int
    code: int = 1105
    message: str = "planned by the test"
    seconds: float = 0.0


@dataclass
class Control:
    """What the test asks for and what it asks about; shared by all connections."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    log: list[tuple[str, int]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def take_fault(self, head: bytes) -> Fault | None:
        """Find the fault that is due at this statement, and forget it."""
        text = head.decode(errors="replace").lstrip()
        due = None
        with self.lock:
            for fault in list(self.faults):
                if re.match(fault.match, text, re.IGNORECASE | re.DOTALL):
                    fault.nth -= 1
                    if fault.nth == 0:
                        self.faults.remove(fault)
                        due = due or fault
        return due


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(
        self, databases: list[str], shared_tier: bool, certificate: str | None, user: str, password: str
    ) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.engine = Engine(databases, shared_tier)
        self.control = Control()
        self.user = User(user, NativePasswordAuthPlugin.create_auth_string(password))
        self.connection_ids = itertools.count(1)
        self.tls = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate)


class Closed(Exception):
    """The connection has ended, by the client or by a fault."""


class Connection(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        self.sequence = 0
        self.capabilities = CAPABILITIES
        self.session = Session(self.server.engine)
        try:
            if self.log_in():
                while self.answer_command():
                    pass
        except (Closed, OSError):  # a TLS error is an OSError too
            pass
        finally:
            self.session.close()

    # -- packets

    def receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self.request.recv(min(count - len(data), 1 << 20))
            if not part:
                raise Closed
            data += part
        return bytes(data)

    def read_packet(self) -> bytes:
        length, self.sequence = self.read_header()
        return self.receive(length)

    def read_header(self) -> tuple[int, int]:
        header = self.receive(4)
        return int.from_bytes(header[:3], "little"), (header[3] + 1) % 256

    def frame(self, payload: bytes) -> bytes:
        """Split a payload into packets: their headers and parts."""
        framed = bytearray()
        for start in range(0, len(payload) + 1, LONGEST_PACKET):
            part = payload[start : start + LONGEST_PACKET]
            framed += len(part).to_bytes(3, "little") + bytes([self.sequence]) + part
            self.sequence = (self.sequence + 1) % 256
        return bytes(framed)

    def write(self, *payloads: bytes) -> None:
        self.request.sendall(b"".join(self.frame(payload) for payload in payloads))

    def drop(self) -> None:
        """Close without a farewell, as a crashed server or a broken line does."""
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()
        raise Closed

    # -- login

    def log_in(self) -> bool:
        tls = self.server.tls
        offered = CAPABILITIES | Capabilities.CLIENT_SSL if tls else CAPABILITIES
        nonce = os.urandom(20).replace(b"\0", b"\1")
        self.write(
            packets.make_handshake_v10(
                capabilities=offered,
                server_charset=CharacterSet.utf8mb4,
                server_version="5.7.32",
                connection_id=next(self.server.connection_ids),
                auth_data=nonce + b"\0",
                status_flags=self.status,
                auth_plugin_name=NativePasswordAuthPlugin.name,
            )
        )
        response = packets.parse_handshake_response(offered, self.read_packet())
        if tls and isinstance(response, packets.SSLRequest):
            self.request = tls.wrap_socket(self.request, server_side=True)
            response = packets.parse_handshake_response_41(offered, self.read_packet())
        self.capabilities &= response.capabilities
        user = self.server.user
        if response.username != user.name or not NativePasswordAuthPlugin().password_matches(
            user, response.auth_response, nonce
        ):
            self.write(self.error(1045, f"Access denied for user '{response.username}'@'127.0.0.1'"))
            return False
        try:
            if response.database:
                self.session.use(response.database)
        except SqlError as error:
            self.write(self.error(error.code, str(error)))
            return False
        self.write(self.ok())
        return True

    # -- commands

    def answer_command(self) -> bool:
        """Read one command and answer it; False if it was the last."""
        length, self.sequence = self.read_header()
        payload = self.receive(min(length, HEAD + 1))
        command, fault = payload[0], None
        if command == Commands.COM_QUERY:
            fault = self.server.control.take_fault(payload[1:])
            if fault and fault.action == "cut":
                self.drop()
        payload += self.receive(length - len(payload))
        while length == LONGEST_PACKET:
            length, self.sequence = self.read_header()
            payload += self.receive(length)

        if command == Commands.COM_QUIT:
            return False
        try:
            if command == Commands.COM_QUERY:
                self.answer_query(payload[1:].decode(), fault)
            elif command == Commands.COM_INIT_DB:
                self.session.use(payload[1:].decode())
                self.write(self.ok())
            elif command == Commands.COM_PING:
                self.write(self.ok())
            else:
                raise SqlError(1047, f"command {command} is not supported")
        except SqlError as error:
            self.write(self.error(error.code, str(error)))
        return True

    def answer_query(self, sql: str, fault: Fault | None) -> None:
        control = self.server.control
        with control.lock:
            control.log.append((shorten(sql), len(sql.encode())))
        action = fault.action if fault else ""
        if action == "drop_before":
            self.drop()
        elif action == "error":
            raise SqlError(fault.code, fault.message)
        elif action == "slow":
            time.sleep(fault.seconds)
        answer = self.session.execute(sql)
        if action == "drop_after":
            self.drop()
        payloads = [self.ok(answer)] if isinstance(answer, int) else self.result_set(answer)
        if action == "cut_reply":
            reply = b"".join(self.frame(payload) for payload in payloads)
            self.request.sendall(reply[: len(reply) // 2])
            self.drop()
        self.write(*payloads)

    # -- answers

    @property
    def status(self) -> ServerStatus:
        flags = ServerStatus(0)
        if self.session.autocommit:
            flags |= ServerStatus.SERVER_STATUS_AUTOCOMMIT
        if self.session.in_transaction:
            flags |= ServerStatus.SERVER_STATUS_IN_TRANS
        return flags

    def ok(self, affected_rows: int = 0) -> bytes:
        return packets.make_ok(self.capabilities, self.status, affected_rows=affected_rows)

    def error(self, code: int, message: str) -> bytes:
        return packets.make_error(self.capabilities, msg=message, code=code)

    def result_set(self, result: Result) -> list[bytes]:
        extended = self.session.variables["enable_extended_types_metadata"] == "on"
        columns = [
            column_definition(*column, extended) for column in zip(result.names, result.types, strict=True)
        ]
        rows = [b"".join(map(encode_value, row)) for row in result.rows]
        end = packets.make_eof(self.capabilities, self.status)
        return [uint_len(len(columns)), *columns, end, *rows, end]


def column_definition(name: str, duckdb_type: str, extended: bool) -> bytes:
    """Describe a column; extended, a vector also tells its length and element type, as SingleStore does."""
    dimension = dimension_of(duckdb_type)
    if dimension or duckdb_type == "BLOB":
        wire_type, character_set = ColumnType.BLOB, BINARY
    elif duckdb_type in ("FLOAT", "DOUBLE"):
        wire_type, character_set = ColumnType.DOUBLE, BINARY
    elif duckdb_type.endswith("INT") or duckdb_type in ("INTEGER", "UINTEGER", "BOOLEAN"):
        wire_type, character_set = ColumnType.LONGLONG, BINARY
    elif duckdb_type == "TIMESTAMP":
        wire_type, character_set = ColumnType.DATETIME, BINARY
    else:
        wire_type, character_set = ColumnType.VAR_STRING, UTF8
    fields = uint_2(character_set) + uint_4(4 * dimension or 256) + uint_1(wire_type) + bytes(5)
    if extended:
        fields += (
            uint_1(2) + uint_4(dimension) + uint_1(VECTOR_OF[dtype_of(duckdb_type)])
            if dimension
            else uint_1(0)
        )
    names = [b"def", b"", b"", b"", name.encode(), name.encode()]
    return b"".join(map(str_len, names)) + str_len(fields)


def encode_value(value: object) -> bytes:
    if value is None:
        return b"\xfb"
    if isinstance(value, bool):
        value = int(value)
    return str_len(value if isinstance(value, bytes) else str(value).encode())


def obey(server: Server, request: dict[str, Any]) -> Any:
    control = server.control
    with control.lock:
        if request["action"] == "log":
            return list(control.log)
        if request["action"] == "fault":
            control.faults.append(Fault(**request["fault"]))
        elif request["action"] == "clear":
            control.log.clear()
            control.faults.clear()
    return None


def main() -> None:
    with Server(**json.loads(sys.stdin.readline())) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        answer: Any = server.server_address[1]
        while True:
            print(json.dumps(answer), flush=True)
            line = sys.stdin.readline()
            if not line:  # the test has ended
                os._exit(0)  # threads may still wait for their clients
            answer = obey(server, json.loads(line))


if __name__ == "__main__":
    main()
