import pickle
import re
import ssl
import traceback
from urllib.parse import quote

import numpy as np
import pytest

from tests.conftest import make_frames, make_video
from tests.singlestore_standin import StandIn
from tests.singlestore_standin.fixtures import make_certificate
from videolib import FrameStore, StoreError, normalize

pytestmark = pytest.mark.slow

DIMENSION = 64
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}
QUERY = normalize(np.arange(1, DIMENSION + 1))
FRAMES = make_frames("v1", np.random.default_rng(0).normal(size=(100, DIMENSION)))


@pytest.fixture
def store(singlestore_url) -> FrameStore:
    store = FrameStore(singlestore_url, retry_seconds=2)
    store.write_video(make_video("v1"), **MODEL)
    store.write_frames(FRAMES)
    return store


def sent(standin: StandIn, match: str) -> list[str]:
    """The statements that contain this, with white space as single spaces."""
    statements = [re.sub(r"\s+", " ", text).strip() for text in standin.statements()]
    return [text for text in statements if re.search(match, text)]


class TestStatements:
    """What a server is sent, word for word."""

    def test_tables(self, standin, store):
        assert sent(standin, "CREATE TABLE") == [
            "CREATE TABLE IF NOT EXISTS videos ( video_id VARCHAR(64) NOT NULL, title VARCHAR(1024) NOT NULL, "
            "source VARCHAR(4096) NOT NULL, duration_seconds DOUBLE NOT NULL, width INTEGER NOT NULL, height "
            "INTEGER NOT NULL, frames_per_second DOUBLE NOT NULL, model VARCHAR(255) NOT NULL, dimension INTEGER "
            "NOT NULL, every_seconds DOUBLE NOT NULL, sampling VARCHAR(16) NOT NULL, complete BOOL "
            "NOT NULL, content_id VARCHAR(64), written_at DATETIME(6), PRIMARY KEY (video_id) )",
            "CREATE TABLE IF NOT EXISTS frames ( video_id VARCHAR(64) NOT NULL, frame_number INTEGER NOT NULL, "
            f"timestamp_seconds DOUBLE NOT NULL, embedding_data VECTOR({DIMENSION}) NOT NULL, frame_data LONGBLOB "
            "NOT NULL, PRIMARY KEY (video_id, frame_number), SHARD KEY (video_id, frame_number), "
            "SORT KEY (video_id, timestamp_seconds) )",
            "CREATE TABLE IF NOT EXISTS videolib_schema ( name VARCHAR(16) NOT NULL, version INTEGER NOT NULL, "
            "PRIMARY KEY (name) )",
        ]

    def test_upsert(self, standin, store):
        standin.clear()
        store.write_frames(FRAMES[:1])
        vector = FRAMES["embedding_data"][0].astype("<f4").tobytes().hex()
        (statement,) = sent(standin, "INSERT")
        assert statement == (
            "INSERT INTO frames (video_id, frame_number, timestamp_seconds, embedding_data, frame_data) VALUES "
            f"('v1', 1, 0.0e0, X'{vector[:30]}…', X'{b'v1 1'.hex()}') ON DUPLICATE KEY UPDATE timestamp_seconds = "
            "VALUES(timestamp_seconds), embedding_data = VALUES(embedding_data), frame_data = VALUES(frame_data)"
        )

    @pytest.mark.parametrize(
        ("exact", "order"),
        [
            (True, "similarity USE INDEX () DESC, frames.video_id, frames.frame_number"),
            (False, """similarity SEARCH_OPTIONS '{"k": 12}' DESC"""),
        ],
    )
    def test_search(self, standin, store, exact, order):
        store.mark_complete("v1")
        standin.clear()
        found = store.search(QUERY, 3, exact=exact)
        keys, pictures = sent(standin, "FROM frames")
        assert keys == (
            "SELECT frames.video_id, frames.frame_number, frames.timestamp_seconds, frames.embedding_data <*> "
            f"X'{QUERY.tobytes().hex()[:30]}…' AS similarity FROM frames ORDER BY {order} LIMIT 3"
        )
        assert pictures == (
            "SELECT frames.video_id, frames.frame_number, frames.frame_data FROM frames WHERE frames.video_id = "
            f"'v1' AND frames.frame_number IN ({', '.join(map(str, found['frame_number']))})"
        )

    def test_search_leaves_out_samplings_that_are_not_the_latest(self, standin, store):
        store.write_video(make_video("v1"), **MODEL | {"every_seconds": 0.5})
        standin.clear()
        with pytest.warns(UserWarning, match="0 frames so far"):
            store.search(QUERY, 3)
        assert sent(standin, "SELECT.*FROM frames.*LIMIT 3") == [
            "SELECT frames.video_id, frames.frame_number, frames.timestamp_seconds, frames.embedding_data <*> "
            f"X'{QUERY.tobytes().hex()[:30]}…' AS similarity FROM frames WHERE (frames.video_id NOT IN ('v1')) "
            "ORDER BY similarity USE INDEX () DESC, frames.video_id, frames.frame_number LIMIT 3"
        ]

    @pytest.mark.parametrize(
        ("kind", "options", "text"),
        [
            ("AUTO", {}, ""),
            ("FLAT", {}, ""),
            ("IVF_FLAT", {"nlist": 64, "nprobe": 4}, ', "nlist": 64, "nprobe": 4'),
            ("IVF_PQ", {"m": 16, "nbits": 4}, ', "m": 16, "nbits": 4'),
            ("IVF_PQFS", {"nlist": 16, "m": 8, "nprobe": 16}, ', "nlist": 16, "m": 8, "nprobe": 16'),
            (
                "HNSW_FLAT",
                {"M": 16, "efConstruction": 80, "ef": 32},
                ', "M": 16, "efConstruction": 80, "ef": 32',
            ),
            ("HNSW_PQ", {"M": 8, "m": 4}, ', "M": 8, "m": 4'),
        ],
    )
    def test_vector_index(self, standin, store, kind, options, text):
        standin.clear()
        store.create_vector_index(kind, options)
        store.search(QUERY, exact=False)
        store.drop_vector_index()
        assert sent(standin, "OPTIMIZE|ALTER|DROP") == [
            "OPTIMIZE TABLE frames FLUSH",
            "OPTIMIZE TABLE frames FULL",
            "ALTER TABLE frames ADD VECTOR INDEX embedding_data (embedding_data) INDEX_OPTIONS "
            f"""'{{"index_type": "{kind}", "metric_type": "DOT_PRODUCT"{text}}}'""",
            "DROP INDEX embedding_data ON frames",
        ]

    def test_vectors_as_text(self, standin, store):
        url = standin.url(store.engine.url.database, vector_data_format="json")
        as_text = FrameStore(url)
        standin.clear()
        as_text.write_frames(FRAMES[:2])
        np.testing.assert_array_equal(
            np.stack(as_text.read_frames("v1")["embedding_data"]), np.stack(FRAMES["embedding_data"])
        )
        assert as_text.search(QUERY)["frame_number"].tolist() == store.search(QUERY)["frame_number"].tolist()
        assert re.search(r"'\[[-0-9.e, ]+", sent(standin, "INSERT")[0])

    def test_embeddings_of_two_bytes_a_number(self, standin, singlestore_url):
        store = FrameStore(singlestore_url, element_type="F16")
        store.write_video(make_video("v1"), **MODEL)
        store.write_frames(FRAMES)
        assert f"embedding_data VECTOR({DIMENSION}, F16) NOT NULL" in sent(standin, "EXISTS frames")[0]
        half = np.stack(FRAMES["embedding_data"]).astype("<f2")
        assert f"X'{half[0].tobytes().hex()[:30]}…'" in sent(standin, "INSERT INTO frames")[0]
        for again in (store, FrameStore(singlestore_url), FrameStore(singlestore_url, element_type="F16")):
            stored = np.stack(again.read_frames("v1")["embedding_data"])
            assert stored.dtype == np.float32
            np.testing.assert_array_equal(stored, half.astype(np.float32))
            expected = half.astype(np.float32) @ QUERY.astype("<f2").astype(np.float32)
            found = again.search(QUERY, 10)
            assert found["frame_number"].tolist() == (1 + np.argsort(-expected)[:10]).tolist()
            np.testing.assert_allclose(found["similarity"], np.sort(expected)[::-1][:10], atol=1e-6)

    def test_the_element_type_of_a_database_with_frames_stays(self, singlestore_url, store):
        with pytest.raises(StoreError, match="element_type must be F32, which this database has, got 'F16'"):
            FrameStore(singlestore_url, element_type="F16").list_videos()
        with store.engine.begin() as connection:
            connection.exec_driver_sql(
                "DELETE FROM frames"
            )  # a video without frames makes no table anew, either
        with pytest.raises(StoreError, match="element_type must be F32, which this database has, got 'F16'"):
            FrameStore(singlestore_url, element_type="F16").list_videos()
        store.delete_video("v1")
        halved = FrameStore(singlestore_url, element_type="F16")
        assert halved.list_videos().empty
        halved.write_video(make_video("v1"), **MODEL)
        halved.write_frames(FRAMES)
        store.mark_complete("v1")
        assert len(FrameStore(singlestore_url).search(QUERY, 3)) == 3

    def test_an_unknown_element_type(self, singlestore_url):
        with pytest.raises(
            ValueError, match="element_type must be F32 or F16 in this kind of database, got 'I8'"
        ):
            FrameStore(singlestore_url, element_type="I8")
        with pytest.raises(ValueError, match="element_type must be F32 in this kind of database, got 'F16'"):
            FrameStore(":memory:", element_type="F16")

    def test_no_autocommit_whatever_the_url_says(self, standin, store):
        standin.clear()
        FrameStore(standin.url(autocommit="true", results_type="numpy")).list_videos()
        assert "SET AUTOCOMMIT = 0" in standin.statements()

    def test_statements_stay_below_the_clients_megabyte(self, standin, store):
        standin.clear()
        frames = FRAMES.assign(frame_data=[bytes([number]) * 20_000 for number in FRAMES["frame_number"]])
        store.write_frames(frames)
        sizes = [
            size for text, size in zip(standin.statements(), standin.sizes(), strict=True) if "INSERT" in text
        ]
        assert len(sizes) == 4
        assert max(sizes) <= 1_024_000
        assert store.read_frames("v1")["frame_data"].tolist() == frames["frame_data"].tolist()


class TestVectorIndex:
    @pytest.mark.parametrize(
        ("kind", "options", "message"),
        [
            ("IVF", {}, "kind must be one of AUTO, FLAT, .*got 'IVF'"),
            ("AUTO", {"nlist": 8}, "AUTO, which takes none; got 'nlist'"),
            ("IVF_FLAT", {"M": 8}, "IVF_FLAT, which takes only nlist, nprobe; got 'M'"),
            (
                "IVF_FLAT",
                {"nlist": 65537},
                r"options\['nlist'\] must be a whole number from 1 to 65536, got 65537",
            ),
            ("IVF_FLAT", {"nlist": 8.0}, "whole number"),
            ("IVF_FLAT", {"nlist": 8, "nprobe": 9}, "must not exceed nlist, 8, got 9"),
            ("IVF_FLAT", {"nprobe": 129}, "must not exceed nlist, 128, got 129"),
            ("IVF_PQ", {"m": 48}, "must divide the dimension, 64, got 48"),
            ("IVF_PQ", {"nbits": 17}, "from 1 to 16, got 17"),
            ("HNSW_FLAT", {"M": 2049}, "from 1 to 2048, got 2049"),
        ],
    )
    def test_wrong_options_are_refused_before_anything_is_sent(self, standin, store, kind, options, message):
        standin.clear()
        with pytest.raises(ValueError, match=message):
            store.create_vector_index(kind, options)
        assert not sent(standin, "ALTER|OPTIMIZE")

    def test_one_index_at_a_time(self, store):
        with pytest.raises(StoreError, match="has no vector index: call create_vector_index first"):
            store.drop_vector_index()
        store.create_vector_index()
        with pytest.raises(StoreError, match="has a vector index: call drop_vector_index first"):
            store.create_vector_index()

    def test_an_empty_store_has_none(self, singlestore_url):
        with pytest.raises(StoreError, match="is empty: write frames first"):
            FrameStore(singlestore_url).create_vector_index()

    @pytest.mark.parametrize("action", ["drop_before", "drop_after"])
    def test_a_lost_answer_is_no_error(self, standin, store, action):
        standin.fault(action, match="ALTER TABLE")
        store.create_vector_index()
        standin.fault(action, match="DROP INDEX")
        store.drop_vector_index()
        assert len(sent(standin, "ADD VECTOR INDEX")) == len(sent(standin, "DROP INDEX")) == 2


def count_rows(store: FrameStore) -> tuple[int, int]:
    with store.engine.connect() as connection:
        numbers = [row[0] for row in connection.exec_driver_sql("SELECT frame_number FROM frames")]
    return len(numbers), len(set(numbers))


def ingest(store: FrameStore) -> None:
    """Write as `ingest` does: 100 frames in five batches."""
    store.write_video(make_video("v1"), **MODEL)
    for first in range(0, 100, 20):
        store.write_frames(FRAMES[first : first + 20])
    store.mark_complete("v1")


class TestFaults:
    @pytest.mark.parametrize("action", ["drop_before", "drop_after", "cut", "cut_reply", "error", "slow"])
    @pytest.mark.parametrize(
        ("match", "nth"),
        [
            ("CREATE TABLE", 2),
            ("INSERT INTO videos", 1),
            ("INSERT INTO frames", 1),
            ("INSERT INTO frames", 3),
            ("COMMIT", 4),
            ("UPDATE videos", 1),
        ],
    )
    def test_a_fault_while_writing_loses_and_doubles_nothing(
        self,
        standin,
        singlestore_url,
        action,
        match,
        nth,
    ):
        store = FrameStore(singlestore_url)
        standin.fault(action, match=match, nth=nth, code=1205, seconds=0.5)
        ingest(store)
        stored, distinct = count_rows(store)
        assert (stored, distinct) == (100, 100)
        assert store.list_videos()[["frame_count", "complete"]].values.tolist() == [[100, True]]
        assert store.read_frames("v1")["frame_data"].tolist() == FRAMES["frame_data"].tolist()
        if action == "error":  # it did happen, and was tried again
            undisturbed = {
                "CREATE TABLE": 3,
                "INSERT INTO v": 1,
                "INSERT INTO f": 5,
                "COMMIT": 7,
                "UPDATE": 1,
            }
            assert any(len(sent(standin, start)) > count for start, count in undisturbed.items())
        elif action != "slow":
            assert len(sent(standin, "SET AUTOCOMMIT = 0")) == 2

    def test_what_fails_half_way_leaves_nothing(self, standin, store):
        with store.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM frames WHERE video_id = 'v1'")
        frames = FRAMES.assign(frame_data=[bytes(20_000)] * 100)
        standin.fault("error", match="INSERT INTO frames", nth=2, code=1064)
        with pytest.raises(Exception, match="1064"):
            store.write_frames(frames)
        assert count_rows(store) == (0, 0)

    @pytest.mark.parametrize("action", ["drop_before", "drop_after", "cut_reply", "error", "slow"])
    def test_reading_is_tried_again(self, standin, store, action):
        expected = store.search(QUERY)["frame_data"].tolist()
        standin.clear()
        standin.fault(action, match=r"SELECT.*<\*>", code=1213, seconds=0.5)
        assert store.search(QUERY)["frame_data"].tolist() == expected
        assert len(sent(standin, r"<\*>")) == (1 if action == "slow" else 2)

    def test_a_deletion_whose_answer_is_lost_is_no_error(self, standin, store):
        standin.clear()
        standin.fault(
            "drop_after", match="COMMIT", nth=3
        )  # two looks before: is it there, where are its pictures
        store.delete_video("v1")
        assert len(sent(standin, "DELETE")) == 4
        assert store.list_videos().empty

    def test_an_idle_connection_that_was_dropped_is_replaced(self, standin, store):
        standin.fault("drop_before", match="DESCRIBE")
        assert len(store.list_videos()) == 1

    def test_a_lasting_fault_is_named(self, standin, store):
        for nth in range(1, 30):
            standin.fault(
                "error", match=r"SELECT.*<\*>", nth=nth, code=1205, message="Lock wait timeout exceeded"
            )
        with pytest.raises(
            StoreError, match=r"did not answer, or was locked, for 2 s.*1205: .*Lock wait timeout"
        ):
            store.search(QUERY)

    def test_a_server_that_is_away_is_named(self):
        with pytest.raises(StoreError, match=r"did not answer, or was locked, for 0.1 s.*127.0.0.1"):
            FrameStore("singlestoredb://tester@127.0.0.1:1/videos", retry_seconds=0.1).list_videos()

    def test_a_host_that_does_not_exist_is_not_waited_for(self):
        with pytest.raises(StoreError, match=r"cannot be opened.*no-such-host.invalid"):
            FrameStore("singlestoredb://tester@no-such-host.invalid/videos", retry_seconds=60).list_videos()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls_standin(certificate):
    with StandIn(tls=certificate) as server:
        yield server


@pytest.fixture(scope="module")
def guarded_standin():
    with StandIn(password=TestSecrets.PASSWORD) as server:
        yield server


class TestTls:
    """127.1 leads here, but is no name of this machine that videolib takes for local."""

    @staticmethod
    def open(server: StandIn, host: str, **options: object) -> bool:
        """Tell whether the connection is encrypted."""
        store = FrameStore(server.url(**options).replace("127.0.0.1", host))
        store.list_videos()
        with store.engine.connect() as connection:
            return isinstance(connection.connection.driver_connection._sock, ssl.SSLSocket)

    def test_a_known_certificate_of_this_host(self, tls_standin, certificate):
        assert self.open(tls_standin, "127.0.0.1", ssl_ca=certificate)

    def test_a_known_certificate_of_another_host(self, tmp_path):
        certificate = make_certificate(tmp_path, "other.example")
        with StandIn(tls=certificate) as server:
            for host in ("127.0.0.1", "127.1"):
                with pytest.raises(StoreError, match=f"certificate of '{host}' must be valid.*ismatch"):
                    self.open(server, host, ssl_ca=certificate)

    def test_an_unknown_certificate(self, tls_standin):
        with pytest.raises(StoreError, match=r"certificate of '127.1' must be valid.*add \?ssl_ca=FILE"):
            self.open(tls_standin, "127.1")

    def test_an_unknown_certificate_that_is_not_to_be_verified(self, tls_standin):
        assert self.open(tls_standin, "127.1", ssl_verify_cert="false")

    @pytest.mark.parametrize("options", [{}, {"ssl_verify_cert": "false"}])
    def test_no_tls(self, standin, options):
        with pytest.raises(StoreError, match=r"'127.1' must offer TLS.*add \?ssl_disabled=true"):
            self.open(standin, "127.1", **options)

    def test_no_tls_where_a_certificate_is_asked_for(self, standin, certificate):
        with pytest.raises(StoreError, match=r"'127.0.0.1' must offer TLS"):
            self.open(standin, "127.0.0.1", ssl_ca=certificate)

    def test_no_tls_wanted(self, standin):
        assert not self.open(standin, "127.1", ssl_disabled="true")

    def test_this_machine_needs_none(self, standin):
        assert not self.open(standin, "127.0.0.1")


class TestSecrets:
    PASSWORD = "p/w:#@% $+ secret-word"

    def test_any_password_works(self, guarded_standin):
        password, address = quote(self.PASSWORD, safe=""), f"127.0.0.1:{guarded_standin.port}/videos"
        assert FrameStore(f"singlestoredb://tester:{password}@{address}").list_videos().empty
        assert FrameStore(f"singlestoredb://tester@{address}?password={password}").list_videos().empty

    @pytest.mark.parametrize(
        "url",
        [
            "singlestoredb://tester:secret-word@127.0.0.1:{port}/videos",
            "singlestoredb://tester@127.0.0.1:{port}/videos?password=secret-word",
            "singlestoredb://tester:secret-word@127.0.0.1:{port}/nowhere",
            "singlestoredb://tester:secret-word@127.0.0.1:1/videos",
            "singlestoredb://tester:secret-word@127.1:{port}/videos",
            "singlestoredb://tester:secret-word@127.0.0.1:secret-word/videos",
            "singlestoredb://tester:sec:ret-word/secret-word@127.0.0.1:{port}/videos",
            "singlestoredb://tester:secret-word@singlestore.com",
            "singlestoredb://tester:secret-word@127.0.0.1:{port}",
            "singlestoredb://tester:secret-word@127.0.0.1:{port}/videos?no_such_option=1",
            "tester:secret-word@127.0.0.1:{port}/videos",
            "mysql://tester:secret-word@127.0.0.1/videos",
            "nonsense://tester:secret-word@127.0.0.1/videos",
        ],
    )
    def test_a_password_is_in_no_error_and_no_repr(self, guarded_standin, url, caplog, capfd):
        caplog.set_level("DEBUG")
        shown = ""
        with pytest.raises((StoreError, ValueError)) as caught:  # noqa: PT012
            store = FrameStore(url.format(port=guarded_standin.port), retry_seconds=0.1)
            shown = repr(store) + store.url + repr(store.engine) + str(store.engine.url)
            store.list_videos()
        shown += "".join(traceback.format_exception(caught.value)) + caplog.text + "".join(capfd.readouterr())
        assert "secret-word" not in re.sub(r"(?m)^    .*\n", "", shown)  # the lines of this test's own source

    def test_a_database_must_be_named(self):
        with pytest.raises(ValueError, match="url must name a database, such as singlestoredb://"):
            FrameStore("singlestoredb://user@host")
        with pytest.raises(ValueError, match="select one at the top of the notebook"):
            FrameStore("singlestoredb://user:password@singlestore.com:3306/?ssl_disabled=true")

    @pytest.mark.parametrize("cut", ["", "singlestoredb://"])
    def test_the_environment_names_the_default(self, standin, monkeypatch, cut):
        monkeypatch.setenv("SINGLESTOREDB_URL", standin.url().removeprefix(cut))
        assert FrameStore().url == f"singlestoredb://tester@127.0.0.1:{standin.port}/videos"
        assert FrameStore().list_videos().empty


def test_the_free_shared_tier_is_used_as_it_is():
    with StandIn(shared_tier=True) as server:
        store = FrameStore(server.url())
        ingest(store)
        assert store.check_room(1000) > 0
        with pytest.raises(StoreError, match=r"holds 1 GB: 10,000,000 more frames take about .* MB are free"):
            store.check_room(10_000_000)
        assert not sent(server, "DATABASE (?!\\(\\))")


def test_a_store_goes_to_another_process_with_its_password(singlestore_url):
    store = FrameStore(singlestore_url)
    store.write_video(make_video(), model="m", dimension=3, every_seconds=1.0)
    copy = pickle.loads(pickle.dumps(store))
    assert copy.url == store.url
    assert len(copy.list_videos()) == 1
