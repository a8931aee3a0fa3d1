"""Many videos on a Ray cluster of two nodes on this machine: ``python -m benchmarks.many_machines``.

First the time and the memory with Ray on this machine, beside without. Then, into the tests' stand-in of SingleStore, a
worker is killed, a node removed, and the driver killed and begun again, at several moments each; the rows must be the
same.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from tests.ingestion.test_cluster import NODE, SCRIPT, Disturbed
from tests.light import LightEncoder
from tests.many_videos import make_folder, rows_of, write_one
from tests.singlestore_standin import StandIn
from videolib import ClipEncoder, FrameStore, ingest_videos
from videolib.ingestion import cluster as module


def tree_mb() -> float:
    """Proportional memory of all processes of this session, in MB: this one, and what Ray has started."""
    total = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getsid(int(folder.name)) == os.getsid(0):
                text = (folder / "smaps_rollup").read_text()
                total += int(text.split("Pss:")[1].split()[0])
        except (OSError, IndexError):
            continue
    return total / 1024


def timed(films: Path, store: Path, model: str, address: str | None) -> None:
    store.unlink(missing_ok=True)
    encoder: Any = LightEncoder() if model == "light" else ClipEncoder(model, device="cpu")
    done, peak, frames = threading.Event(), [0.0], []

    def watch() -> None:
        while not done.wait(0.5):
            peak[0] = max(peak[0], tree_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    table = ingest_videos(films, encoder, FrameStore(store), progress=False, cluster=address)
    seconds = time.perf_counter() - began
    again = time.perf_counter()
    ingest_videos(films, encoder, FrameStore(store), progress=False, cluster=address)
    start = time.perf_counter() - again
    done.set()
    watcher.join()
    frames = int(table.drop_duplicates("video_id")["frames"].sum())
    print(
        f"cluster={address}: {seconds:.1f} s for {frames} frames, {start:.1f} s where all is stored, {peak[0]:.0f} MB",
        flush=True,
    )


def disturbed(kind: str, moment: int, films: Path, nodes: Cluster, url: str) -> None:
    flag = Path(tempfile.mkdtemp()) / "flag"
    if kind == "driver":
        command = [
            sys.executable,
            "-c",
            SCRIPT.replace("Path(flag)", f"Path(flag), {moment}"),
            films,
            flag,
            url,
        ]
        process = subprocess.Popen([*map(str, command), nodes.address], stderr=subprocess.DEVNULL)
        while not flag.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        ingest_videos(films, LightEncoder(), FrameStore(url), progress=False, cluster=nodes.address)
        return
    if kind == "node":
        extra = nodes.add_node(**NODE)

        def remove() -> None:
            while not flag.exists():
                time.sleep(0.05)
            nodes.remove_node(extra, allow_graceful=False)

        threading.Thread(target=remove).start()
    encoder = Disturbed(flag, moment, dies=kind == "worker")
    ingest_videos(films, encoder, FrameStore(url), progress=False, cluster=nodes.address)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("build/many_machines"), help="where everything is made"
    )
    parser.add_argument("--moments", type=int, default=5)
    parser.add_argument("--kinds", nargs="*", default=["time", "worker", "node", "driver"])
    parser.add_argument(
        "--model", default="light", help="of the time; 'light' needs none, else as ClipEncoder takes it"
    )
    arguments = parser.parse_args()
    films = arguments.folder / "films"
    if not films.exists():
        make_folder(films, 24, damaged=2, same=1, seconds=8)
        write_one(films / "long.mp4", "libx264", 50, 200)
    store = arguments.folder / "alone.duckdb"
    if "time" in arguments.kinds:
        for address in (None, "auto"):
            timed(films, store, arguments.model, address)
    store.unlink(missing_ok=True)
    ingest_videos(films, LightEncoder(), FrameStore(store), progress=False)
    expected = rows_of(FrameStore(store))
    module.PART_FRAMES = 32
    nodes = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    nodes.add_node(**NODE)
    nodes.wait_for_nodes()
    for kind in [kind for kind in arguments.kinds if kind != "time"]:
        for moment in range(1, 1 + arguments.moments):
            with StandIn() as server:
                began = time.perf_counter()
                disturbed(kind, 12 * moment - 8, films, nodes, server.url())
                same = rows_of(FrameStore(server.url())) == expected
                print(
                    f"{kind}, moment {moment}: {time.perf_counter() - began:.0f} s, same rows: {same}",
                    flush=True,
                )
    ray.shutdown()
    nodes.shutdown()


if __name__ == "__main__":
    main()
