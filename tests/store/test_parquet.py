"""Parquet in and out: the rows are those that INSERT gives."""

import re
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from tests.conftest import make_frames, make_video
from tests.singlestore_standin import StandIn
from tests.store.test_copying import assert_same
from videolib import FrameStore, StoreError, export_parquet, load_parquet
from videolib.store import parquet

pytestmark = pytest.mark.filterwarnings("ignore:what is not complete")
DIMENSION = 8
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}
KEYS = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": 'it\'s "hush" \\ %s :x'}


def fill(store: FrameStore, video_id: str, count: int, *, seed: int = 0, **how) -> FrameStore:
    generator = np.random.default_rng(seed)
    video_id = store.write_video(make_video(video_id, title=f"é {video_id}"), **MODEL | how)
    frames = make_frames(video_id, generator.normal(size=(count, DIMENSION)))
    store.write_frames(frames.assign(frame_data=[generator.bytes(500) for _ in range(count)]))
    return store


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_PER_FILE", 20)


@pytest.fixture
def filled(tmp_path) -> FrameStore:
    """Two videos, one at two samplings; one is complete, and one has a frame number left out."""
    store = fill(FrameStore(tmp_path / "filled.duckdb"), "v1", 50)
    store.mark_complete("v1")
    fill(store, "v1", 7, every_seconds=0.5)
    return fill(store, "x'; DROP TABLE frames; -- /..", 21)


def export(store: FrameStore, folder: object, **options: object) -> None:
    export_parquet(store, folder, progress=False, **options)


def load(folder: object, store: FrameStore, **options: object) -> None:
    load_parquet(folder, store, progress=False, **options)


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_there_and_back_bit_for_bit(filled, tmp_path, place):
    MemoryFileSystem.store.clear()
    folder = tmp_path / "a folder's" if place == "folder" else "memory://bucket/export"
    for _ in range(2):
        export(filled, folder)
    back = FrameStore(tmp_path / "back.duckdb")
    for _ in range(2):
        load(folder, back)
        assert_same(filled, back)
    assert not list(Path().glob("*.parquet"))


def test_stores_of_many_workers_become_one(tmp_path):
    whole = FrameStore(tmp_path / "whole.duckdb")
    for number in range(3):
        fill(FrameStore(tmp_path / f"{number}.duckdb"), f"v{number}", 30, seed=number).mark_complete(
            f"v{number}"
        )
        export(FrameStore(tmp_path / f"{number}.duckdb"), tmp_path / "all")
        fill(whole, f"v{number}", 30, seed=number).mark_complete(f"v{number}")
    loaded = FrameStore(tmp_path / "loaded.duckdb")
    load(tmp_path / "all", loaded)
    assert_same(whole, loaded)


def test_any_program_can_read_the_files(filled, tmp_path):
    export(filled, tmp_path / "out", element_type="F16")
    read = duckdb.execute(
        "SELECT * FROM read_parquet(?) ORDER BY 1, 2", [f"{tmp_path}/out/frames/*.parquet"]
    ).df()
    assert len(read) == 78
    assert set(read["embedding_data"].map(len)) == {2 * DIMENSION}
    sizes = [len(duckdb.read_parquet(str(path))) for path in sorted((tmp_path / "out" / "frames").iterdir())]
    assert max(sizes) == 20
    back = FrameStore(tmp_path / "back.duckdb")
    load(tmp_path / "out", back)
    mine, theirs = (np.stack(list(each.read_frames("v1")["embedding_data"])) for each in (filled, back))
    np.testing.assert_array_equal(theirs, mine.astype("<f2").astype(np.float32))


def test_pictures_outside_stay_where_they_are(tmp_path):
    store = fill(FrameStore(tmp_path / "s.duckdb", pictures=tmp_path / "p"), "v1", 3)
    export(store, tmp_path / "out")
    back = FrameStore(tmp_path / "back.duckdb")
    load(tmp_path / "out", back)
    assert_same(store, back)
    assert len(list((tmp_path / "p").rglob("*.jpg"))) == 3


def test_another_models_embeddings_are_refused(filled, tmp_path):
    export(filled, tmp_path / "out")
    other = FrameStore(tmp_path / "other.duckdb")
    other.write_video(make_video("v9"), **MODEL | {"model": "big"})
    with pytest.raises(StoreError, match="model must be 'big'"):
        load(tmp_path / "out", other)
    assert other.list_videos()["video_id"].tolist() == ["v9"]


def test_a_broken_file_is_named_and_loaded_not_at_all(filled, tmp_path):
    export(filled, tmp_path / "out")
    path = tmp_path / "out" / "frames" / "v1-00000021.parquet"
    whole = path.read_bytes()
    back = FrameStore(tmp_path / "back.duckdb")
    for broken in (whole[: len(whole) // 2], b"", whole[:4] + bytes(len(whole) - 12) + whole[-8:]):
        path.write_bytes(broken)
        with pytest.raises(StoreError, match=r"v1-00000021\.parquet cannot be read"):
            load(tmp_path / "out", back)
        assert back.read_frame_numbers("v1").tolist() == list(range(1, 21))
        assert not back.list_videos()["complete"].any()
    path.write_bytes(whole)
    load(tmp_path / "out", back)
    assert_same(filled, back)


def test_a_file_that_is_missing_is_noticed(filled, tmp_path):
    export(filled, tmp_path / "out")
    (tmp_path / "out" / "frames" / "v1-00000021.parquet").unlink()
    with pytest.raises(StoreError, match="must have all frames of 'v1', got 30 of 50"):
        load(tmp_path / "out", FrameStore(tmp_path / "back.duckdb"))


def test_a_video_id_that_stands_for_another_sampling_is_refused(filled, tmp_path):
    export(filled, tmp_path / "out")
    other = fill(FrameStore(tmp_path / "other.duckdb"), "v1", 4, every_seconds=9.0)
    with pytest.raises(StoreError, match="call copy_videos"):
        load(tmp_path / "out", other)
    assert len(other.read_frames("v1")) == 4


def test_foreign_parquet_is_refused(filled, tmp_path):
    export(filled, tmp_path / "out")
    path = tmp_path / "out" / "frames" / "a.parquet"
    duckdb.execute(f"COPY (SELECT 'v1' AS video_id, 'x' AS embedding_data) TO '{path}'")
    with pytest.raises(StoreError, match=r"a\.parquet must be frames as export_parquet writes them"):
        load(tmp_path / "out", FrameStore(tmp_path / "back.duckdb"))


@pytest.mark.parametrize("folder", ["", "s3://key:hush@bucket/x", "/tmp/*", "nothing://x/y"])
def test_a_folder_that_is_none_is_refused(tmp_path, folder):
    store = FrameStore(tmp_path / "s.duckdb")
    for call in (lambda: export(store, folder), lambda: load(folder, store)):
        with pytest.raises(ValueError, match="folder must") as caught:
            call()
        assert "hush" not in str(caught.value)


def test_an_empty_folder_is_said_to_be_empty(tmp_path):
    with pytest.raises(StoreError, match=r"got .*/out without videos/\*\.parquet"):
        load(tmp_path / "out", FrameStore(tmp_path / "s.duckdb"))
    with pytest.raises(ValueError, match="element_type must be F32 or F16, got 'F8'"):
        export(FrameStore(tmp_path / "s.duckdb"), tmp_path, element_type="F8")


# -- SingleStore, which loads by itself


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> Path:
    """A folder that both this process and the stand-in take for the storage's `s3://bucket`."""
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    monkeypatch.setenv("STANDIN_BUCKETS", str(tmp_path / "s3"))

    class Folders(DirFileSystem):
        protocol = "s3"
        async_impl = False

        def __init__(self):
            super().__init__(path=str(tmp_path / "s3"), fs=fsspec.filesystem("file"))

        @classmethod
        def _strip_protocol(cls, path):
            return path.removeprefix("s3://")

    fsspec.register_implementation("s3", Folders, clobber=True)
    yield tmp_path / "s3" / "bucket"
    _registry.pop("s3")
    Folders.clear_instance_cache()


MAPPING = (
    "REPLACE INTO TABLE frames FORMAT PARQUET (video_id <- video_id, frame_number <- frame_number, timestamp_seconds "
    "<- timestamp_seconds, @embedding <- embedding_data, frame_data <- frame_data) SET embedding_data = @embedding "
)


@pytest.mark.slow
@pytest.mark.parametrize("element_type", ["F32", "F16"])
def test_singlestore_loads_what_insert_would_write(filled, bucket, element_type):
    with StandIn(databases=("loaded", "inserted")) as server:
        loaded, inserted = (
            FrameStore(server.url(name), element_type=element_type) for name in ("loaded", "inserted")
        )
        fill(inserted, "v1", 50).mark_complete("v1")
        fill(inserted, "v1", 7, every_seconds=0.5)
        fill(inserted, "x'; DROP TABLE frames; -- /..", 21)
        export(filled, "s3://bucket/export", element_type=element_type)
        assert len(list(bucket.rglob("*.parquet"))) == 9
        server.clear()
        for _ in range(2):
            load("s3://bucket/export", loaded, config={"region": "us-east-1"}, credentials=KEYS)
            assert_same(inserted, loaded)
        assert not [each for each in server.statements() if each.startswith("INSERT INTO frames")]
        (statement, _) = [each for each in server.statements() if each.startswith("LOAD DATA")]
        where, _, rest = statement.partition(" REPLACE ")
        config = re.escape(r"{\"region\": \"us-east-1\"}")
        path = re.escape("s3://bucket/export/frames/*.parquet")
        assert re.fullmatch(rf"LOAD DATA S3 '{path}' CONFIG '{config}' CREDENTIALS '{{.*}}'", where)
        assert f"REPLACE {rest}" == f"{MAPPING}:> BLOB :> VECTOR({DIMENSION}, {element_type})"
        server.clear()
        load("s3://bucket/export", loaded, link="my_bucket")
        (statement,) = [each for each in server.statements() if each.startswith("LOAD DATA")]
        assert statement.startswith("LOAD DATA LINK my_bucket 'bucket/export/frames/*.parquet' REPLACE ")


@pytest.mark.slow
def test_singlestore_refuses_what_it_cannot_load(filled, bucket, tmp_path):
    export(filled, "s3://bucket/export")
    export(filled, tmp_path / "out")
    with StandIn() as server:
        store = FrameStore(server.url())
        with pytest.raises(ValueError, match=r"folder must be s3://…, which SingleStore loads from"):
            load(tmp_path / "out", store)
        with pytest.raises(ValueError, match="link must be the name of a link"):
            load("s3://bucket/export", store, link="a; DROP TABLE frames")
        export(filled, "s3://bucket/halved", element_type="F16")
        with pytest.raises(StoreError, match=r"export_parquet with element_type='F32'"):
            load("s3://bucket/halved", store)
        (bucket / "export" / "frames" / "v1-00000021.parquet").write_bytes(b"broken")
        with pytest.raises(StoreError, match="no Parquet"):
            load("s3://bucket/export", store, credentials=KEYS)
        assert store.read_frames("v1").empty


@pytest.mark.slow
@pytest.mark.parametrize("message", ["near 'CREDENTIALS it's \"hush\" \\ %s :x'", "no such bucket"])
def test_no_error_shows_the_credentials(filled, bucket, message):
    export(filled, "s3://bucket/export")
    with StandIn() as server:
        server.fault("error", match="LOAD DATA", code=1064, message=message)
        with pytest.raises(StoreError) as caught:
            load("s3://bucket/export", FrameStore(server.url()), credentials=KEYS)
    assert "hush" not in str(caught.getrepr(chain=True, style="short")).replace(message, "")
    ours = [entry.frame.f_locals for entry in caught.traceback[2:]]
    assert "hush" not in repr(ours)
    assert ("no such bucket" in message) == ("no such bucket" in str(caught.value))
