"""Many short videos: ``python -m benchmarks.many_videos`` ingests 200, beside a loop, and interrupts and kills it.

Ten of them are damaged in ten ways, five more have the content of the first. Each run is a process of its own; what
counts is the work alone, without imports. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.light import LightEncoder
from tests.many_videos import make_folder, rows_of
from videolib import ClipEncoder, FrameStore, VideolibError, ingest, ingest_videos


def _encoder(name: str) -> Any:
    return LightEncoder() if name == "light" else ClipEncoder(name, device="cpu")


def work(way: str, folder: Path, store: Path, model: str) -> dict[str, Any]:
    """Ingest all, by a loop or in one call, and watch the memory meanwhile."""
    encoder, memory = _encoder(model), []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    watcher = threading.Thread(target=watch)
    watcher.start()
    print("begins", flush=True)
    began, cpu = time.perf_counter(), time.process_time()
    states: dict[str, int] = {}
    try:
        if way == "loop":
            for path in sorted(folder.rglob("*.*")):
                try:
                    ingest(path, encoder, FrameStore(store), progress=False)
                except VideolibError:
                    states["failed"] = states.get("failed", 0) + 1
        else:
            table = ingest_videos(folder, encoder, FrameStore(store), progress=False)
            states = table["state"].str.split().str[0].value_counts().to_dict()
    finally:
        done.set()
        watcher.join()
    half = len(memory) // 2
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "mb_first_half": round(max(memory[:half], default=0)),
        "mb_second_half": round(max(memory[half:], default=0)),
        "states": states,
    }


def start(way: str, folder: Path, store: Path, model: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.many_videos", "--work", way, folder, store, model]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(err[-2000:])
    return json.loads(out.splitlines()[-1])


def disturb(
    number: signal.Signals, folder: Path, store: Path, model: str, seconds: list[float]
) -> list[float]:
    """End a run after each of these seconds, and begin anew; returns how long each took to end."""
    took = []
    for wait in seconds:
        process = start("many", folder, store, model)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            began = time.perf_counter()
            _, err = process.communicate()
            took.append(round(time.perf_counter() - began, 2))
            last = err.splitlines()[-1] if err else ""
            print(
                f"  {number.name} after {wait:.1f} s, ended {took[-1]} s later, {process.returncode}: {last}",
                flush=True,
            )
        else:
            print(f"  was done before {wait:.1f} s", flush=True)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=Path("build/many"), help="where everything is made")
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument(
        "--disturbed", type=int, default=10, help="times that a run is interrupted, and killed"
    )
    parser.add_argument("--ways", nargs="*", default=["loop", "many", "again"], help="what is timed")
    parser.add_argument(
        "--model", default="light", help="'light' needs no model; else as ClipEncoder takes it"
    )
    arguments = parser.parse_args()
    if arguments.work:
        way, folder, store, model = arguments.work
        print(json.dumps(work(way, Path(folder), Path(store), model)))
        return
    films = arguments.folder / "films"
    if not films.exists():
        make_folder(films, arguments.videos, damaged=10, same=5)
    results = {}
    for way in arguments.ways:
        store = arguments.folder / f"{'loop' if way == 'loop' else 'many'}.duckdb"
        if way != "again":
            store.unlink(missing_ok=True)
        results[way] = finish(start(way, films, store, arguments.model))
        print(way, results[way], flush=True)
    undisturbed = rows_of(FrameStore(arguments.folder / "many.duckdb"))
    chance = random.Random(0)
    for number in (signal.SIGINT, signal.SIGKILL):
        store = arguments.folder / f"{number.name}.duckdb"
        store.unlink(missing_ok=True)
        seconds = [chance.uniform(0, results["many"]["seconds"] / 10) for _ in range(arguments.disturbed)]
        disturb(number, films, store, arguments.model, seconds)
        finish(start("many", films, store, arguments.model))
        print(
            f"{number.name}: same rows as undisturbed: {rows_of(FrameStore(store)) == undisturbed}",
            flush=True,
        )


if __name__ == "__main__":
    main()
