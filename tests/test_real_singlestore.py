"""What is believed of a real server but was never seen: asked first of one, where there is one."""

import os
import uuid

import numpy as np
import pytest
import singlestoredb

from tests.conftest import make_frames, make_video
from tests.store.test_copying import assert_same
from videolib import FrameStore, export_parquet, load_parquet

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


def test_parquet_is_loaded_by_the_server(real_singlestore_url, singlestore_url, tmp_path):
    """Needs SINGLESTORE_BUCKET, an s3:// address to write to, SINGLESTORE_BUCKET_REGION and AWS's two variables."""
    bucket = os.environ.get("SINGLESTORE_BUCKET")
    if not bucket:
        pytest.skip("needs an address s3://… in SINGLESTORE_BUCKET")
    source, store = FrameStore(tmp_path / "source.duckdb"), FrameStore(singlestore_url)
    source.write_video(make_video("v1"), model="tiny", dimension=8, every_seconds=1.0)
    source.write_frames(make_frames("v1", np.random.default_rng(0).normal(size=(50, 8))))
    source.mark_complete("v1")
    folder = f"{bucket}/videolib_test_{uuid.uuid4().hex[:8]}"
    export_parquet(source, folder, progress=False)
    keys = {name: os.environ[name.upper()] for name in ("aws_access_key_id", "aws_secret_access_key")}
    config = {"region": os.environ.get("SINGLESTORE_BUCKET_REGION", "us-east-1")}
    for _ in range(2):
        load_parquet(folder, store, config=config, credentials=keys, progress=False)
        assert_same(source, store)


def test_the_shared_tier_is_told_by_a_variable(real_singlestore_url):
    with FrameStore(real_singlestore_url).engine.connect() as connection:
        row = connection.exec_driver_sql("SHOW VARIABLES LIKE 'is_shared_tier'").one_or_none()
    assert row is None or row[1] in ("ON", "OFF")
