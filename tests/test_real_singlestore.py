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


def test_the_shared_tier_is_told_by_a_variable(real_singlestore_url):
    with FrameStore(real_singlestore_url).engine.connect() as connection:
        row = connection.exec_driver_sql("SHOW VARIABLES LIKE 'is_shared_tier'").one_or_none()
    assert row is None or row[1] in ("ON", "OFF")
