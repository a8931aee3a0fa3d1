"""What becomes of damaged files: ``python -m benchmarks.damaged_files`` damages small videos and judges every sample.

Each run reads one damaged file in a process of its own, with a limit on time and memory, and holds its samples
against those of the whole file, picture by picture and to the bit. Everything follows from a seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.media import read_counter, write_video
from videolib import VideoReadError, extract_frames, probe_video

COUNT, EVERY = 90, 0.1  # pictures of a source; seconds between two samples
CPU_SECONDS, WALL_SECONDS = 20, 180
MEMORY_MB, ADDRESS_SPACE = 1000, 5 << 29
LOUDER = {
    "hevc": "explode",
    "mjpeg": "explode",
    "flv": "buffer",
    "wmv2": "buffer",
}  # what passes over errors else
SAMPLINGS = ("interval", "keyframes")
X264 = {"x264-params": "keyint=20:min-keyint=20:bframes=2:scenecut=0"}
X265 = {"x265-params": "keyint=20:min-keyint=20:scenecut=0:bframes=2:log-level=none:pools=1:frame-threads=1"}
VPX = {"g": "20", "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
AV1 = {"preset": "12", "g": "20", "svtav1-params": "lp=1:pred-struct=1"}
FASTSTART, FRAGMENTED = {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}


@dataclass(frozen=True)
class Source:
    """How one whole file is made."""

    suffix: str
    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    container_options: dict[str, str] = field(default_factory=dict)
    rate: int = 30


SOURCES = {
    "H.264 mp4": Source("mp4", "libx264", X264),
    "H.264 mp4, index first": Source("mp4", "libx264", X264, container_options=FASTSTART),
    "H.264 mp4, fragments": Source("mp4", "libx264", X264, container_options=FRAGMENTED),
    "H.264 mkv": Source("mkv", "libx264", X264),
    "H.264 ts": Source("ts", "libx264", X264),
    "H.264 flv": Source("flv", "libx264", X264),
    "H.264 avi": Source("avi", "libx264", {"x264-params": "keyint=20:min-keyint=20:bframes=0:scenecut=0"}),
    "H.264 raw": Source("h264", "libx264", X264),
    "HEVC mp4": Source("mp4", "libx265", X265),
    "HEVC mkv": Source("mkv", "libx265", X265),
    "HEVC ts": Source("ts", "libx265", X265),
    "VP8 webm": Source("webm", "libvpx", VPX),
    "VP9 webm": Source("webm", "libvpx-vp9", VPX),
    "AV1 mp4": Source("mp4", "libsvtav1", AV1),
    "AV1 mkv": Source("mkv", "libsvtav1", AV1),
    "MPEG-2 ts": Source("ts", "mpeg2video", {"g": "15", "bf": "2"}),
    "MPEG-2 mpg": Source("mpg", "mpeg2video", {"g": "15", "bf": "2"}),
    "MPEG-4 avi": Source("avi", "mpeg4", {"g": "15"}),
    "MPEG-4 mp4": Source("mp4", "mpeg4", {"g": "15", "bf": "2"}),
    "Sorenson flv": Source("flv", "flv", {"g": "15"}),
    "WMV2 asf": Source("asf", "wmv2", {"g": "15"}),
    "MJPEG avi": Source("avi", "mjpeg", pixel_format="yuvj420p"),
    "MJPEG raw": Source("mjpeg", "mjpeg", pixel_format="yuvj420p", rate=25),  # it stores none
    "FFV1 mkv": Source("mkv", "ffv1", {"level": "3", "slicecrc": "1", "g": "1"}),
    "ProRes mov": Source("mov", "prores_ks", pixel_format="yuv422p10le"),
    "GIF": Source("gif", "gif", pixel_format="rgb8"),
}


def make_source(name: str, folder: Path) -> Path:
    """Make a whole file, the same at every call, and beside it the samples that are right."""
    source = SOURCES[name]
    path = folder / f"{name.replace(', ', '-').replace(' ', '-')}.{source.suffix}"
    if path.with_suffix(".npz").exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    write_video(
        path,
        source.codec,
        count=COUNT,
        rate=source.rate,
        pixel_format=source.pixel_format,
        options=source.options,
        container_options={"fflags": "+bitexact"} | source.container_options,
    )
    every = [f.image for f in extract_frames(path, every_seconds=1 / source.rate)]
    arrays: dict[str, Any] = {"pictures": np.stack(every)}
    for sampling in SAMPLINGS:
        frames = list(extract_frames(path, every_seconds=EVERY, sampling=sampling))
        if source.codec != "gif":  # its colours are too few for the numbers
            numbers = [int(f.timestamp_seconds * source.rate + 0.1) for f in frames]
            assert numbers == [read_counter(f.image) for f in frames], f"{name} is not read right when whole"
        arrays[f"{sampling}_times"] = [f.timestamp_seconds for f in frames]
        arrays[f"{sampling}_images"] = np.stack([f.image for f in frames])
    np.savez(path.with_suffix(".npz"), **arrays)
    return path


def _some_bits(data: bytearray, chance: random.Random, begin: int, end: int, most: int) -> None:
    for _ in range(chance.randint(1, most)):
        data[chance.randrange(begin, end)] ^= 1 << chance.randrange(8)


def _header(data: bytes, path: Path) -> tuple[int, int]:
    """Tell where the file describes itself, in bytes."""
    moov = data.find(b"moov")
    if moov >= 0:
        return moov, moov + int.from_bytes(data[moov - 4 : moov], "big") - 4
    with av.open(str(path)) as container:
        first = next(container.demux(video=0)).pos or 0
    return 0, max(64, first)


def damage(path: Path, kind: str, seed: str) -> bytes:
    """Return the bytes of a file with damage of one kind."""
    chance = random.Random(seed)
    data = bytearray(path.read_bytes())
    length = max(16, int(len(data) * chance.uniform(0.002, 0.03)))
    place = chance.randrange(len(data) - length)
    match kind:
        case "bits":
            _some_bits(data, chance, 0, len(data), 8)
        case "zeroed":
            data[place : place + length] = bytes(length)
        case "cut":
            del data[int(len(data) * chance.uniform(0.2, 0.99)) :]
        case "removed":
            del data[place : place + length]
        case "inserted":
            data[place:place] = chance.randbytes(length)
        case "header":
            _some_bits(data, chance, *_header(data, path), 3)
    return bytes(data)


KINDS = ("bits", "zeroed", "cut", "removed", "inserted", "header")


def own_word(path: Path) -> tuple[list[float], list[bool]]:
    """Return what FFmpeg itself says, decoding everything in one thread: each frame's time, and whether it is doubted.

    From an error, or a packet or frame that is marked as corrupt, every frame is in doubt up to the next keyframe.
    The times run from the first packet's.
    """
    frames: list[tuple[float, int]] = []  # time, packet
    packets: dict[int | None, int] = {}  # by time
    keys: list[bool] = []
    damaged: set[int] = set()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"err_detect": LOUDER.get(stream.codec_context.name, "crccheck")}
        rate, failures, source = float(stream.average_rate or 25), 0, container.demux(stream)
        while failures < 100:
            try:
                try:
                    packet = next(source, None)
                except IndexError:  # PyAV's, at the end: damage made up a stream that its list does not have
                    break
                if packet is None:
                    break
                packets[packet.dts if packet.pts is None else packet.pts] = len(keys)
                keys.append(packet.is_keyframe)
                if packet.is_corrupt:
                    damaged.add(len(keys) - 1)
                for frame in packet.decode():
                    number = packets.get(frame.pts, len(frames))
                    if frame.is_corrupt:
                        damaged.add(number)
                    frames.append((len(frames) / rate if frame.pts is None else float(frame.time), number))
            except av.FFmpegError:
                damaged.add(len(keys) - 1)
                failures, source = failures + 1, container.demux(stream)
    doubts, is_doubted = [], False
    for number, is_key in enumerate(keys):
        is_doubted = number in damaged or (is_doubted and not is_key)
        doubts.append(is_doubted)
    start = min((float(time * stream.time_base) for time in packets if time is not None), default=0.0)
    return [time - start for time, _ in frames], [doubts[number] for _, number in frames]


def judge(path: Path, whole: Path, sampling: str) -> dict[str, Any]:
    """Read one damaged file and tell what is wrong with it."""
    known = np.load(whole.with_suffix(".npz"))
    right = {
        round(float(t), 6): i
        for t, i in zip(known[f"{sampling}_times"], known[f"{sampling}_images"], strict=True)
    }
    pictures = {image.tobytes() for image in known["pictures"]}
    torn, moved, gained, seen = [], [], 0, 0
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        try:
            told = probe_video(path).duration_seconds
            for frame in extract_frames(path, every_seconds=EVERY, sampling=sampling):
                seconds = round(frame.timestamp_seconds, 6)
                expected = right.get(seconds)
                if expected is None:
                    gained += 1
                elif np.array_equal(expected, frame.image):
                    seen += 1
                else:
                    (moved if frame.image.tobytes() in pictures else torn).append(seconds)
        except VideoReadError as error:
            return {"refused": str(error).replace(str(path), "FILE")}
    found: dict[str, Any] = {
        "duration": told,
        "right": seen,
        "torn": torn,
        "moved": moved,
        "gained": gained,
        "lost": len(right) - seen - len(torn) - len(moved),
        "warned": [str(w.message).replace(str(path), "FILE") for w in record],
    }
    if torn or moved:
        times, doubts = own_word(path)
        order = np.argsort(times, kind="stable")
        times, doubts = np.array(times)[order], np.array(doubts)[order]
        places = np.searchsorted(times, np.array(torn + moved) + 1e-3, "right") - 1
        found["noticed"] = int(doubts[places.clip(0)].sum())
    return found


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@dataclass(frozen=True)
class Variant:
    """One damaged file, and how it is sampled."""

    source: str
    kind: str
    number: int
    sampling: str

    @property
    def seed(self) -> str:
        return f"{self.source}/{self.kind}/{self.number}"


def run_variant(variant: Variant, *, folder: Path) -> dict[str, Any]:
    """Judge a variant in a process of its own; its class is under "class"."""
    whole = make_source(variant.source, folder)
    path = folder / f"{variant.seed.replace('/', '-')}-{variant.sampling}{whole.suffix}"
    path.write_bytes(damage(whole, variant.kind, variant.seed))
    command = [sys.executable, "-m", "benchmarks.damaged_files", "--judge", path, whole, variant.sampling]
    result: dict[str, Any] = asdict(variant) | {"codec": variant.source.split()[0]}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=WALL_SECONDS, preexec_fn=_limit, check=False
        )
        result["exit"] = done.returncode
        if done.returncode == 0:
            result |= json.loads(done.stdout.splitlines()[-1])
        else:
            result["error"] = done.stderr[-600:]
    except subprocess.TimeoutExpired:
        result["exit"] = "timeout"
    path.unlink()
    result["class"] = classify(result)
    return result


def classify(result: dict[str, Any]) -> str:
    """Name what a run came to; see `CLASSES`."""
    if result["exit"] == "timeout" or result["exit"] in (-24, -9):  # SIGXCPU, SIGKILL
        return "hang"
    if result.get("peak_mb", 0) > MEMORY_MB or "MemoryError" in result.get("error", ""):
        return "over 1 GB"
    if result["exit"] != 0:
        return "crash" if result["exit"] < 0 else "raw error"
    if "refused" in result:
        return "refused"
    wrong = len(result["torn"]) + len(result["moved"])
    if result["warned"]:
        return "wrong with a warning" if wrong or result["gained"] else "right, warned"
    if wrong:
        return "wrong in silence, noticed" if result["noticed"] else "wrong in silence"
    return "lost or gained in silence" if result["lost"] or result["gained"] else "right"


CLASSES = (
    "crash",
    "raw error",
    "hang",
    "over 1 GB",
    "wrong in silence, noticed",
    "wrong in silence",
    "wrong with a warning",
    "lost or gained in silence",
    "right, warned",
    "right",
    "refused",
)


def table(results: Iterable[dict[str, Any]], column: str) -> str:
    """Make a Markdown table of the classes by one column."""
    counts = Counter((r[column], r["class"]) for r in results)
    names = list(dict.fromkeys(name for name, _ in counts))
    lines = [f"| {column} | " + " | ".join(CLASSES) + " |", "|---" + "|---:" * len(CLASSES) + "|"]
    for name in [*names, "all"]:
        numbers = [
            sum(n for (m, c), n in counts.items() if c == each and name in (m, "all")) for each in CLASSES
        ]
        lines.append(f"| {name} | " + " | ".join(str(number or "") for number in numbers) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", nargs=3, metavar=("FILE", "WHOLE", "SAMPLING"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=Path("build/damaged"), help="where files are made")
    parser.add_argument("--each", type=int, default=4, help="files of each source and kind of damage")
    parser.add_argument("--only", nargs="*", default=list(SOURCES), choices=SOURCES, metavar="SOURCE")
    parser.add_argument("--results", type=Path, help="a file for one line of JSON a run")
    arguments = parser.parse_args()
    if arguments.judge:
        path, whole, sampling = arguments.judge
        found = judge(Path(path), Path(whole), sampling)
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found))
        return
    os.environ["SVT_LOG"] = "0"
    for name in arguments.only:
        make_source(name, arguments.folder)
    variants = [
        Variant(source, kind, number, sampling)
        for source in arguments.only
        for kind in KINDS
        for number in range(arguments.each)
        for sampling in SAMPLINGS
    ]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(partial(run_variant, folder=arguments.folder), variants))
    if arguments.results:
        arguments.results.write_text("".join(json.dumps(result) + "\n" for result in results))
    for column in ("sampling", "kind", "source", "codec"):
        print(table(results, column), end="\n\n")


if __name__ == "__main__":
    main()
