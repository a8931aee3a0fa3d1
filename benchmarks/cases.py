"""The contenders, one function each: ``python -m benchmarks.cases NAME ARGUMENT...`` prints its figures as JSON.

Only what stands within `measured` counts: imports, loading a model and warming it up with one picture, and making
of data come before it.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

DIMENSION = 512
BATCH = 32
CROP = 128  # pixels that are compared, in the centre of a sample
GREY_LEVELS = 3  # mean difference up to which two crops are of one frame: colour conversions differ a little
SEARCHES = 10
UNITS_PER_MB = 1 << 20 if sys.platform == "darwin" else 1 << 10  # of ru_maxrss

Figures = dict[str, Any]


@contextmanager
def measured() -> Iterator[Figures]:
    """Fill in seconds, cpu_seconds, peak_mb of the process, and extra_mb, the peak above what it held before."""
    figures: Figures = {}
    gc.collect()
    with suppress(OSError):  # not Linux: the peak is that since the start
        Path("/proc/self/clear_refs").write_text("5")
    before, child_before = _memory_mb("VmRSS"), _child_mb()
    cpu, started = sum(os.times()[:4]), time.perf_counter()
    yield figures
    figures["seconds"] = time.perf_counter() - started
    figures["cpu_seconds"] = sum(os.times()[:4]) - cpu
    # Importing torch runs a small program, whose memory is told as that of the process it was forked from.
    child = _child_mb() if _child_mb() > child_before else 0
    figures["peak_mb"] = _memory_mb("VmHWM") + child
    figures["extra_mb"] = figures["peak_mb"] - before


def _child_mb() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / UNITS_PER_MB


def _memory_mb(name: str) -> float:
    try:  # ru_maxrss begins with that of the parent process
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNITS_PER_MB


# Decoding: each yields the RGB pictures of one sample a second.


def _decode_article(path: Path) -> Iterator[np.ndarray]:
    import cv2

    capture = cv2.VideoCapture(str(path))
    step = int(capture.get(cv2.CAP_PROP_FPS))
    for number in range(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), step):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        is_read, picture = capture.read()
        if is_read:
            yield picture[..., ::-1]


def _decode_opencv(path: Path) -> Iterator[np.ndarray]:
    import cv2

    capture = cv2.VideoCapture(str(path))
    step = round(capture.get(cv2.CAP_PROP_FPS))
    number = 0
    while capture.grab():
        if number % step == 0:
            yield capture.retrieve()[1][..., ::-1]
        number += 1


def _decode_ffmpeg(path: Path) -> Iterator[np.ndarray]:
    program = shutil.which("ffmpeg")
    if program is None:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
    height, width = np.load(reference_path(path))["shape"]
    command = [program, "-v", "error", "-i", str(path), "-vf", "fps=1", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    with subprocess.Popen([*command, "-"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        while data := process.stdout.read(height * width * 3):
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _decode_decord(path: Path) -> Iterator[np.ndarray]:
    import decord

    reader = decord.VideoReader(str(path))
    for number in range(0, len(reader), round(reader.get_avg_fps())):
        yield reader[number].asnumpy()


def _decode_torchcodec(path: Path) -> Iterator[np.ndarray]:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=0)
    begin, end = decoder.metadata.begin_stream_seconds, decoder.metadata.end_stream_seconds
    for seconds in np.arange(begin, end, 1.0):
        yield decoder.get_frame_played_at(seconds).data.numpy()


def _decode_videolib(path: Path) -> Iterator[np.ndarray]:
    from videolib import extract_frames

    return (frame.image for frame in extract_frames(path))


def _decode_videolib_keyframes(path: Path) -> Iterator[np.ndarray]:
    from videolib import extract_frames

    return (frame.image for frame in extract_frames(path, sampling="keyframes"))


IMPORTS = {
    "article": "cv2",
    "opencv": "cv2",
    "ffmpeg": "subprocess",
    "decord": "decord",
    "torchcodec": "torchcodec.decoders",
    "videolib": "videolib.video.frames",  # the public names are imported when they are first used
    "videolib_keyframes": "videolib.video.frames",
}


def decode(contender: str, path: str) -> Figures:
    """Sample a video; `same` and `identical` count the samples that show the frame of the full decode."""
    reference = np.load(reference_path(Path(path)))
    crops, shape = reference["crops"], tuple(reference["shape"])
    importlib.import_module(IMPORTS[contender])
    count = same = identical = 0
    with measured() as figures:
        for picture in globals()[f"_decode_{contender}"](Path(path)):
            if count < len(crops) and picture.shape[:2] == shape:
                crop = _crop(picture)
                same += np.abs(crop - crops[count].astype(np.int16)).mean() <= GREY_LEVELS
                identical += np.array_equal(crop, crops[count])
            count += 1
    return figures | {"count": count, "same": int(same), "identical": int(identical), "expected": len(crops)}


def decode_reference(path: str) -> Figures:
    """Decode all of a video with PyAV, and keep of each sample what the others are compared with."""
    import av

    crops: list[np.ndarray] = []
    shown = start = None
    with measured() as figures, av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            start = frame.pts if start is None else start
            if shown is not None and (frame.pts - start) * stream.time_base > len(crops):
                picture = np.rot90(shown.to_ndarray(format="rgb24"), shown.rotation // 90)
                crops.append(_crop(picture).copy())
            shown = frame
        picture = np.rot90(shown.to_ndarray(format="rgb24"), shown.rotation // 90)
        if (shown.pts - start + shown.duration) * stream.time_base > len(crops):
            crops.append(_crop(picture).copy())
    np.savez(reference_path(Path(path)), crops=np.stack(crops), shape=picture.shape[:2])
    return figures | {"count": len(crops)}


def reference_path(path: Path) -> Path:
    """Where `decode_reference` keeps the samples of a video."""
    return path.with_suffix(".reference.npz")


def _crop(picture: np.ndarray) -> np.ndarray:
    y, x = (max(0, side - CROP) // 2 for side in picture.shape[:2])
    return picture[y : y + CROP, x : x + CROP]


# Encoding: pictures that are of the model's size already.


def make_checkpoint(path: str) -> Figures:
    """Write random weights of the ViT-B/32 shape."""
    import torch
    from clip.model import CLIP

    torch.manual_seed(0)
    torch.save(CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12).state_dict(), path)
    return {}


def _pictures(count: int) -> list[np.ndarray]:
    from benchmarks.videos import _texture

    random = np.random.default_rng(1)
    return [np.stack([_texture(random, 224, 224) for _ in range(3)], axis=-1) for _ in range(count)]


def _compared(figures: Figures, rows: np.ndarray, checkpoint: str) -> Figures:
    """Add the cosines of the rows with those of clip one by one, which runs first."""
    wanted = np.load(Path(checkpoint).with_suffix(".rows.npy"))
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (rows * wanted).sum(axis=1)
    return figures | {"count": len(rows), "least": float(cosines.min()), "mean": float(cosines.mean())}


def _embed_one_by_one(model: Any, preprocess: Any, pictures: list[np.ndarray]) -> list[np.ndarray]:
    import torch
    from PIL import Image

    rows = []
    with torch.no_grad():
        for picture in pictures:
            row = model.encode_image(preprocess(Image.fromarray(picture)).unsqueeze(0))
            row /= row.norm(dim=-1, keepdim=True)
            rows.append(row.numpy().flatten())
    return rows


def encode_article(checkpoint: str, count: str) -> Figures:
    """clip, a picture at a time, in float32."""
    import clip

    model, preprocess = clip.load(checkpoint, device="cpu")
    pictures = _pictures(int(count))
    _embed_one_by_one(model, preprocess, pictures[:1])
    with measured() as figures:
        rows = np.stack(_embed_one_by_one(model, preprocess, pictures))
    np.save(Path(checkpoint).with_suffix(".rows.npy"), rows)
    return _compared(figures, rows, checkpoint)


def _normalized(pictures: list[np.ndarray]) -> np.ndarray:
    from videolib.encoding.towers import MEAN, STD

    pixels = (np.stack(pictures) / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))  # (n, 3, 224, 224)


def encode_open_clip(checkpoint: str, count: str) -> Figures:
    """open_clip, in batches, in float32."""
    import torch
    from open_clip import load_openai_model

    model = load_openai_model(checkpoint, precision="fp32", device="cpu").eval()
    pictures = _pictures(int(count))
    with torch.inference_mode():
        model.encode_image(torch.from_numpy(_normalized(pictures[:1])))
    with measured() as figures, torch.inference_mode():
        parts = [model.encode_image(torch.from_numpy(_normalized(part))) for part in _parts(pictures)]
    return _compared(figures, torch.cat(parts).numpy(), checkpoint)


def export_onnx(checkpoint: str) -> Figures:
    """Write the picture tower for onnxruntime."""
    import clip
    import onnx  # noqa: F401  # torch asks for it only at the end
    import torch

    model, _ = clip.load(checkpoint, device="cpu")
    target = Path(checkpoint).with_suffix(".onnx")
    options: dict[str, Any] = {"input_names": ["pixels"], "dynamic_axes": {"pixels": {0: "n"}}}
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(model.visual, torch.zeros(2, 3, 224, 224), str(target), dynamo=False, **options)
    return {}


def encode_onnx(checkpoint: str, count: str) -> Figures:
    """onnxruntime, in batches, in float32."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(Path(checkpoint).with_suffix(".onnx")))
    pictures = _pictures(int(count))
    session.run(None, {"pixels": _normalized(pictures[:1])})
    with measured() as figures:
        parts = [session.run(None, {"pixels": _normalized(part)})[0] for part in _parts(pictures)]
    return _compared(figures, np.concatenate(parts), checkpoint)


def encode_videolib(checkpoint: str, count: str, precision: str = "auto") -> Figures:
    """videolib's encoder, at the precision that it picks."""
    from videolib import ClipEncoder

    encoder = ClipEncoder(checkpoint, device="cpu", precision=precision)
    pictures = _pictures(int(count))
    encoder.encode_images(pictures[:1])
    with measured() as figures:
        rows = encoder.encode_images(pictures)
    return _compared(figures | {"precision": encoder.precision}, rows, checkpoint)


def _parts(pictures: list[np.ndarray]) -> list[list[np.ndarray]]:
    return [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]


def cosines(checkpoint: str, *paths: str) -> Figures:
    """Compare the embeddings that videolib makes of videos with those of clip's own code."""
    import clip

    from videolib import ClipEncoder, extract_frames

    encoder = ClipEncoder(checkpoint, device="cpu")
    model, preprocess = clip.load(checkpoint, device="cpu")
    pictures = [frame.image for path in paths for frame in islice(extract_frames(path), 20)]
    wanted = np.stack(_embed_one_by_one(model.float(), preprocess, pictures))
    found = (encoder.encode_images(pictures) * wanted).sum(axis=1)
    return {"count": len(found), "least": float(found.min()), "mean": float(found.mean())}


# From a file to embeddings.


def embed_article(checkpoint: str, path: str) -> Figures:
    """The article: read the frames one by one, embed them one by one, keep both in lists."""
    import clip

    model, preprocess = clip.load(checkpoint, device="cpu")
    _embed_one_by_one(model, preprocess, _pictures(1))
    with measured() as figures:
        frames = list(_decode_article(Path(path)))
        rows = _embed_one_by_one(model, preprocess, frames)
    return figures | {"count": len(rows)}


def ingest_videolib(checkpoint: str, path: str, sampling: str = "interval") -> Figures:
    """Ingest a video into a new DuckDB store."""
    from videolib import ClipEncoder, FrameStore, ingest

    encoder = ClipEncoder(checkpoint, device="cpu")
    encoder.encode_images(_pictures(1))
    with tempfile.TemporaryDirectory() as folder:
        store = FrameStore(Path(folder) / "store.duckdb")
        with measured() as figures:
            ingest(path, encoder, store, sampling=sampling, progress=False)
        return figures | {"count": int(store.list_videos()["frame_count"].sum())}


def estimate(checkpoint: str, path: str) -> Figures:
    """Ask preflight first, then ingest."""
    from videolib import ClipEncoder, preflight

    encoder = ClipEncoder(checkpoint, device="cpu")
    with measured() as figures:
        told = preflight(path, encoder)
    real = ingest_videolib(checkpoint, path)
    return figures | {
        "estimate": told.seconds,
        "real": real["seconds"],
        "told": told.frame_count,
        "count": real["count"],
    }


# Search: the five nearest of n embeddings.


def make_embeddings(path: str, count: str) -> Figures:
    """Write random unit rows."""
    rows = np.random.default_rng(2).standard_normal((int(count), DIMENSION), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(path, rows)
    return {}


def make_store(path: str, embeddings: str, picture_bytes: str) -> Figures:
    """Write the embeddings to a DuckDB store, with pictures of random bytes."""
    import pandas as pd

    from videolib import FrameStore, Video

    rows = np.load(embeddings, mmap_mode="r")
    random = np.random.default_rng(3)
    part = Path(path).with_suffix(".part.duckdb")
    part.unlink(missing_ok=True)
    store = FrameStore(part)
    with measured() as figures:
        video = Video("video", "video", "video.mp4", float(len(rows)), 1920, 1080, 30.0)
        store.write_video(video, model="random", dimension=DIMENSION, every_seconds=1.0)
        for start in range(0, len(rows), 20_000):
            numbers = np.arange(start, min(start + 20_000, len(rows)))
            frames = {
                "video_id": "video",
                "frame_number": numbers + 1,
                "timestamp_seconds": numbers.astype(float),
                "embedding_data": list(rows[numbers]),
                "frame_data": [random.bytes(int(picture_bytes)) for _ in numbers],
            }
            store.write_frames(pd.DataFrame(frames))
        store.mark_complete("video")  # merges DuckDB's log into the file
    part.replace(path)
    return figures | {"count": len(rows)}


def _search(embeddings: np.ndarray, find: Callable[[np.ndarray], Any]) -> Figures:
    """Time searches one by one; `right` tells whether `find` gives the numbers of the true five."""
    queries = np.random.default_rng(4).standard_normal((SEARCHES + 1, DIMENSION), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    find(queries[0])
    times = []
    with measured() as figures:
        for query in queries[1:]:
            started = time.perf_counter()
            found = find(query)
            times.append(time.perf_counter() - started)
    wanted = np.argsort(-(embeddings @ query))[:5]
    right = np.asarray(found).ravel().tolist() == wanted.tolist()
    return figures | {"milliseconds": 1e3 * float(np.median(times)), "right": right}


def search_numpy(embeddings: str) -> Figures:
    """NumPy: a matrix product and argpartition."""
    rows = np.load(embeddings)

    def find(query: np.ndarray) -> np.ndarray:
        products = rows @ query
        best = np.argpartition(products, -5)[-5:]
        return best[np.argsort(-products[best])]

    return _search(rows, find)


def search_faiss(embeddings: str) -> Figures:
    """FAISS, the flat index."""
    import faiss

    rows = np.load(embeddings, mmap_mode="r")
    index = faiss.IndexFlatIP(DIMENSION)
    for start in range(0, len(rows), 50_000):
        index.add(np.ascontiguousarray(rows[start : start + 50_000]))
    return _search(rows, lambda query: index.search(query[None], 5)[1][0])


def search_usearch(embeddings: str) -> Figures:
    """usearch, exact."""
    from usearch.index import MetricKind, search

    rows = np.load(embeddings)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _search(
        rows, lambda query: search(rows, query, 5, MetricKind.IP, exact=True, threads=threads).keys
    )


def search_article(embeddings: str) -> Figures:
    """The article: a tensor from the list of arrays, then the similarities, for each query."""
    import torch

    rows = np.load(embeddings)
    arrays = [row.copy() for row in rows]

    def find(query: np.ndarray) -> np.ndarray:
        tensor = torch.tensor(np.array(arrays))
        return torch.topk(tensor @ torch.from_numpy(query), 5).indices.numpy()

    return _search(rows, find)


def search_index(embeddings: str, store: str) -> Figures:
    """videolib's index in memory, with the pictures of the five from the store."""
    from videolib import FrameStore

    started = time.perf_counter()
    index = FrameStore(store).load_index()
    loading = time.perf_counter() - started
    figures = _search(
        np.load(embeddings, mmap_mode="r"), lambda query: index.search(query)["frame_number"] - 1
    )
    return figures | {"loading": loading}


def search_bare_index(embeddings: str) -> Figures:
    """videolib's index in memory, without pictures, as the other libraries search."""
    import pandas as pd

    from videolib import FrameIndex

    rows = np.load(embeddings)
    numbers = np.arange(1, len(rows) + 1)
    frames = pd.DataFrame({"video_id": "video", "frame_number": numbers, "timestamp_seconds": numbers - 1.0})
    index = FrameIndex(frames, rows, lambda keys: keys[["video_id", "frame_number"]].assign(frame_data=None))
    return _search(rows, lambda query: index.search(query)["frame_number"] - 1)


def search_store(embeddings: str, store: str) -> Figures:
    """videolib's search in DuckDB, with the pictures of the five."""
    from videolib import FrameStore

    frames = FrameStore(store)
    return _search(np.load(embeddings, mmap_mode="r"), lambda query: frames.search(query)["frame_number"] - 1)


def main(name: str, *arguments: str) -> None:
    """Run one case; a peer that is not installed is told as `left_out`."""
    case = globals().get(name)
    if not inspect.isfunction(case) or case.__module__ != __name__ or name.startswith("_"):
        raise SystemExit(f"name must be one of the cases in {__file__}, got {name!r}")
    try:
        figures = case(*arguments)
    except (ImportError, OSError) as error:  # OSError: it finds no FFmpeg libraries
        figures = {"left_out": str(error).splitlines()[0]}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
