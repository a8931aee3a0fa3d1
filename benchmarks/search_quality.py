"""``python -m benchmarks.search_quality``: how well moments and sequences are found, beside simpler ways, and how fast.

The drawn videos are those of `FINAL_SEEDS`, with ``--tuning`` those that constants were chosen by; ``--only moments``,
``sequences`` or ``speed`` leaves out the rest. Published rules: the histogram threshold of VTG-GPT, the contrast of
TFVTG. IoU is the length of what two spans share, over that of both together.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.cases import DIMENSION, measured
from benchmarks.scenes import (
    FINAL_SEEDS,
    ROOT,
    TUNING_SEEDS,
    DemoVideo,
    Span,
    Thing,
    demo_encoder,
    demo_videos,
    fill,
    name_thing,
    shows,
)
from videolib import FrameStore, Video, find_moments, find_sequences, moments_of

Floats = npt.NDArray[np.float64]
Finder = Callable[[pd.DataFrame, float], list[Span]]  # a curve and the video's duration; best span first
Asked = tuple[str | None, str | None]  # object, colour

OVERLAPS = np.arange(0.5, 0.96, 0.05)
WITHIN_SECONDS = 10.0
SIZES = {"100,000": 100_000, "1,000,000": 1_000_000}
FEWEST, VIDEOS, ROUNDS = 100_000, 300, 7


# Moments.


def by_videolib(curve: pd.DataFrame, duration: float) -> list[Span]:
    """`moments_of`."""
    moments = moments_of(curve, duration_seconds=duration)
    return list(zip(moments["start_seconds"], moments["end_seconds"], strict=True))


def by_top_frames(curve: pd.DataFrame, duration: float, *, k: int = 20, gap: int = 2) -> list[Span]:
    """The k best frames, merged where no more than `gap` samples lie between."""
    values = curve["similarity"].to_numpy()
    best = np.sort(np.argsort(-values, kind="stable")[:k])
    return _spans(curve, _runs(best, gap), lambda run: float(values[run].max()), duration)


def by_histogram(curve: pd.DataFrame, duration: float) -> list[Span]:
    """VTG-GPT: the highest of 10 bins that hold at least 8 samples; gaps up to 6; length share and mean."""
    values = curve["similarity"].to_numpy()
    counts, edges = np.histogram(values, bins=10)
    held = np.cumsum(counts[::-1])[::-1]
    threshold = edges[np.flatnonzero(held >= min(8, len(values)))[-1]]
    runs = _runs(np.flatnonzero(values >= threshold), 6)
    share = (values - values.min()) / (np.ptp(values) or 1.0)
    return _spans(
        curve, runs, lambda run: 0.5 * len(run) / len(values) + 0.5 * float(share[run].mean()), duration
    )


def by_contrast(curve: pd.DataFrame, duration: float) -> list[Span]:
    """TFVTG: inner mean minus outer mean of all spans up to 40 samples; non-maximum suppression at 0.3."""
    values = curve["similarity"].to_numpy()
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first, last = np.triu_indices(len(values))
    fits = last - first < 40
    first, last = first[fits], last[fits]
    lengths = last - first + 1
    inner = sums[last + 1] - sums[first]
    outer = (sums[-1] - inner) / np.maximum(len(values) - lengths, 1)
    kept: list[tuple[int, int]] = []
    for n in np.argsort(-(inner / lengths - outer), kind="stable"):
        span = (int(first[n]), int(last[n]) + 1)
        if all(overlap(span, other) <= 0.3 for other in kept):
            kept.append(span)
        if len(kept) == 10:
            break
    return _spans(curve, [np.arange(*span) for span in kept], lambda _: 0.0, duration)


def _runs(places: npt.NDArray[np.intp], gap: int) -> list[npt.NDArray[np.intp]]:
    return np.split(places, np.flatnonzero(np.diff(places) > gap + 1) + 1)


def _spans(
    curve: pd.DataFrame,
    runs: list[npt.NDArray[np.intp]],
    rate: Callable[[npt.NDArray[np.intp]], float],
    duration: float,
) -> list[Span]:
    """Runs of samples as spans, half a sample wider on both sides, best first; of equals in the order given."""
    seconds = curve["timestamp_seconds"].to_numpy()
    ordered = sorted(runs, key=rate, reverse=True)
    return [(max(0.0, seconds[run[0]] - 0.5), min(duration, seconds[run[-1]] + 0.5)) for run in ordered]


FINDERS: dict[str, Finder] = {
    "videolib, find_moments": by_videolib,
    "top 20 frames, gaps up to 2 merged": by_top_frames,
    "histogram threshold (VTG-GPT)": by_histogram,
    "inner minus outer mean (TFVTG)": by_contrast,
}


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """IoU of two spans."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return max(0.0, shared) / (max(one[1], other[1]) - min(one[0], other[0]))


def average_precision(found: list[Span], truth: list[Span], least: float) -> float:
    """Interpolated average precision of spans, best first; each true span counts once."""
    left, right = list(truth), []
    for span in found:
        best = max(left, key=lambda other: overlap(span, other), default=None)
        right.append(best is not None and overlap(span, best) >= least)
        if right[-1] and best is not None:
            left.remove(best)
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((highest * right).sum() / len(truth))


def asked_of(video: DemoVideo) -> Iterator[Asked]:
    """An object and its colour, an object, a colour: all that the video shows more than once."""
    kinds = sorted({kind for kind, _ in video.things()})
    colours = sorted({colour for _, colour in video.things()})
    for each in [*video.things(), *((kind, None) for kind in kinds), *((None, colour) for colour in colours)]:
        if len(video.spans(shows(*each))) > 1:
            yield each


def curve_of(video: DemoVideo, query: npt.NDArray[np.float32]) -> pd.DataFrame:
    """Its similarities, as `FrameStore.similarities` gives them."""
    return video.frames[["video_id", "frame_number", "timestamp_seconds"]].assign(
        similarity=(video.embeddings @ query).astype(float)
    )


def judge_moments(seeds: tuple[int, ...]) -> pd.DataFrame:
    """R1 and mAP of each way, over descriptions of two words and of one."""
    rows = []
    for video in [video for seed in seeds for video in demo_videos(seed)]:
        asked = list(asked_of(video))
        queries = demo_encoder().encode_texts([name_thing(*each) for each in asked])
        for each, query in zip(asked, queries, strict=True):
            truth, curve = video.spans(shows(*each)), curve_of(video, query)
            for name, find in FINDERS.items():
                found = find(curve, video.video.duration_seconds)
                first = max(overlap(found[0], other) for other in truth)
                figures = {"R1@0.5": first >= 0.5, "R1@0.7": first >= 0.7}
                figures["mAP"] = np.mean([average_precision(found, truth, least) for least in OVERLAPS])
                words = "an object and its colour" if all(each) else "an object or a colour"
                rows.append({"asked": words, "way": name, "video": video.video.video_id, **figures})
    return pd.DataFrame(rows)


# Sequences.


def judge_sequences(seeds: tuple[int, ...]) -> pd.DataFrame:
    """Whether the first answer is right, in one video and among all of a seed's."""
    rows = []
    for seed in seeds:
        videos, rng = demo_videos(seed), np.random.default_rng(seed)
        store = FrameStore("duckdb:///:memory:")
        fill(store, videos)
        index = store.load_index()
        for video in videos:
            for steps in _steps(video, rng):
                queries = demo_encoder().encode_texts([name_thing(*step) for step in steps])
                words = "an object and its colour" if all(steps[0]) else "an object or a colour"
                for scope, searched in (("its video", [video]), ("all videos", videos)):
                    about = {"asked": words, "steps": len(steps), "among": scope}
                    for name, answer in _answers(index, searched, queries).items():
                        rows.append({**about, "way": name, "right": _is_right(answer, searched, steps)})
    return pd.DataFrame(rows)


def _steps(video: DemoVideo, rng: np.random.Generator) -> Iterator[list[Asked]]:
    """What some shots in a row show, each step in two words or in one."""
    things = video.shots["things"].tolist()
    for count in (2, 2, 2, 2, 3):
        for is_vague in (False, True):
            first = int(rng.integers(len(things) - count + 1))
            chosen: list[Thing] = [shot[0] for shot in things[first : first + count]]
            yield [
                ((kind, None) if rng.random() < 0.5 else (None, colour)) if is_vague else (kind, colour)
                for kind, colour in chosen
            ]


Answer = tuple[str, list[float]]  # video_id, seconds of each step


def _answers(
    index: object, videos: list[DemoVideo], queries: npt.NDArray[np.float32]
) -> dict[str, Answer | None]:
    ids = [video.video.video_id for video in videos]
    found = find_sequences(index, list(queries), WITHIN_SECONDS, 1, video_id=ids)  # type: ignore[arg-type]
    best = (found["video_id"].iloc[0], found["timestamp_seconds"].tolist()) if len(found) else None
    answers: dict[str, Answer | None] = {"videolib, the least z": best}
    products, firsts = [], []
    for video in videos:
        values = queries @ video.embeddings.T  # (m, n)
        seconds = video.frames["timestamp_seconds"].to_numpy()
        value, places = _best_product(values, seconds)
        products.append((value, (video.video.video_id, seconds[places].tolist())))
        value, places = _first_alone(values, seconds)
        firsts.append((value, (video.video.video_id, seconds[places].tolist())))
    answers["product of similarities"] = max(products, key=lambda pair: pair[0])[1]
    answers["the first part alone"] = max(firsts, key=lambda pair: pair[0])[1]
    return answers


def _best_product(values: npt.NDArray[np.float32], seconds: Floats) -> tuple[float, list[int]]:
    after = seconds[None] - seconds[:, None]
    allowed = (after > 0) & (after <= WITHIN_SECONDS)
    best, following = values[-1].astype(float), []
    for row in values[-2::-1]:
        pairs = np.where(allowed, best[None], -np.inf)
        following.append(pairs.argmax(axis=1))
        best = row * pairs.max(axis=1)
    places = [int(best.argmax())]
    for chosen in reversed(following):
        places.append(int(chosen[places[-1]]))
    return float(best[places[0]]), places


def _first_alone(values: npt.NDArray[np.float32], seconds: Floats) -> tuple[float, list[int]]:
    """The best frame of the first part, and the best of each other within the time after the one before."""
    places = [int(values[0].argmax())]
    for row in values[1:]:
        here = seconds[places[-1]]
        allowed = (here < seconds) & (seconds <= here + WITHIN_SECONDS)
        places.append(int(np.where(allowed, row, -np.inf).argmax()))
    return float(values[0, places[0]]), places


def _is_right(answer: Answer | None, videos: list[DemoVideo], steps: list[Asked]) -> bool:
    if answer is None:
        return False
    (video,) = (video for video in videos if video.video.video_id == answer[0])
    spans = [video.spans(shows(*step)) for step in steps]
    return all(
        any(start <= at < end for start, end in each) for each, at in zip(spans, answer[1], strict=True)
    ) and all(earlier < later for earlier, later in zip(answer[1], answer[1][1:], strict=False))


# Speed.


def big_store(count: int) -> FrameStore:
    """A DuckDB store of 300 videos of random shots of six frames: 100,000 with pictures of 10 KB, or more."""
    path = ROOT / "build" / "bench" / f"moments-{count}.duckdb"
    part = path.with_suffix(".part.duckdb")
    if not path.exists():
        part.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if count > FEWEST:
            _lengthen(big_store(FEWEST), FrameStore(part), count // FEWEST)
        else:
            _write_random(FrameStore(part), count)
        part.replace(path)
    return FrameStore(path)


def _write_random(store: FrameStore, count: int) -> None:
    rng = np.random.default_rng(3)
    for number in range(VIDEOS):
        size = count * (number + 1) // VIDEOS - count * number // VIDEOS
        name = f"video-{number:03}"
        video = Video(name, f"title of {name}", f"{name}.mp4", float(size), 1920, 1080, 30.0)
        store.write_video(video, model="random", dimension=DIMENSION, every_seconds=1.0)
        store.write_frames(_random_frames(rng, name, size))
    store.mark_complete(name)  # merges DuckDB's log into the file


def _lengthen(store: FrameStore, target: FrameStore, times: int) -> None:
    """Write a store whose videos are so many times as long, in SQL, with embeddings turned and small pictures."""
    for video in store.list_videos().head(1).itertuples():
        first = Video(video.video_id, video.title, video.source, 1.0, 1920, 1080, 30.0)
        target.write_video(first, model="random", dimension=DIMENSION, every_seconds=1.0)  # makes the tables
    with target.engine.connect() as connection:
        connection.exec_driver_sql(f"ATTACH '{store.engine.url.database}' AS small (READ_ONLY)")
        connection.exec_driver_sql("DELETE FROM videos")
        connection.exec_driver_sql(
            f"INSERT INTO videos SELECT * REPLACE (duration_seconds * {times} AS duration_seconds) FROM small.videos"
        )
        connection.exec_driver_sql(
            "INSERT INTO frames SELECT video_id, frame_number + n * longest, timestamp_seconds + n * longest, "
            f"(embedding_data[n * 7 + 1:] || embedding_data[:n * 7])::FLOAT[{DIMENSION}], frame_data[:16] "
            f"FROM small.frames JOIN (SELECT video_id, max(frame_number) AS longest FROM small.frames "
            f"GROUP BY video_id) USING (video_id), range({times}) AS turns(n) ORDER BY video_id, n, frame_number"
        )
        connection.commit()


def _random_frames(rng: np.random.Generator, name: str, size: int) -> pd.DataFrame:
    shots = rng.standard_normal((size // 6 + 1, DIMENSION), dtype=np.float32)
    rows = np.repeat(shots, 6, axis=0)[:size] + 0.3 * rng.standard_normal((size, DIMENSION), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return pd.DataFrame(
        {
            "video_id": name,
            "frame_number": np.arange(1, size + 1),
            "timestamp_seconds": np.arange(size, dtype=float),
            "embedding_data": list(rows),
            "frame_data": [rng.bytes(10_000) for _ in range(size)],
        }
    )


def sample_store() -> FrameStore:
    """The sample video, ingested."""
    from videolib import ingest
    from videolib.demo import SAMPLE_VIDEO_PATH

    path = ROOT / "build" / "bench" / "sample.duckdb"
    path.parent.mkdir(parents=True, exist_ok=True)
    store = FrameStore(path)
    ingest(SAMPLE_VIDEO_PATH, demo_encoder(), store, progress=False)
    return store


def judge_speed(names: list[str]) -> pd.DataFrame:
    """Milliseconds and memory of find_moments and find_sequences, in DuckDB and in memory."""
    rows = []
    for name in names:
        store = sample_store() if name == "sample video" else big_store(SIZES[name])
        rng = np.random.default_rng(4)
        shown = store.read_frames(store.list_videos()["video_id"].iloc[0])["embedding_data"]
        # Near to a frame that is there: noise alone makes a moment of every third frame.
        queries = [
            shown[n] + 0.5 * rng.standard_normal(len(shown[0])) / len(shown[0]) ** 0.5 for n in (5, 50, 95)
        ]
        for way, searched in (("DuckDB", store), ("FrameIndex", store.load_index())):
            cases: dict[str, Callable[[], object]] = {
                "find_moments": partial(find_moments, searched, queries[0]),
                "find_sequences": partial(find_sequences, searched, queries[:2]),
                "search": partial(searched.search, queries[0]),
            }
            rows += [
                {"frames": name, "in": way, "what": what, **_timed(find)} for what, find in cases.items()
            ]
    return pd.DataFrame(rows)


def _timed(find: Callable[[], object]) -> dict[str, float]:
    find()
    times = []
    with measured() as figures:
        for _ in range(ROUNDS):
            started = time.perf_counter()
            find()
            times.append(time.perf_counter() - started)
    return {
        "ms": 1e3 * float(np.median(times)),
        "CPU ms": 1e3 * figures["cpu_seconds"] / ROUNDS,
        "peak MB": figures["peak_mb"],
        "MB above set-up": figures["extra_mb"],
    }


def main() -> None:
    """Reads the command line, and prints the tables."""
    parser = argparse.ArgumentParser(description="Measure moments and sequences.")
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--only", choices=["moments", "sequences", "speed"])
    parser.add_argument("--sizes", nargs="*", default=["sample video", *SIZES])
    given = parser.parse_args()
    seeds = TUNING_SEEDS if given.tuning else FINAL_SEEDS
    if given.only in (None, "moments"):
        moments = judge_moments(seeds)
        print(f"{moments['video'].nunique()} videos")
        print(
            moments.groupby(["asked", "way"], sort=False)[["R1@0.5", "R1@0.7", "mAP"]]
            .mean()
            .round(3)
            .to_string()
        )
        print(moments.groupby(["asked", "way"], sort=False).size().to_string())
    if given.only in (None, "sequences"):
        sequences = judge_sequences(seeds)
        print(
            sequences.groupby(["asked", "steps", "among", "way"], sort=False)["right"]
            .agg(["mean", "size"])
            .round(3)
            .to_string()
        )
    if given.only in (None, "speed"):
        print(judge_speed(given.sizes).round(1).to_string(index=False))


if __name__ == "__main__":
    main()
