"""What is believed of a real server but was never seen: asked first of one, where there is one."""

import numpy as np
import pytest
import singlestoredb

from videolib import FrameStore

pytestmark = pytest.mark.singlestore


@pytest.fixture
def cursor(real_singlestore_url, singlestore_url):
    with singlestoredb.connect(singlestore_url) as connection, connection.cursor() as cursor:
        yield cursor


def test_a_bare_hex_literal_is_taken_as_a_vector(cursor):
    embedding = np.arange(4, dtype="<f4")
    cursor.execute("CREATE TABLE probe (id INT NOT NULL, embedding VECTOR(4) NOT NULL, PRIMARY KEY (id))")
    cursor.execute(f"INSERT INTO probe (id, embedding) VALUES (1, X'{embedding.tobytes().hex()}')")
    cursor.execute("SELECT embedding FROM probe")
    np.testing.assert_array_equal(cursor.fetchone()[0], embedding)


def test_describe_begins_with_field_and_type(cursor):
    cursor.execute("CREATE TABLE probe (id INT NOT NULL, embedding VECTOR(4) NOT NULL, PRIMARY KEY (id))")
    cursor.execute("DESCRIBE probe")
    assert [row[0] for row in cursor.fetchall()] == ["id", "embedding"]


def test_a_second_sort_key_may_follow_the_hint(cursor):
    cursor.execute("CREATE TABLE probe (id INT NOT NULL, embedding VECTOR(2) NOT NULL, PRIMARY KEY (id))")
    cursor.execute("INSERT INTO probe (id, embedding) VALUES (2, '[1, 0]'), (1, '[1, 0]')")
    cursor.execute(
        "SELECT id, embedding <*> '[1, 0]' AS s FROM probe ORDER BY s USE INDEX () DESC, id LIMIT 2"
    )
    assert [row[0] for row in cursor.fetchall()] == [1, 2]


def test_keys_beside_the_primary_key(cursor):
    cursor.execute(
        "CREATE TABLE probe (a INT NOT NULL, b INT NOT NULL, c DOUBLE NOT NULL, PRIMARY KEY (a, b), "
        "SHARD KEY (a, b), SORT KEY (a, c))"
    )


def test_halved_embeddings_are_sent_as_two_bytes_a_number(cursor):
    cursor.execute("SELECT @@memsql_version")
    if tuple(map(int, cursor.fetchone()[0].split(".")[:2])) < (9, 1):
        pytest.skip("F16 came with SingleStore 9.1")
    half = np.array([0.25, -0.5, 0.125, 1], "<f2").tobytes().hex()
    cursor.execute(
        "CREATE TABLE probe (id INT NOT NULL, embedding VECTOR(4, F16) NOT NULL, PRIMARY KEY (id))"
    )
    cursor.execute(f"INSERT INTO probe (id, embedding) VALUES (1, X'{half}')")
    cursor.execute(
        f"SELECT embedding, embedding <*> X'{half}' AS s FROM probe ORDER BY s USE INDEX () DESC LIMIT 1"
    )
    embedding, similarity = cursor.fetchone()
    np.testing.assert_array_equal(np.asarray(embedding, np.float32), [0.25, -0.5, 0.125, 1])
    assert similarity == pytest.approx(1.328125)


def test_describe_tells_the_element_type(cursor):
    cursor.execute(
        "CREATE TABLE probe (id INT NOT NULL, embedding VECTOR(4, F16) NOT NULL, PRIMARY KEY (id))"
    )
    cursor.execute("DESCRIBE probe")
    assert "f16" in cursor.fetchall()[1][1].lower()


def test_the_shared_tier_is_told_by_a_variable(real_singlestore_url):
    with FrameStore(real_singlestore_url).engine.connect() as connection:
        row = connection.exec_driver_sql("SHOW VARIABLES LIKE 'is_shared_tier'").one_or_none()
    assert row is None or row[1] in ("ON", "OFF")
