"""What a collection costs, from ten thousand frames to a billion: time, room, memory, seconds a query, money.

    python tools/simulate_scale.py                          # the tables of docs/scale.md
    python tools/simulate_scale.py --machines 100 --core-hour 0.05 --gpu-hour 4 --terabyte-month 23
    python tools/simulate_scale.py --check                  # runs 10^4, 10^5 and 10^6 here, and says the error

What this machine does is read from benchmarks/results.md; what it cannot do is taken from the sources that are named
beside the figures. Many machines and many partitions are simulated: whole videos of differing length, machines that are
lost, partitions of which the slowest counts.
"""

from __future__ import annotations

import argparse
import heapq
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results.md"
SIZES = [10**power for power in range(4, 10)]
CHECKED = SIZES[:3]
DIMENSION, PICTURE_BYTES = 512, 10_000
BENCHMARK_CORES = 2
KEYFRAME_SECONDS = 5.0  # between two keyframes of the benchmark's long groups: 28 in 142 s

# SingleStore's published benchmark: 33 million embeddings of 512 numbers on four leaves of four virtual processors,
# IVF, believed to have had the defaults nlist 128 and nprobe 8: 154.6 queries/s with PQFS codes (m 32), 15.9 with whole
# embeddings. A code has 4 bits: 16 bytes a row.
_PUBLISHED_ROWS, _PUBLISHED_CORES, _SHARE = 33e6, 16, 8 / 128
_CODE_BYTES = 32 / 2
CODE_BYTES_A_CORE = 154.6 * _PUBLISHED_ROWS * _SHARE * _CODE_BYTES / _PUBLISHED_CORES
FLOAT_BYTES_A_CORE = 15.9 * _PUBLISHED_ROWS * _SHARE * 4 * 512 / _PUBLISHED_CORES
PARTITION_SPREAD = 0.25  # of the logarithm of a partition's time; believed
ROUND_TRIP_SECONDS = 0.005  # between the aggregator and the leaves; believed


class Results:
    """The figures of benchmarks/results.md, by section, row and column."""

    def __init__(self, text: str):
        self._tables: dict[str, list[list[str]]] = {}
        section = ""
        for line in text.splitlines():
            if line.startswith("#"):
                section = line.strip("# ")
            elif line.startswith("|") and not line.startswith("|--"):
                cells = [cell.strip() for cell in line.strip("|").split("|")]
                self._tables.setdefault(section, []).append(cells)

    def __call__(self, section: str, row: str, column: str) -> float:
        """The figure; KeyError where the page has no such section, row or column."""
        name = next((name for name in self._tables if name.startswith(section)), None)
        if name is None:
            raise KeyError(f"{RESULTS.name} has no section {section!r}")
        head, *rows = self._tables[name]
        found = next((cells for cells in rows if cells[0] == row), None)
        if found is None or column not in head:
            raise KeyError(f"{RESULTS.name}, {name!r}, has no {row!r} or no {column!r}")
        return float(re.sub(r"[^\d.]", "", found[head.index(column)]))


class Machine:
    """What was measured of one machine, and lines through two sizes of what grows with the frames."""

    def __init__(self, results: Results):
        hd = results("long_groups-142s.mp4", "videolib", "s") / 142
        self.core_seconds_a_frame = BENCHMARK_CORES * hd
        keyframes = results("long_groups-142s.mp4", "videolib, keyframes only", "s")
        self.core_seconds_a_keyframe = BENCHMARK_CORES * keyframes / 28
        pictures = results("Pictures of 224 x 224", "videolib", "pictures/s")
        self.core_seconds_to_embed = BENCHMARK_CORES / pictures
        self.index_ms = self._line(results, "videolib, index without pictures", "ms a query")
        self.store_ms = self._line(results, "videolib, store.search in DuckDB", "ms a query")
        self.index_mb = self._line(results, "videolib, index without pictures", "peak MB")

    def duckdb_ms(self, count: float) -> float:
        """Milliseconds of a search in DuckDB, which gives each 122,880 rows to one thread."""
        threads = min(BENCHMARK_CORES, np.ceil(count / 122_880))
        return float(self.store_ms[0] + self.store_ms[1] * count / threads)

    @staticmethod
    def _line(results: Results, row: str, column: str) -> tuple[float, float]:
        """Intercept and slope a frame, through 10^4 and 10^5; 10^6 is left to be foretold."""
        small, large = (results(f"{size:,} x 512", row, column) for size in (10_000, 100_000))
        slope = (large - small) / 90_000
        return small - slope * 10_000, slope


def along(line: tuple[float, float], count: float) -> float:
    """The value of a line at this many frames."""
    return line[0] + line[1] * count


def simulate_fleet(
    core_seconds: np.ndarray, machines: int, cores: int, *, losses_a_day: float, seed: int = 0
) -> float:
    """Hours until a fleet has done videos that take so many core-seconds each, one after the other on each machine.

    A machine that is lost begins its video again, less the batches that are stored: on the mean half of one of 32
    frames, and 60 s until another takes its place.
    """
    random = np.random.default_rng(seed)
    seconds = core_seconds / cores
    lost = random.random(len(seconds)) < 1 - np.exp(-losses_a_day * seconds / 86_400)
    seconds = seconds + lost * 60.0
    free = [0.0] * min(machines, len(seconds))
    for each in np.sort(seconds)[::-1]:  # the long ones first
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free) / 3600


def video_lengths(hours: float, *, most: int = 200_000, seed: int = 0) -> np.ndarray:
    """Lengths in seconds that sum to so many hours: log-normal, a median of 4 minutes; at most so many videos."""
    random = np.random.default_rng(seed)
    median = max(240.0, hours * 3600 / most / np.exp(0.5))
    count = max(1, round(hours * 3600 / (median * np.exp(0.5))))
    lengths = median * np.exp(random.standard_normal(count))
    return np.asarray(lengths * (hours * 3600 / lengths.sum()))


def query_seconds(count: float, bytes_a_frame: float, share: float, rate: float, partitions: int) -> float:
    """Seconds of one query: the slowest partition's part of the frames, and a round trip."""
    random = np.random.default_rng(0)
    part = count / partitions * share * bytes_a_frame / rate
    slowest = part * np.exp(PARTITION_SPREAD * random.standard_normal((200, partitions))).max(axis=1)
    return ROUND_TRIP_SECONDS + float(np.median(slowest))


def index_bytes(count: float) -> dict[str, float]:
    """Memory of each kind of index, in bytes.

    As FAISS counts them (https://github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index): a number of 8
    bytes a row, codes of m bytes, and for HNSW two links of 4 bytes for each of M.
    """
    whole = 4 * DIMENSION
    return {
        "exact, F32": count * whole,
        "exact, F16": count * whole / 2,
        "IVF_FLAT": count * (whole + 8),
        "IVF_PQFS, m 32": count * (_CODE_BYTES + 8),
        "IVF_PQ, m 128": count * (128 + 8),
        "HNSW_FLAT, M 30": count * (whole + 2 * 4 * 30),
    }


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in lines) + "\n"


def significant(value: float) -> str:
    """Three digits, with commas."""
    if value == 0 or not np.isfinite(value):
        return str(value)
    digits = max(0, 2 - int(np.floor(np.log10(abs(value)))))
    return f"{round(value, digits):,.{digits}f}"


def ingest_table(machine: Machine, options: argparse.Namespace) -> str:
    rows = []
    for count in SIZES:
        hours = count * options.every_seconds / 3600
        by_keyframes = machine.core_seconds_a_keyframe / KEYFRAME_SECONDS
        kinds = {
            f"every {options.every_seconds:g} s": (machine.core_seconds_a_frame / options.every_seconds, 1.0),
            f"every {options.every_seconds:g} s, embedded on GPUs": (
                (machine.core_seconds_a_frame - machine.core_seconds_to_embed) / options.every_seconds,
                1.0,
            ),
            "keyframes": (by_keyframes, options.every_seconds / KEYFRAME_SECONDS),
        }
        lengths = video_lengths(hours)
        for name, (cost, share) in kinds.items():
            core_hours = hours * cost
            gpu_hours = count / options.gpu_rate / 3600 if "GPUs" in name else 0.0
            wall = simulate_fleet(
                lengths * cost, options.machines, options.cores, losses_a_day=options.losses_a_day
            )
            money = core_hours * options.core_hour + gpu_hours * options.gpu_hour
            rows.append(
                [f"{count:,}", significant(hours), name, f"{count * share:,.0f}"]
                + [significant(each) for each in (core_hours, gpu_hours, wall, money)]
            )
    head = ["frames", "hours of video", "sampling", "frames stored", "core-hours", "GPU-hours"]
    return table([*head, f"hours on {options.machines} machines of {options.cores} cores", "money"], rows)


def room_table(options: argparse.Namespace) -> str:
    rows = []
    for count in SIZES:
        parts = [4 * DIMENSION * count, 2 * DIMENSION * count, PICTURE_BYTES * count]
        money = [(each + parts[2]) / 1e12 * options.terabyte_month for each in (parts[0], parts[1])]
        memory = [significant(each / 1e9) for each in index_bytes(count).values()]
        rows.append(
            [f"{count:,}", *(significant(each / 1e9) for each in parts), *memory, *map(significant, money)]
        )
    kinds = [f"{name}, GB of memory" for name in index_bytes(1)]
    stored = ["embeddings F32, GB", "F16, GB", "pictures of 10 kB, GB"]
    return table(["frames", *stored, *kinds, "money a month, F32", "F16"], rows)


def query_table(machine: Machine, options: argparse.Namespace) -> str:
    rows = []
    for count in SIZES:
        for partitions in options.partitions:
            times = [
                query_seconds(count, 4 * DIMENSION, 1.0, FLOAT_BYTES_A_CORE, partitions),
                query_seconds(count, 2 * DIMENSION, 1.0, FLOAT_BYTES_A_CORE, partitions),
                query_seconds(count, 4 * DIMENSION, _SHARE, FLOAT_BYTES_A_CORE, partitions),
                query_seconds(count, _CODE_BYTES, _SHARE, CODE_BYTES_A_CORE, partitions),
            ]
            one = [along(machine.index_ms, count), machine.duckdb_ms(count)] if count <= 10**7 else []
            one_texts = [significant(each) for each in one] or ["-", "-"]
            rows.append([f"{count:,}", *one_texts, partitions, *(significant(1e3 * each) for each in times)])
    here = ["`load_index()` on 2 cores, ms", "DuckDB on 2 cores, ms"]
    there = ["exact F32, ms", "exact F16, ms", "IVF_FLAT, ms", "IVF_PQFS, ms"]
    return table(["frames", *here, "partitions", *there], rows)


def run_case(case: str, *arguments: object) -> dict[str, float]:
    """Run one of the benchmark's cases in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cases", case, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def check_table(machine: Machine, sizes: Sequence[int], rounds: int) -> str:
    """Foretold beside measured: searches, memory and bytes on disk."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in sizes:
            picture_bytes = PICTURE_BYTES if count < 10**6 else 16  # as in the benchmark
            embeddings, store = Path(folder, f"{count}.npy"), Path(folder, f"{count}.duckdb")
            run_case("make_embeddings", embeddings, count)
            run_case("make_store", store, embeddings, picture_bytes)
            bare = [run_case("search_bare_index", embeddings) for _ in range(rounds)]
            stored = [run_case("search_store", embeddings, store) for _ in range(rounds)]
            measured = {
                "in memory, ms a query": np.median([each["milliseconds"] for each in bare]),
                "in DuckDB, ms a query": np.median([each["milliseconds"] for each in stored]),
                "memory of the index, MB": np.median([each["peak_mb"] for each in bare]),
                "on disk, MB": store.stat().st_size / 1e6,
            }
            foretold = {
                "in memory, ms a query": along(machine.index_ms, count),
                "in DuckDB, ms a query": machine.duckdb_ms(count),
                "memory of the index, MB": along(machine.index_mb, count),
                "on disk, MB": count * (4 * DIMENSION + picture_bytes) / 1e6,
            }
            for name, value in measured.items():
                error = foretold[name] / value - 1
                rows.append(
                    [f"{count:,}", name, significant(foretold[name]), significant(value), f"{error:+.0%}"]
                )
            for path in (embeddings, store):
                path.unlink()
    return table(["frames", "", "foretold", "measured", "off by"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--every-seconds", type=float, default=1.0, help="one frame of so many seconds of video (1)")
    add("--machines", type=int, default=20, help="that ingest (20)")
    add("--cores", type=int, default=16, help="of each machine (16)")
    add("--gpu-rate", type=float, default=5000.0, help="pictures a second that a GPU embeds (5000)")
    add("--losses-a-day", type=float, default=0.5, help="of each machine: spot machines go (0.5)")
    add("--partitions", type=int, nargs="+", default=[16, 128, 1024], help="of the database (16 128 1024)")
    add("--core-hour", type=float, default=0.0, help="price of a core for an hour (0)")
    add("--gpu-hour", type=float, default=0.0, help="price of a GPU for an hour (0)")
    add("--terabyte-month", type=float, default=0.0, help="price of a terabyte for a month (0)")
    add("--check", action="store_true", help="run 10^4, 10^5 and 10^6 here, some minutes, and say the error")
    add("--rounds", type=int, default=3, help="of each check (3)")
    options = parser.parse_args(arguments)
    machine = Machine(Results(RESULTS.read_text("utf-8")))
    if options.check:
        print(check_table(machine, CHECKED, options.rounds))
        return
    for title, text in (
        ("Ingest", ingest_table(machine, options)),
        ("Room", room_table(options)),
        ("A query", query_table(machine, options)),
    ):
        print(f"## {title}\n\n{text}")


if __name__ == "__main__":
    main()
