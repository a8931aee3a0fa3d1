import threading
import time
from pathlib import Path

import pytest

from tests.file_server import FileServer, Reply
from tests.light import LightEncoder
from tests.many_videos import write_one
from videolib import FrameStore, ingest_videos

pytestmark = pytest.mark.slow


@pytest.fixture
def contents(tmp_path, monkeypatch) -> list[bytes]:
    monkeypatch.setenv("VIDEOLIB_CACHE_DIR", str(tmp_path / "cache"))
    return [write_one(tmp_path / "v.mp4", "libx264", n, 2).read_bytes() for n in range(8)]


class Watching(LightEncoder):
    """Notes how many requests the server has had when the first frame of each video is embedded."""

    def __init__(self, server: FileServer) -> None:
        super().__init__()
        self.server, self.seen = server, []

    def encode_images(self, images):
        time.sleep(0.3)  # long enough for whoever downloads ahead
        self.seen.append(len(self.server.requests))
        return super().encode_images(images)


def test_downloads_run_ahead_but_only_so_many(contents, server, store):
    urls = [server.add(f"/{n}.mp4", Reply(content)) for n, content in enumerate(contents)]
    watching = Watching(server)
    ingest_videos(urls, watching, store, progress=False)
    assert watching.seen[0] > 1
    # what is written, two at once, and four ahead of it
    assert all(seen <= place + 2 + 4 for place, seen in enumerate(watching.seen))


def test_downloads_do_not_run_ahead_of_so_many_bytes(contents, server, store, monkeypatch):
    monkeypatch.setattr("videolib.ingestion.run.DOWNLOADED_AHEAD", 1)
    urls = [server.add(f"/{n}.mp4", Reply(content)) for n, content in enumerate(contents)]
    watching = Watching(server)
    table = ingest_videos(urls, watching, store, progress=False)
    assert (table["state"] == "stored").all()
    # two begin before the first one's bytes are known
    assert all(seen <= place + 3 for place, seen in enumerate(watching.seen))


def test_a_slow_download_holds_nobody_up_and_the_first_source_stands_for_its_content(
    contents, server, store, tmp_path
):
    slow = server.add("/slow.mp4", Reply(contents[0], wait_after=100, wait_seconds=3))
    paths = []
    for n in (0, 1, 2):
        paths.append(tmp_path / f"{n}.mp4")
        paths[-1].write_bytes(contents[n])
    order = []

    class Noting(LightEncoder):
        def encode_images(self, images):
            order.append(time.monotonic())
            return super().encode_images(images)

    began = time.monotonic()
    table = ingest_videos([slow, *paths], Noting(), store, progress=False)
    assert order[0] - began < 3
    assert table["state"].tolist() == ["stored", f"duplicate of {slow}", "stored", "stored"]
    assert sorted(store.list_videos()["source"]) == sorted([slow, *map(str, paths[1:])])


def test_a_download_ends_with_the_ingest(contents, server, store):
    """A server that sends a byte now and then holds no thread once all is stopped."""
    urls = [server.add("/slow.mp4", Reply(contents[0], wait_between=0.05))]
    urls.append(server.add("/quick.mp4", Reply(contents[1])))

    class Failing(LightEncoder):
        def encode_images(self, images):
            raise RuntimeError("out of memory")

    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="out of memory"):
        ingest_videos(urls, Failing(), store, progress=False)
    for thread in set(threading.enumerate()) - before:
        if "run" in thread.name:
            thread.join(5)
            assert not thread.is_alive()
    assert list(Path(f"{store.engine.url.database}").parent.glob("cache/slow*.part"))


def test_threads_of_the_caller_may_ingest_at_once(contents, tmp_path):
    """Each into a store of its own."""
    path = tmp_path / "v.mp4"

    def work(name: str) -> None:
        ingest_videos(path, LightEncoder(), FrameStore(tmp_path / name), progress=False)

    threads = [threading.Thread(target=work, args=(f"{n}.duckdb",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(FrameStore(tmp_path / f"{n}.duckdb").list_videos()["complete"].all() for n in range(2))
