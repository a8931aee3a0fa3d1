import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.light import LightEncoder
from tests.many_videos import make_folder, rows_of, write_one
from videolib import FrameStore, StoreError, ingest_videos

ray = pytest.importorskip("ray")
ray_cluster = pytest.importorskip("ray.cluster_utils")

pytestmark = [pytest.mark.slow, pytest.mark.singlestore]

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
LONG = 100  # frames of the one video that is split


@pytest.fixture(scope="module")
def cluster():
    """Two nodes on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", "/tmp")  # a socket's path must be short
        nodes = ray_cluster.Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        nodes.add_node(**NODE)
        nodes.wait_for_nodes()
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A long video, and seven more: one of them the first again, one empty."""
    folder = tmp_path_factory.mktemp("videos") / "films"
    make_folder(folder, 7, damaged=1, same=1)
    write_one(folder / "long.mp4", "libx264", 50, LONG)
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory) -> FrameStore:
    store = FrameStore(tmp_path_factory.mktemp("undisturbed") / "store.duckdb")
    ingest_videos(folder, LightEncoder(), store, progress=False)
    return store


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr("videolib.ingestion.cluster.PART_FRAMES", 32)


class Disturbed(LightEncoder):
    """Calls for trouble once, in the first process that embeds so many images."""

    def __init__(self, flag: Path, count: int = 12, *, dies: bool = False) -> None:
        super().__init__()
        self.flag, self.limit, self.dies = flag, count, dies

    def encode_images(self, images):
        found = super().encode_images(images)
        time.sleep(0.05)
        if self.count >= self.limit and not self.flag.exists():
            self.flag.write_text(ray.get_runtime_context().get_node_id() if ray.is_initialized() else "")
            if self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
        return found


def test_the_rows_and_the_table_are_those_without_a_cluster(
    cluster, folder, undisturbed, singlestore_url, tmp_path
):
    store = FrameStore(singlestore_url)
    table = ingest_videos(folder, LightEncoder(), store, progress=False, cluster=cluster.address)
    expected = ingest_videos(folder, LightEncoder(), undisturbed, progress=False)
    expected["state"] = expected["state"].str.replace("already stored", "stored")
    pd.testing.assert_frame_equal(table, expected)
    assert rows_of(store) == rows_of(undisturbed)
    again = ingest_videos(folder, LightEncoder(), store, progress=False, cluster=cluster.address)
    assert not again["state"].eq("stored").any()


def test_what_is_damaged_is_not_divided_in_the_end(cluster, singlestore_url, tmp_path):
    path = write_one(tmp_path / "long.mp4", "libx264", 50, LONG)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    stores = FrameStore(singlestore_url), FrameStore(tmp_path / "store.duckdb")
    tables = [
        ingest_videos(path, LightEncoder(), store, progress=False, cluster=address)
        for store, address in zip(stores, (cluster.address, None), strict=True)
    ]
    assert "could not be read" in tables[0]["error"][0]
    assert tables[0].equals(tables[1])
    assert rows_of(stores[0]) == rows_of(stores[1])


def test_a_worker_that_is_killed_costs_nothing(cluster, folder, undisturbed, singlestore_url, tmp_path):
    store = FrameStore(singlestore_url)
    encoder = Disturbed(tmp_path / "flag", dies=True)
    table = ingest_videos(folder, encoder, store, progress=False, cluster=cluster.address)
    assert encoder.flag.exists()
    assert (table["state"] == "failed").sum() == 1
    assert rows_of(store) == rows_of(undisturbed)


def test_a_video_that_kills_its_worker_again_and_again_fails_alone(cluster, singlestore_url, tmp_path):
    class Poisoned(LightEncoder):
        def encode_images(self, images):
            found = super().encode_images(images)
            if len(found) == 3:  # frames of the one that is 3 s long
                os.kill(os.getpid(), signal.SIGKILL)
            return found

    paths = [
        write_one(tmp_path / f"{n}.mp4", "libx264", n, seconds) for n, seconds in enumerate((2, 3, 4, 2))
    ]
    store = FrameStore(singlestore_url)
    table = ingest_videos(paths, Poisoned(), store, progress=False, cluster=cluster.address)
    assert table["state"].tolist() == ["stored", "failed", "stored", "stored"]
    assert table["error"][1].startswith("its worker ended 4 times")


def test_a_node_that_is_removed_costs_nothing(cluster, folder, undisturbed, singlestore_url, tmp_path):
    store = FrameStore(singlestore_url)
    flag = tmp_path / "flag"
    extra = cluster.add_node(**NODE)

    def remove() -> None:
        while not flag.exists():
            time.sleep(0.05)
        cluster.remove_node(extra, allow_graceful=False)

    thread = threading.Thread(target=remove)
    thread.start()
    ingest_videos(folder, Disturbed(flag), store, progress=False, cluster=cluster.address)
    thread.join()
    assert rows_of(store) == rows_of(undisturbed)


SCRIPT = """
import sys
from pathlib import Path
from tests.ingestion.test_cluster import Disturbed
from videolib import FrameStore, ingest_videos
from videolib.ingestion import cluster

cluster.PART_FRAMES = 32
folder, flag, store, address = sys.argv[1:]
ingest_videos(folder, Disturbed(Path(flag)), FrameStore(store), progress=False, cluster=address)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_gone_begins_again(number, cluster, folder, undisturbed, singlestore_url, tmp_path):
    flag = tmp_path / "flag"
    command = [sys.executable, "-c", SCRIPT, folder, flag, singlestore_url, cluster.address]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    while not flag.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -number, err
    if number == signal.SIGINT:
        assert err.splitlines()[-1].endswith("frames were written: call ingest_videos again to go on")
    store = FrameStore(singlestore_url)
    assert rows_of(store) != rows_of(undisturbed)
    ingest_videos(folder, LightEncoder(), store, progress=False, cluster=cluster.address)
    assert rows_of(store) == rows_of(undisturbed)


def test_each_machine_has_a_line(cluster, folder, singlestore_url, capfd):
    ingest_videos(folder, LightEncoder(), FrameStore(singlestore_url), cluster=cluster.address)
    last = capfd.readouterr().err.replace("\r", "\n")
    assert "8 of 8 videos: 100%" in last
    host = os.uname().nodename
    assert f"{host} 1: " in last
    assert f"{host} 2: " in last


def test_a_file_is_refused_where_others_are_to_write_to_it(cluster, folder, store, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with pytest.raises(
        StoreError, match=r"store must be on a server where .* write to it too, got FrameStore"
    ):
        ingest_videos(folder, LightEncoder(), store, progress=False, cluster=cluster.address)


def test_a_store_in_memory_is_refused(cluster, folder):
    with pytest.raises(StoreError, match="lives in this process alone: use a file or a server"):
        ingest_videos(folder, LightEncoder(), FrameStore(":memory:"), progress=False, cluster=cluster.address)


def test_without_ray_the_extra_is_named(folder, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'videolib\[ray\]'"):
        ingest_videos(folder, LightEncoder(), store, progress=False, cluster="auto")
