"""Pictures outside the database: every caller sees the bytes as if they were in it."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import text

from tests.conftest import make_frames, make_video
from videolib import FrameStore, StoreError, copy_videos, ingest, preflight
from videolib.demo import SAMPLE_VIDEO_PATH
from videolib.store import pictures as outside

pytestmark = pytest.mark.filterwarnings("ignore:what is not complete")
DIMENSION = 8
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}
ROWS = np.random.default_rng(0).normal(size=(6, DIMENSION))


class Objects(AsyncFileSystemWrapper):
    """An object storage: no folders, many requests at once."""

    protocol = "objects"

    def __init__(self):
        super().__init__(MemoryFileSystem(), asynchronous=False)


@pytest.fixture(params=["duckdb", pytest.param("singlestore", marks=pytest.mark.singlestore)])
def store_url(request, tmp_path) -> str:
    if request.param == "duckdb":
        return f"duckdb:///{tmp_path}/store.duckdb"
    return request.getfixturevalue("singlestore_url")


@pytest.fixture(params=["folder", "memory", "objects"])
def place(request, tmp_path) -> str:
    if request.param == "folder":
        return str(tmp_path / "ein Ordner?" / "#100% [a]::b")
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    fsspec.register_implementation("objects", Objects, clobber=True)
    return f"{request.param}://bucket/frames"


@pytest.fixture
def store(store_url, place) -> FrameStore:
    return FrameStore(store_url, pictures=place)


def fill(store: FrameStore, video_id: str = "v1", **columns) -> pd.DataFrame:
    frames = make_frames(video_id, ROWS).assign(**columns)
    store.write_video(make_video(video_id), **MODEL)
    store.write_frames(frames)
    return frames


def kept(store: FrameStore) -> list[bytes]:
    """What the rows themselves have."""
    with store.engine.connect() as connection:
        rows = connection.execute(text("SELECT frame_data FROM frames ORDER BY video_id, frame_number"))
        return [bytes(row[0]) for row in rows]


def files(place: str) -> dict[str, bytes]:
    if "://" not in place:
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in Path(place).rglob("*.jpg")}
    root = "/" + place.partition("://")[2] + "/"
    return {name.removeprefix(root): data.getvalue() for name, data in MemoryFileSystem.store.items()}


def test_every_way_of_reading_brings_the_pictures(store, store_url, place):
    frames = fill(store)
    assert all(data.startswith(b"picture-address:" + place.encode()) for data in kept(store))
    assert sorted(files(place).values()) == sorted(frames["frame_data"])
    expected = frames["frame_data"].tolist()
    for reader in (store, FrameStore(store_url)):  # it needs not be told where they are
        assert reader.read_frames("v1")["frame_data"].tolist() == expected
        assert pd.concat(reader.read_batches("v1", after=2))["frame_data"].tolist() == expected[2:]
        found = reader.search(ROWS[3], 2)
        assert found["frame_data"].tolist() == [expected[n - 1] for n in found["frame_number"]]
        index = reader.load_index()
        assert index.search(ROWS[3], 2)["frame_data"].tolist() == found["frame_data"].tolist()
        keys = pd.DataFrame({"video_id": "v1", "frame_number": [5, 99, 1, 5]})
        for pictures in (reader.add_pictures(keys), index.add_pictures(keys)):
            known = pictures["frame_data"].tolist()
            assert [known[0], *known[2:]] == [expected[4], expected[0], expected[4]]
            assert pd.isna(known[1])


def test_writing_again_changes_nothing(store, place):
    fill(store)
    before = files(place), kept(store)
    fill(store)
    assert (files(place), kept(store)) == before


def test_a_replaced_frame_has_its_new_picture(store):
    frames = fill(store)
    store.write_frames(frames.iloc[:1].assign(frame_data=b"new"))
    assert store.read_frames("v1")["frame_data"].tolist() == [b"new", *frames["frame_data"][1:]]


def test_a_refused_write_changes_no_picture(store):
    frames = fill(store)
    bad = frames.assign(frame_data=b"new", embedding_data=list(2 * np.stack(frames["embedding_data"])))
    with pytest.raises(ValueError, match="unit length"):
        store.write_frames(bad)
    assert store.read_frames("v1")["frame_data"].tolist() == frames["frame_data"].tolist()


def test_deleting_a_video_deletes_its_pictures_alone(store, place):
    fill(store, "v1")
    fill(store, "v10")
    store.delete_video("v1")
    assert {name.partition("/")[0] for name in files(place)} == {"video_id=v10"}
    assert len(store.read_frames("v10")) == 6
    fill(store, "v1")
    assert len(store.read_frames("v1")) == 6


def test_pictures_inside_and_in_two_places_are_read_and_deleted(store_url, tmp_path):
    places = [None, tmp_path / "a", tmp_path / "b"]
    stores = [FrameStore(store_url, pictures=place) for place in places]
    frames = make_frames("v1", ROWS)
    stores[0].write_video(make_video("v1"), **MODEL)
    for start, each in zip((0, 2, 4), stores, strict=True):
        each.write_frames(frames.iloc[start : start + 2])
    assert stores[0].read_frames("v1")["frame_data"].tolist() == frames["frame_data"].tolist()
    assert len(list(tmp_path.rglob("*.jpg"))) == 4
    stores[0].delete_video("v1")
    assert not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize("video_id", ["..", "a/../b", "é@0.5s", "é" * 60, "x'; DROP TABLE frames; -- *?[]#"])
def test_no_video_id_leads_out_of_the_folder(tmp_path, video_id):
    store = FrameStore(tmp_path / "s.duckdb", pictures=tmp_path / "in" / "pictures")
    frames = fill(store, video_id)
    assert store.read_frames(video_id)["frame_data"].tolist() == frames["frame_data"].tolist()
    (folder,) = {path.parent for path in tmp_path.rglob("*.jpg")}
    assert folder.parent == tmp_path / "in" / "pictures"
    store.delete_video(video_id)
    assert not list(tmp_path.rglob("*.jpg"))


def test_a_picture_that_is_gone_is_named(store, place):
    fill(store)
    system, root = (fsspec.filesystem("file"), place) if "://" not in place else fsspec.core.url_to_fs(place)
    name = next(name for name in files(place) if "/00000004-" in name)
    system.rm_file(f"{root}/{name}")
    assert store.search(ROWS[3], 0).empty
    with pytest.raises(StoreError, match=re.escape(f"the picture at {place}/{name} is gone")):
        store.search(ROWS[3], 1)
    assert len(store.similarities(ROWS[0], "v1")) == 6  # needs no picture
    store.delete_video("v1")


def test_a_picture_that_may_not_be_read_says_why(tmp_path):
    store = FrameStore(tmp_path / "s.duckdb", pictures=tmp_path / "p")
    fill(store)
    path = next((tmp_path / "p").rglob("*.jpg"))
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match=r"cannot be read \(IsADirectoryError"):
        store.read_frames("v1")


def test_where_nothing_can_be_written_nothing_is_stored(tmp_path):
    (tmp_path / "file").touch()
    store = FrameStore(tmp_path / "s.duckdb", pictures=tmp_path / "file")
    with pytest.raises(StoreError, match=r"pictures must be where files can be written, and .*/file is not"):
        fill(store)
    assert store.read_frames("v1").empty


def test_copies_keep_pictures_where_their_store_says(tmp_path):
    first = FrameStore(tmp_path / "1.duckdb", pictures=tmp_path / "first")
    frames = fill(first)
    second = FrameStore(tmp_path / "2.duckdb", pictures=tmp_path / "second")
    third = FrameStore(tmp_path / "3.duckdb")
    copy_videos(first, second, progress=False)
    copy_videos(second, third, progress=False)
    assert kept(third) == frames["frame_data"].tolist()
    assert all(
        data.startswith(b"picture-address:%b/second/" % os.fsencode(tmp_path)) for data in kept(second)
    )
    first.delete_video("v1")
    assert second.read_frames("v1")["frame_data"].tolist() == frames["frame_data"].tolist()


def test_a_store_keeps_pictures_of_its_own_where_several_share_a_place(tmp_path):
    """Not that they should: a video_id says nothing of the sampling."""
    stores = [FrameStore(tmp_path / f"{name}.duckdb", pictures=tmp_path / "shared") for name in "ab"]
    written = [fill(each, frame_data=f"sampled for {n}".encode()) for n, each in enumerate(stores)]
    for each, frames in zip(stores, written, strict=True):
        assert each.read_frames("v1")["frame_data"].tolist() == frames["frame_data"].tolist()


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd",
        "https://example.com/video_id=v1/00000001-0123456789abcdef.jpg",
        "simplecache::s3://b/video_id=v1/00000001-0123456789abcdef.jpg",
        "memory://*/video_id=v1/00000001-0123456789abcdef.jpg",
        "/home/video_id=v2/00000001-0123456789abcdef.jpg",
    ],
)
def test_what_another_program_put_there_is_neither_fetched_nor_deleted(tmp_path, address):
    store = FrameStore(tmp_path / "s.duckdb")
    fill(store)
    with store.engine.begin() as connection:
        data = b"picture-address:" + address.encode()
        connection.execute(text("UPDATE frames SET frame_data = :data"), {"data": data})
    with pytest.raises(StoreError, match="addresses that videolib wrote"):
        store.delete_video("v1")
    if "v2" not in address:
        with pytest.raises(StoreError, match="addresses that videolib wrote"):
            store.read_frames("v1")


def test_addresses_are_not_taken_for_pictures(tmp_path):
    with pytest.raises(ValueError, match="frame_data must be pictures, got an address"):
        fill(FrameStore(tmp_path / "s.duckdb"), frame_data=b"picture-address:/etc/passwd")


def test_room_and_preflight_do_not_count_what_lies_outside(tmp_path, encoder):
    inside, store = (FrameStore(tmp_path / "s.duckdb", pictures=place) for place in (None, tmp_path / "p"))
    each = 4 * 512 + outside.ADDRESS_BYTES
    assert store.check_room(10, frame_bytes=12_000) == 10 * each
    fill(store, frame_data=bytes(5000))
    assert store.check_room(10) == 10 * (4 * DIMENSION + len(kept(store)[0]))
    assert max(map(len, kept(store))) < outside.ADDRESS_BYTES
    assert (
        inside.check_room(10, frame_bytes=12_000) == 120_000
    )  # those that are there say nothing of new ones
    plan = preflight(SAMPLE_VIDEO_PATH, encoder, store=store)
    assert plan.store_bytes == plan.frame_count * (4 * encoder.dimension + outside.ADDRESS_BYTES)
    assert plan.store_bytes < preflight(SAMPLE_VIDEO_PATH, encoder, store=inside).store_bytes


# -- where they go


@pytest.mark.parametrize(
    "place",
    [
        "s3://key:hush@bucket/frames",
        "s3://bucket/frames?key=hush",
        "ftp://me:hush@host/x#y",
        "s3://a:hush/@b/",
    ],
)
def test_a_secret_is_refused_and_not_shown(tmp_path, place):
    with pytest.raises(ValueError, match="without user, password, query") as caught:
        FrameStore(tmp_path / "s.duckdb", pictures=place)
    assert "hush" not in str(caught.value)
    ours = [entry.frame.f_locals for entry in caught.traceback[1:]]
    assert ours
    assert "hush" not in repr(ours)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", "a name in UTF-8"),
        ("/\udcff", "a name in UTF-8"),
        ("s3://", "an address to write to"),
        ("https://example.com/frames", "an address to write to"),
        ("simplecache::s3://bucket/frames", "an address to write to"),
        ("memory://fr*mes", "an address to write to"),
        ("nothing://bucket/frames", "an address that fsspec knows"),
    ],
)
def test_a_place_for_no_files_is_refused(tmp_path, place, message):
    with pytest.raises(ValueError, match=message):
        FrameStore(tmp_path / "s.duckdb", pictures=place)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StoreError, match=r"s3://bucket/frames need a package that is not installed: .*s3fs"):
        FrameStore(tmp_path / "s.duckdb", pictures="s3://bucket/frames/")
    store = FrameStore(tmp_path / "s.duckdb")
    fill(store)
    with store.engine.begin() as connection:
        data = b"picture-address:s3://bucket/video_id=v1/00000001-0123456789abcdef.jpg"
        connection.execute(text("UPDATE frames SET frame_data = :data"), {"data": data})
    with pytest.raises(StoreError, match=r"s3://bucket need a package that is not installed: .*s3fs"):
        store.read_frames("v1")


def test_a_path_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for place, root in (("p/", "p"), ("~/p", "home/p"), (Path("p"), "p"), (f"file://{tmp_path}/p", "p")):
        assert FrameStore("s.duckdb", pictures=place).pictures == str(tmp_path / root)
    assert FrameStore("s.duckdb").pictures is None


# -- ingest


@pytest.fixture(scope="module")
def undisturbed(encoder, tmp_path_factory) -> pd.DataFrame:
    store = FrameStore(tmp_path_factory.mktemp("whole") / "s.duckdb")
    video = ingest(SAMPLE_VIDEO_PATH, encoder, store, every_seconds=2, progress=False)
    return store.read_frames(video.video_id)


INGEST = """
import os, signal, sys
from pathlib import Path
import fsspec
from fsspec.implementations.local import LocalFileSystem
from videolib import ClipEncoder, FrameStore, ingest
from videolib.demo import SAMPLE_VIDEO_PATH

folder, left = Path(sys.argv[1]), int(sys.argv[2])
opened = LocalFileSystem._open

def count(*arguments, **options):
    global left
    file = opened(*arguments, **options)
    if options.get("mode", arguments[2:3] and arguments[2]) == "wb":
        left -= 1
        if left == 0:
            file.write(b"half a pic")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    return file

LocalFileSystem._open = count
store = FrameStore(folder / "s.duckdb", pictures=folder / "p")
ingest(SAMPLE_VIDEO_PATH, ClipEncoder("demo", device="cpu"), store, every_seconds=2, progress=False)
"""


@pytest.mark.slow
def test_an_ingest_killed_while_it_writes_pictures_goes_on(tmp_path, undisturbed):
    codes = []
    for moment in (1, 7, 10_000):
        command = [sys.executable, "-c", INGEST, str(tmp_path), str(moment)]
        codes.append(subprocess.run(command, capture_output=True).returncode)
    assert codes == [-9, -9, 0]
    store = FrameStore(tmp_path / "s.duckdb")
    (video_id,) = store.list_videos()["video_id"]
    rows = store.read_frames(video_id)
    for name in ("frame_number", "timestamp_seconds", "frame_data"):
        assert rows[name].tolist() == undisturbed[name].tolist()
    assert len(list((tmp_path / "p").rglob("*.jpg"))) == len(rows)  # the half ones were made whole


@pytest.mark.slow
def test_two_samplings_and_replace(tmp_path, encoder, undisturbed):
    place = tmp_path / "p"
    store = FrameStore(tmp_path / "s.duckdb", pictures=place)
    path = tmp_path / "talk.mp4"
    path.write_bytes(SAMPLE_VIDEO_PATH.read_bytes())
    fine = ingest(path, encoder, store, every_seconds=2, progress=False)
    coarse = ingest(path, encoder, store, every_seconds=5, progress=False)
    assert store.read_frames(fine.video_id)["frame_data"].tolist() == undisturbed["frame_data"].tolist()
    coarse_rows = store.read_frames(coarse.video_id)
    assert coarse_rows["frame_data"][0].startswith(b"\xff\xd8")
    store.delete_video(fine.video_id)
    assert len(list(place.rglob("*.jpg"))) == len(coarse_rows)
    path.write_bytes(SAMPLE_VIDEO_PATH.read_bytes() + bytes(8))
    new = ingest(path, encoder, store, every_seconds=5, replace=True, progress=False)
    assert {each.name for each in place.iterdir()} == {f"video_id={new.video_id}"}
    assert os.stat(place).st_mode & stat.S_IFDIR
