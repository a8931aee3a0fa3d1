"""``python -m benchmarks.stored_pictures VIDEO...``: embedding stored pictures anew, beside the frames of the files.

How near the embeddings of the stored JPEGs (480 pixels) are to those of whole frames, and how many of a search's first
five stay; by the demo model and by random weights of the ViT-B/32 shape, whose rankings are those of one that knows
nothing. Then how fast: `copy_videos` with an encoder, and `ingest` of the files. ``--frames`` and ``--only-speed``
change what is measured.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.cases import make_checkpoint, measured
from videolib import ClipEncoder, FrameStore, Video, copy_videos, extract_frames, ingest
from videolib.demo import SAMPLE_VIDEO_PATH
from videolib.images import encode_jpeg

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "bench"
TEXTS = (ROOT / "videolib" / "search" / "nulls.txt").read_text(encoding="utf-8").splitlines()
K = 5


def random_checkpoint() -> Path:
    """Random weights of the ViT-B/32 shape, made once."""
    path = FOLDER / "vit-b-32-random.pt"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        make_checkpoint(str(path))
    return path


def overlap(queries: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """The share of the first five of each query (q, d) among embeddings (n, d) that others of the same frames keep."""
    firsts = [np.argsort(-(queries @ rows.T), axis=1, kind="stable")[:, :K] for rows in (one, other)]
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(*firsts, strict=True)]))


def compare(path: Path, encoder: ClipEncoder) -> dict[str, object]:
    """Embed each frame, a second apart, whole and as it is stored."""
    whole, stored = [], []
    for frame in extract_frames(path):
        whole.append(encoder.prepare(frame))
        stored.append(encoder.prepare(encode_jpeg(frame.image)))
    one, other = encoder.encode_images(whole), encoder.encode_images(stored)
    cosines = (one * other).sum(axis=1)
    figures: dict[str, object] = {"video": path.stem, "frames": len(one)}
    figures |= {"mean cosine": cosines.mean(), "least": cosines.min()}
    figures |= {"neighbours": float((one[1:] * one[:-1]).sum(axis=1).mean())}  # what differs by a second
    figures["texts, top 5"] = overlap(encoder.encode_texts(TEXTS), one, other)
    figures["frames, top 5"] = overlap(one, one, other)
    return figures


def fill(store: FrameStore, paths: list[Path], encoder: ClipEncoder, count: int) -> None:
    """A store of so many frames: those of the videos again and again, each picture with other last bytes."""
    source = FrameStore(":memory:")
    for path in paths:
        ingest(path, encoder, source, reuse_stills=False, progress=False)
    ids = source.list_videos()["video_id"]
    frames = pd.concat([source.read_frames(video_id) for video_id in ids], ignore_index=True)
    frames = pd.concat([frames] * -(-count // len(frames)), ignore_index=True).head(count)
    video = next(iter(source.list_videos().to_dict("records")))
    known = Video(**{each.name: video[each.name] for each in fields(Video)})
    store.write_video(known, model=encoder.model, dimension=encoder.dimension, every_seconds=1.0)
    frames["frame_number"] = np.arange(1, count + 1)
    frames["timestamp_seconds"] = np.arange(count, dtype=float)
    frames["frame_data"] = [
        jpeg + number.to_bytes(4, "big") for number, jpeg in enumerate(frames["frame_data"])
    ]
    store.write_frames(frames.assign(video_id=video["video_id"]))
    store.mark_complete(video["video_id"])


def measure_speed(paths: list[Path], encoder: ClipEncoder, count: int) -> dict[str, float]:
    """Frames a second of both ways, of the clock and of all cores."""
    with tempfile.TemporaryDirectory() as folder:
        stored = FrameStore(Path(folder) / "stored.duckdb")
        fill(stored, paths, encoder, count)
        with measured() as anew:
            copy_videos(stored, FrameStore(Path(folder) / "copy.duckdb"), encoder=encoder, progress=False)
        files = FrameStore(Path(folder) / "files.duckdb")
        with measured() as again:
            for path in paths:
                ingest(path, encoder, files, reuse_stills=False, progress=False)
        done = int(files.list_videos()["frame_count"].sum())
        figures = {}
        for name, frames, taken in (("stored", count, anew), ("files", done, again)):
            figures[f"{name}, frames"] = frames
            figures |= {
                f"{name}, frames a {each[:-1]}": frames / taken[each] for each in ("seconds", "cpu_seconds")
            }
        return figures


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("video", nargs="*", type=Path, default=[SAMPLE_VIDEO_PATH])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--model", action="append", help="the demo model and random weights, if not given")
    parser.add_argument("--only-speed", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in given.model or ("demo", str(random_checkpoint())):
        encoder = ClipEncoder(name)
        print(f"\n{encoder}", flush=True)
        if not given.only_speed:
            table = pd.DataFrame([compare(path, encoder) for path in given.video])
            print(table.round(4).to_string(index=False), flush=True)
        print(
            {
                name: round(value, 1)
                for name, value in measure_speed(given.video, encoder, given.frames).items()
            }
        )


if __name__ == "__main__":
    main()
