"""``python -m benchmarks.run``: run the contenders in turn, each in a process of its own, and report.

Medians of some rounds; in a round every contender runs once, so that a slow minute of the machine meets all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.cases import reference_path
from benchmarks.videos import SPECS, cut_video, make_video

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "bench"
PACKAGES = ["videolib", "torch", "av", "opencv-python", "duckdb", "numpy"]
PEERS = ["decord", "torchcodec", "imageio-ffmpeg", "open_clip_torch", "onnxruntime", "faiss-cpu", "usearch"]


@dataclass(frozen=True)
class Job:
    """One contender: the case, its arguments, and how often it runs at most."""

    label: str
    case: str
    arguments: tuple[str, ...]
    most_rounds: int = 99


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    rounds: int
    seconds: dict[str, int | None]  # of the videos; None: as in SPECS
    pictures: int
    sizes: tuple[int, ...]  # of the searched stores; 10 KB pictures up to the middle one
    picture_bytes: int


FULL = Scale(3, dict.fromkeys(SPECS), 64, (10_000, 100_000, 1_000_000), 10_000)
QUICK = Scale(1, dict.fromkeys(SPECS, 4) | {"hd720": 16}, 8, (500, 1000, 2000), 1000)


def run_case(case: str, *arguments: object) -> dict[str, Any]:
    """Run one case in a fresh process; `failed` tells what went wrong."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    if "torchcodec" in arguments:
        environment["LD_LIBRARY_PATH"] = _ffmpeg_libraries()
    command = [sys.executable, "-m", "benchmarks.cases", case, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"failed": done.stderr.strip().splitlines()[-1]}
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _ffmpeg_libraries() -> str:
    """Give torchcodec the FFmpeg of PyAV's wheel, whose files bear other names than it looks for."""
    spec = find_spec("av")
    assert spec
    assert spec.origin
    libraries = Path(spec.origin).parents[1] / "av.libs"
    links = FOLDER / "ffmpeg"
    links.mkdir(parents=True, exist_ok=True)
    for library in [*libraries.glob("libav*.so.*"), *libraries.glob("libsw*.so.*")]:
        name, _, number = library.name.partition(".so.")
        link = links / f"{name.split('-')[0]}.so.{number.split('.')[0]}"
        link.unlink(missing_ok=True)
        link.symlink_to(library)
    return os.pathsep.join([str(links), str(libraries), os.environ.get("LD_LIBRARY_PATH", "")])


def run_jobs(jobs: list[Job], rounds: int) -> list[dict[str, Any]]:
    """Run the jobs in turn; the medians of their figures, in their order."""
    results: list[list[dict[str, Any]]] = [[] for _ in jobs]
    for number in range(rounds):
        for job, so_far in zip(jobs, results, strict=True):
            gave_up = so_far and not {"failed", "left_out"}.isdisjoint(so_far[-1])
            if number < job.most_rounds and not gave_up:
                print(f"  round {number + 1}: {job.label}", flush=True)
                so_far.append(run_case(job.case, *job.arguments))
    rows = []
    for job, so_far in zip(jobs, results, strict=True):
        row = dict(so_far[-1])
        for name, value in so_far[-1].items():
            if isinstance(value, float):
                row[name] = statistics.median(figures[name] for figures in so_far)
        rows.append({"label": job.label, "rounds": len(so_far)} | row)
    return rows


def _table(
    title: str, rows: list[dict[str, Any]], columns: dict[str, str], reference: int = 0
) -> dict[str, Any]:
    """Keep a table for the report; the ratios are to the seconds, or milliseconds, of the `reference` row."""
    name = "milliseconds" if "milliseconds" in columns else "seconds"
    ours = next((row for row in rows if row["label"] == "videolib"), {})
    for row in rows:
        for key, one, other in (("ratio", rows[reference], row), ("gain", row, ours)):
            if name in one and name in other:
                row[key] = one[name] / other[name]
    return {"title": title, "rows": rows, "columns": columns, "reference": rows[reference]["label"]}


TIME = {
    "rounds": "rounds",
    "seconds": "s",
    "cpu_seconds": "CPU s",
    "ratio": "times as fast",
    "gain": "videolib is … times as fast",
}
MEMORY = {"peak_mb": "peak MB", "extra_mb": "above set-up, MB"}


def _video(name: str, scale: Scale) -> Path:
    path = make_video(FOLDER, name, scale.seconds[name])
    if not reference_path(path).exists():
        print(f"  full decode of {path.name}", flush=True)
        run_case("decode_reference", path)
    return path


def _checkpoint() -> Path:
    path = FOLDER / "vit-b-32-random.pt"
    if not path.exists():
        run_case("make_checkpoint", path)
    return path


def decoding(scale: Scale) -> list[dict[str, Any]]:
    """One sample a second of each of the videos."""
    tables = []
    for name, spec in SPECS.items():
        path = _video(name, scale)
        is_long = name == "hd720"
        if is_long:
            path = cut_video(path, (scale.seconds[name] or spec.seconds) / 4)
            if not reference_path(path).exists():
                run_case("decode_reference", path)
        is_main = name == "long_groups"
        # The article's loop takes so long that fewer rounds must do.
        contenders = {
            "the article: a seek for each sample": ("article", 2 if is_main else 1),
            "OpenCV, grab and retrieve": ("opencv", 99),
            "ffmpeg -vf fps=1": ("ffmpeg", 99),
            "decord": ("decord", 99),
            "torchcodec": ("torchcodec", 99),
            "videolib": ("videolib", 99),
            "videolib, keyframes only": ("videolib_keyframes", 99),
        }
        jobs = [Job(label, "decode", (case, str(path)), most) for label, (case, most) in contenders.items()]
        rounds = scale.rounds if is_main else min(1 if is_long else 2, scale.rounds)
        rows = run_jobs(jobs, rounds)
        for row in rows:
            if "expected" in row:
                row["right"] = f"{row['same']} of {row['expected']}, {row['identical']} to the bit"
                if "keyframes" in row["label"]:
                    row["right"] = "by design at other times"
        columns = TIME | MEMORY | {"count": "samples", "right": "as in a full decode"}
        tables.append(_table(f"{spec.text} ({path.name})", rows, columns))
    return tables


def encoding(scale: Scale) -> list[dict[str, Any]]:
    """Pictures through the ViT-B/32 shape, and how near the fast path is to clip."""
    checkpoint = str(_checkpoint())
    if not Path(checkpoint).with_suffix(".onnx").exists():
        run_case("export_onnx", checkpoint)
    arguments = (checkpoint, str(scale.pictures))
    jobs = [
        Job("the article: clip one by one, float32", "encode_article", arguments),
        Job("open_clip, float32, batches of 32", "encode_open_clip", arguments),
        Job("onnxruntime, float32, batches of 32", "encode_onnx", arguments),
        Job("videolib, float32", "encode_videolib", (*arguments, "float32")),
        Job("videolib", "encode_videolib", arguments),
    ]
    rows = run_jobs(jobs, scale.rounds)
    for row in rows:
        if "seconds" in row:
            row["per_second"] = row["count"] / row["seconds"]
    columns = TIME | MEMORY | {"per_second": "pictures/s", "precision": "precision"}
    return [_table("Pictures of 224 x 224", rows, columns | COSINES)]


COSINES = {"least": "least cosine", "mean": "mean cosine"}


def cosines(scale: Scale, media: Path | None) -> list[dict[str, Any]]:
    """The fast path's embeddings against clip's own code and preprocessing, on footage."""
    from videolib.demo import DEMO_MODEL_PATH, SAMPLE_VIDEO_PATH

    paths = sorted(media.glob("*.mp4")) if media else []
    paths += [SAMPLE_VIDEO_PATH, _video("short_groups", scale)]
    models = {"demo checkpoint": DEMO_MODEL_PATH, "ViT-B/32 shape, random weights": _checkpoint()}
    jobs = [
        Job(f"{label}, {path.name}", "cosines", (str(model), str(path)))
        for label, model in models.items()
        for path in paths
    ]
    return [_table("Against clip, float32", run_jobs(jobs, 1), {"count": "pictures"} | COSINES)]


def end_to_end(scale: Scale) -> list[dict[str, Any]]:
    """From a file to embeddings."""
    path, checkpoint = str(_video("long_groups", scale)), str(_checkpoint())
    jobs = [
        Job("the article", "embed_article", (checkpoint, path), 2),
        Job("videolib", "ingest_videolib", (checkpoint, path, "interval")),
        Job("videolib, keyframes only", "ingest_videolib", (checkpoint, path, "keyframes")),
    ]
    rows = run_jobs(jobs, scale.rounds)
    columns = TIME | MEMORY | {"count": "samples"}
    return [_table(f"{Path(path).name}, ViT-B/32 shape, into DuckDB", rows, columns)]


def growth(scale: Scale) -> list[dict[str, Any]]:
    """The same video at a quarter, a half and the whole of its length."""
    path, checkpoint = _video("hd720", scale), str(_checkpoint())
    seconds = scale.seconds["hd720"] or SPECS["hd720"].seconds
    jobs = [
        Job(f"{part.name}", "ingest_videolib", (checkpoint, str(part)))
        for part in (cut_video(path, seconds / 4), cut_video(path, seconds / 2), path)
    ]
    rows = run_jobs(jobs, 1)
    for row in rows:
        if "seconds" in row:
            row["per_sample"] = 1e3 * row["seconds"] / row["count"]
    columns = {"seconds": "s", "cpu_seconds": "CPU s"} | MEMORY
    columns |= {"count": "samples", "per_sample": "ms a sample"}
    return [_table("Ingest of 720p, ViT-B/32 shape", rows, columns)]


def search(scale: Scale) -> list[dict[str, Any]]:
    """The five nearest of n embeddings."""
    tables = []
    for size in scale.sizes:
        embeddings, store = FOLDER / f"embeddings-{size}.npy", FOLDER / f"store-{size}.duckdb"
        picture_bytes = 16 if size == scale.sizes[-1] else scale.picture_bytes
        if not embeddings.exists():
            run_case("make_embeddings", embeddings, size)
        if not store.exists():
            print(f"  writing {store.name}", flush=True)
            run_case("make_store", store, embeddings, picture_bytes)
        rows, in_store = (str(embeddings),), (str(embeddings), str(store))
        jobs = [
            Job("FAISS, flat", "search_faiss", rows),
            Job("NumPy, argpartition", "search_numpy", rows),
            Job("usearch, exact", "search_usearch", rows),
            Job("videolib, index without pictures", "search_bare_index", rows),
            Job("videolib, load_index()", "search_index", in_store),
            Job("videolib, store.search in DuckDB", "search_store", in_store),
        ]
        if size == scale.sizes[1]:
            jobs.append(Job("the article: list to tensor for each query", "search_article", rows))
        found = run_jobs(jobs, scale.rounds if size == scale.sizes[1] else min(2, scale.rounds))
        columns = {
            "rounds": "rounds",
            "milliseconds": "ms a query",
            "ratio": "times as fast",
            "right": "right",
        }
        columns |= {"peak_mb": "peak MB", "loading": "s to load the index"}
        tables.append(_table(f"{size:,} x 512, pictures of {picture_bytes:,} bytes", found, columns))
    return tables


def estimates(scale: Scale) -> list[dict[str, Any]]:
    """What preflight says, and what it takes."""
    checkpoint = str(_checkpoint())
    paths = [_video(name, scale) for name in ("long_groups", "short_groups", "hd720")]
    paths[2] = cut_video(paths[2], (scale.seconds["hd720"] or SPECS["hd720"].seconds) / 4)
    jobs = [Job(path.name, "estimate", (checkpoint, str(path))) for path in paths]
    rows = run_jobs(jobs, 1)
    for row in rows:
        if "real" in row:
            row["off"] = f"{100 * (row['estimate'] / row['real'] - 1):+.0f} %"
    columns = {"seconds": "preflight, s", "told": "frames told", "count": "frames", "estimate": "estimate, s"}
    return [
        _table("Preflight and ingest, ViT-B/32 shape", rows, columns | {"real": "real, s", "off": "off by"})
    ]


SECTIONS = {
    "decoding": "Decoding, one sample a second",
    "encoding": "Encoding",
    "cosines": "Cosines",
    "end_to_end": "File to embeddings",
    "growth": "Growth with the length",
    "search": "Search",
    "estimates": "Preflight",
}


def describe_machine() -> list[str]:
    """CPU, cores, bfloat16 or not; versions."""
    import torch

    from videolib.cores import available_cores

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    has_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    found = []
    for package in PACKAGES + PEERS:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return [
        f"{cpu}, {available_cores()} cores, {'with' if has_bfloat16 else 'without'} bfloat16; "
        f"{platform.system()}, Python {platform.python_version()}; {time.strftime('%Y-%m-%d')}.",
        ", ".join(found) + ".",
    ]


def write_report(results: dict[str, Any], folder: Path) -> None:
    """Write results.md and results.png."""
    lines = ["# Results", ""]
    for paragraph in results["machine"]:
        lines += [paragraph, ""]
    lines += ["Written by `make bench`; how to read it is told in README.md.", ""]
    if (folder / "results.png").exists():
        lines += ["![Seconds of each contender](results.png)", ""]
    for name, heading in SECTIONS.items():
        if name not in results:
            continue
        lines += [f"## {heading}", ""]
        for table in results[name]:
            lines += _markdown(table)
    (folder / "results.md").write_text("\n".join(lines))


def _markdown(table: dict[str, Any]) -> list[str]:
    columns = {
        key: name for key, name in table["columns"].items() if any(key in row for row in table["rows"])
    }
    if "ratio" in columns:
        columns["ratio"] = f"times as fast as {table['reference'].split(',')[0].split(':')[0]}"
    lines = [f"### {table['title']}", "", "| " + " | ".join(["", *columns.values()]) + " |"]
    lines.append("|---|" + "---|" * len(columns))
    for row in table["rows"]:
        if problem := row.get("failed") or row.get("left_out"):
            lines.append(f"| {row['label']} | {problem} |" + " |" * (len(columns) - 1))
        else:
            lines.append(
                "| " + " | ".join([row["label"], *(_cell(row.get(key), key) for key in columns)]) + " |"
            )
    return [*lines, ""]


def _cell(value: Any, key: str) -> str:
    if key in COSINES and isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def draw_chart(results: dict[str, Any], path: Path) -> None:
    """Seconds of the first table of two sections, as bars."""
    import matplotlib.pyplot as plt

    tables = [results[name][0] for name in ("decoding", "end_to_end") if name in results]
    if not tables:
        return
    figure, axes = plt.subplots(len(tables), 1, figsize=(7, 2.4 * len(tables)), dpi=100, squeeze=False)
    for ax, table in zip(axes[:, 0], tables, strict=True):
        rows = [row for row in table["rows"] if "seconds" in row][::-1]
        colours = ["tab:orange" if row["label"].startswith("videolib") else "tab:gray" for row in rows]
        bars = ax.barh([row["label"] for row in rows], [row["seconds"] for row in rows], color=colours)
        ax.bar_label(bars, fmt="%.1f", padding=3)
        ax.set_title(table["title"], fontsize=9, loc="right")
        ax.set_xlabel("seconds")
        ax.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main() -> int:
    """Run the sections, and write what they found beside what earlier runs of the others found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=SECTIONS, help="run this section; may be repeated")
    parser.add_argument("--rounds", type=int, help="how often each contender runs (3)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all works")
    parser.add_argument("--media", type=Path, help="a folder of mp4 files for the section cosines")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    if options.rounds:
        scale = Scale(**vars(scale) | {"rounds": options.rounds})
    # Quick figures mean nothing: they are not to be taken for results.
    folder = FOLDER / "quick" if options.quick else Path(__file__).parent
    kept = FOLDER / ("quick/results.json" if options.quick else "results.json")
    kept.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    results["machine"] = describe_machine()
    for name in options.only or SECTIONS:
        started = time.monotonic()
        print(SECTIONS[name], flush=True)
        section = globals()[name]
        results[name] = section(scale, options.media) if name == "cosines" else section(scale)
        print(f"  {time.monotonic() - started:.0f} s", flush=True)
        kept.write_text(json.dumps(results, indent=1))
    draw_chart(results, folder / "results.png")
    write_report(results, folder)
    print(folder / "results.md")
    tables = [table for name in options.only or SECTIONS for table in results[name]]
    return int(any("failed" in row for table in tables for row in table["rows"]))


if __name__ == "__main__":
    sys.exit(main())
