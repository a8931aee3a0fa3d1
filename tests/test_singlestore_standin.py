import socket
import struct
import threading

import certifi
import numpy as np
import pytest
import singlestoredb
from singlestoredb.exceptions import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy import make_url

from tests.singlestore_standin import StandIn
from tests.singlestore_standin.fixtures import make_certificate

pytestmark = pytest.mark.slow

TABLE = (
    "CREATE TABLE frames (video_id VARCHAR(8) NOT NULL, frame_number INT NOT NULL, embedding_data VECTOR(4) NOT "
    "NULL, frame_data LONGBLOB NOT NULL, PRIMARY KEY (video_id, frame_number), SHARD KEY (video_id))"
)
UPSERT = (
    "INSERT INTO frames (video_id, frame_number, embedding_data, frame_data) VALUES (%s, %s, %s, %s) "
    "ON DUPLICATE KEY UPDATE embedding_data = VALUES(embedding_data), frame_data = VALUES(frame_data)"
)
VECTORS = np.random.default_rng(0).normal(size=(6, 4)).astype("<f4")
ROWS = [("v", number, vector, b"'\\\0\"") for number, vector in enumerate(VECTORS)]


@pytest.fixture(params=[False, True], ids=["C client", "pure Python client"])
def connection(request, singlestore_url):
    with singlestoredb.connect(singlestore_url, pure_python=request.param, autocommit=False) as connection:
        execute(connection, TABLE)
        yield connection


def execute(connection, sql, values=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def write(connection, rows=ROWS):
    with connection.cursor() as cursor:
        cursor.executemany(UPSERT, rows)
    connection.commit()


def count(url):
    with singlestoredb.connect(url) as connection:
        return execute(connection, "SELECT COUNT(*) FROM frames")[0][0]


@pytest.mark.singlestore
class TestWhatAServerDoes:
    def test_values_come_back_as_they_were_written(self, connection):
        write(connection)
        back = execute(connection, "SELECT * FROM frames ORDER BY frame_number")
        assert [row[:2] + row[3:] for row in back] == [row[:2] + row[3:] for row in ROWS]
        np.testing.assert_array_equal(np.stack([row[2] for row in back]), VECTORS)
        assert back[0][2].dtype == np.float32

    @pytest.mark.parametrize(
        "hints", ["", "USE INDEX ()", "USE INDEX (ann)", """SEARCH_OPTIONS '{"k": 30}'"""]
    )
    @pytest.mark.parametrize("as_text", [False, True])
    def test_search_orders_by_the_dot_product(self, connection, hints, as_text):
        write(connection)
        execute(
            connection,
            "ALTER TABLE frames ADD VECTOR INDEX ann(embedding_data) INDEX_OPTIONS "
            """'{"index_type": "FLAT", "metric_type": "DOT_PRODUCT"}'""",
        )
        query = str(VECTORS[2].tolist()) if as_text else VECTORS[2]
        found = execute(
            connection,
            "SELECT frame_number, embedding_data <*> %s AS similarity FROM frames "
            f"ORDER BY similarity {hints} DESC, frame_number LIMIT 3",
            [query],
        )
        expected = VECTORS @ VECTORS[2]
        assert [row[0] for row in found] == list(np.argsort(-expected)[:3])
        np.testing.assert_allclose([row[1] for row in found], np.sort(expected)[::-1][:3], rtol=1e-5)

    def test_writing_again_replaces(self, connection):
        write(connection)
        write(
            connection,
            [("v", number, VECTORS[0], data) for number, data in [(1, b"old"), (1, b"new"), (9, b"new")]],
        )
        rows = execute(
            connection, "SELECT frame_number -- it's\nFROM frames /* 'new' */ WHERE frame_data = %s", [b"new"]
        )
        assert sorted(rows) == [(1,), (9,)]
        assert execute(connection, "SELECT COUNT(*) FROM frames") == [(7,)]

    def test_rows_of_a_transaction_appear_with_its_commit(self, connection, singlestore_url):
        with connection.cursor() as cursor:
            cursor.executemany(UPSERT, ROWS)
        assert execute(connection, "SELECT COUNT(*) FROM frames") == [(6,)]
        assert count(singlestore_url) == 0
        connection.rollback()
        assert execute(connection, "SELECT COUNT(*) FROM frames") == [(0,)]
        write(connection)
        assert count(singlestore_url) == 6

    def test_errors_have_their_codes(self, connection):
        write(connection)
        insert = UPSERT.split(" ON DUPLICATE")[0]
        for kind, code, sql, values in [
            (ProgrammingError, 1146, "SELECT * FROM nothing", None),
            (OperationalError, 1054, "SELECT nothing FROM frames", None),
            (ProgrammingError, 1064, "FROBNICATE frames", None),
            (IntegrityError, 1062, insert, ROWS[0]),
            (IntegrityError, 1048, insert, ("w", 1, VECTORS[0], None)),
            (Exception, 1406, insert, ("too long an id", 1, VECTORS[0], b"")),
            (OperationalError, 1091, "DROP INDEX nothing ON frames", None),
        ]:
            with pytest.raises(kind) as raised:
                execute(connection, sql, values)
            assert raised.value.errno == code, sql
            connection.rollback()

    @pytest.mark.parametrize(
        "options",
        [
            '{"index_type": "IVF_PQFS", "m": 3}',  # does not divide 4
            '{"index_type": "IVF_PQFS"}',  # 32 does not either
            '{"index_type": "IVF_FLAT", "nlist": 4, "nprobe": 5}',
            '{"index_type": "HNSW_FLAT", "nlist": 4}',
            '{"index_type": "IVF"}',
            '{"metric_type": "COSINE"}',
            "FLAT",
        ],
    )
    def test_wrong_index_options_are_refused(self, connection, options):
        with pytest.raises(OperationalError, match=r"FLAT|IVF|COSINE"):
            execute(
                connection, f"ALTER TABLE frames ADD VECTOR INDEX (embedding_data) INDEX_OPTIONS '{options}'"
            )
        assert "embedding_data" not in [row[2] for row in execute(connection, "SHOW INDEX FROM frames")]

    def test_a_wrong_password_is_refused(self, singlestore_url):
        wrong = make_url(singlestore_url).set(password="guessed").render_as_string(hide_password=False)
        with pytest.raises(OperationalError) as raised:
            singlestoredb.connect(wrong)
        assert raised.value.errno == 1045


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pow(frame_number, 2) FROM frames",  # DuckDB would know it
        "SELECT frame_number FROM frames ORDER BY frame_number DESC USE INDEX () LIMIT 1",
        "SELECT embedding_data <-> embedding_data FROM frames",
        "SELECT frame_number FROM frames INTERSECT SELECT 1",
        "SELECT frame_number FROM frames WHERE frame_number = :number",
        "SELECT 1; SELECT 2",
        "PRAGMA database_list",
        "INSERT INTO frames (frame_number) VALUES (1 + 1)",
        "CREATE TABLE t (a GEOGRAPHY)",
        "",
    ],
)
def test_what_the_stand_in_does_not_know_is_an_error(standin, sql):
    with singlestoredb.connect(standin.url()) as connection:
        execute(connection, "DROP TABLE IF EXISTS frames")
        execute(connection, TABLE)
        with pytest.raises(ProgrammingError) as raised:
            execute(connection, sql)
        assert raised.value.errno == 1064
        assert "not SingleStore" in str(raised.value)


def test_nothing_is_answered_after_a_refused_login(standin):
    """No client would ask, so this one is made of bytes."""
    protocol_41_secure = 0x8200
    login = struct.pack("<IIB23x", protocol_41_secure, 1 << 24, 45) + b"tester\0" + b"\x14" + bytes(20)
    with socket.create_connection(("127.0.0.1", standin.port), timeout=10) as line:
        assert b"mysql_native_password" in line.recv(4096)
        for number, payload in ((1, login), (0, b"\x03SELECT 1")):
            line.sendall(len(payload).to_bytes(3, "little") + bytes([number]) + payload)
        assert b"Access denied" in line.recv(4096)
    assert standin.statements() == []


@pytest.fixture
def faulty(standin):
    with singlestoredb.connect(standin.url()) as connection:
        execute(connection, "DROP TABLE IF EXISTS frames")
        execute(connection, TABLE)
    standin.clear()
    return standin


@pytest.mark.parametrize("pure_python", [False, True])
@pytest.mark.parametrize("moment", ["INSERT", "COMMIT"])
@pytest.mark.parametrize(
    ("action", "codes"),
    [
        ("drop_before", {2013}),
        ("drop_after", {2013}),
        ("cut", {2006, 2013}),  # by what the client was at, sending or waiting
        ("error", {1205}),
    ],
)
def test_a_fault_loses_the_transaction_unless_it_was_committed(faulty, action, codes, moment, pure_python):
    faulty.fault(action, match=moment, code=1205)
    large = [(*row[:3], bytes(500_000)) for row in ROWS]  # still being sent when it is cut
    connection = singlestoredb.connect(faulty.url(autocommit="false"), pure_python=pure_python)
    with pytest.raises(OperationalError) as raised:
        write(connection, large)
    assert raised.value.errno in codes
    if action == "error":
        connection.close()
    assert count(faulty.url()) == (6 if (action, moment) == ("drop_after", "COMMIT") else 0)


def test_a_cut_reply_is_an_error_and_not_half_the_rows(faulty):
    with singlestoredb.connect(faulty.url()) as connection:
        write(connection)
        faulty.fault("cut_reply", match="^SELECT")
        with pytest.raises(OperationalError):
            execute(connection, "SELECT * FROM frames")


def test_the_nth_statement_fails_and_only_that(faulty):
    faulty.fault("error", match="select count", nth=2, code=1205)
    faulty.fault("slow", match="select count", nth=3, seconds=0.5)
    assert count(faulty.url()) == 0
    with pytest.raises(OperationalError, match="planned"):
        count(faulty.url())
    assert count(faulty.url()) == 0


def test_statements_are_listed_with_their_sizes(faulty):
    with singlestoredb.connect(faulty.url()) as connection:
        faulty.clear()
        execute(connection, UPSERT, ("v", 1, VECTORS[0], bytes(1000)))
    (text,) = [text for text in faulty.statements() if text.startswith("INSERT")]
    assert f"X'{'0' * 30}…'" in text
    assert 2000 < max(faulty.sizes()) < faulty.bytes_received + 1 < 3000


def test_the_shared_tier_has_the_database_that_it_has():
    with (
        StandIn(("given",), shared_tier=True) as server,
        singlestoredb.connect(server.url("given")) as connection,
    ):
        assert execute(connection, "SHOW VARIABLES LIKE 'is_shared_tier'") == [("is_shared_tier", "ON")]
        assert execute(connection, "SHOW DATABASES") == [("given",)]
        for sql in ("CREATE DATABASE other", "DROP DATABASE given"):
            with pytest.raises(Exception, match="access denied"):
                execute(connection, sql)


@pytest.mark.parametrize("pure_python", [False, True])
def test_tls_is_what_the_certificate_says(tmp_path, pure_python):
    right, wrong = make_certificate(tmp_path), make_certificate(tmp_path, "elsewhere.example")

    def is_encrypted(server, **options):
        with singlestoredb.connect(server.url(), pure_python=pure_python, **options) as connection:
            assert execute(connection, "SELECT 1") == [(1,)]
            return connection._secure

    with StandIn(tls=right) as server:
        assert is_encrypted(server)
        assert is_encrypted(server, ssl_ca=str(right), ssl_verify_identity=True)
        with pytest.raises(OperationalError, match="certificate"):
            is_encrypted(server, ssl_ca=certifi.where(), ssl_verify_identity=True)
    with StandIn(tls=wrong) as server, pytest.raises(OperationalError, match="certificate"):
        is_encrypted(server, ssl_ca=str(wrong), ssl_verify_identity=True)
    with StandIn() as server:
        assert not is_encrypted(server)


def test_several_clients_write_at_once(faulty):
    def run(video):
        with singlestoredb.connect(faulty.url(autocommit="false")) as connection:
            for start in range(0, 60, 6):
                write(connection, [(video, start + row[1], *row[2:]) for row in ROWS])

    threads = [threading.Thread(target=run, args=(f"v{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(faulty.url()) == 360
