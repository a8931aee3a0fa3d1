"""A notebook's parameters, checked in one place before anything is opened or loaded."""

from __future__ import annotations

import glob
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from videolib.addresses import hide_secrets, is_address, local_path, store_file
from videolib.demo import SAMPLE_MARKS_PATH, SAMPLE_VIDEO_PATH
from videolib.extras import missing_extra
from videolib.model_names import split_open_clip


@dataclass(frozen=True)
class Parameters:
    """What `check_parameters` found right, with the defaults filled in and numbers as numbers."""

    video_path: str
    model: str
    store_path: str
    every_seconds: float
    query_text: str
    query_image: str
    query_seconds: float
    weight: float
    k: int
    without_text: str
    first_text: str
    then_text: str
    vague_text: str
    within_seconds: float
    right: list[int]
    wrong: list[int]
    labels: list[str]
    marks_path: str
    least_recall: float
    benchmark_folder: str
    folder: str
    cluster: str | None


def check_parameters(
    *,
    video_path: object = "",
    model: object = "",
    store_path: object = "",
    every_seconds: object = 1.0,
    query_text: object = "a red car",
    query_image: object = "",
    query_seconds: object = 0.0,
    weight: object = 0.5,
    k: object = 5,
    without_text: object = "the city",
    first_text: object = "a balloon",
    then_text: object = "a boat",
    vague_text: object = "a car",
    within_seconds: object = 10.0,
    right: object = (),
    wrong: object = (),
    labels: object = ("a car",),
    marks_path: object = "",
    least_recall: object = 0.0,
    benchmark_folder: object = None,
    folder: object = None,
    cluster: object = "",
) -> Parameters:
    """Check what a person, a job or papermill gave to a notebook, before anything is opened or loaded.

    Numbers that came as text are taken where they are unambiguous.

    Parameters
    ----------
    video_path
        An existing file or an http(s) address; empty for the sample video, which goes with the model "demo" and
        a store of its own, ``demo.duckdb``.
    model, store_path
        As `load_encoder` and `FrameStore` take them; empty for "ViT-B/32" and ``videolib.duckdb``. Both stores lie
        in the folder that the environment variable ``VIDEOLIB_DATA_DIR`` names, else in
        ``~/.local/share/videolib``, wherever the notebook runs.
    every_seconds
        Above 0.
    query_text, without_text, first_text, then_text, vague_text
        What to look for, and what not.
    query_image
        An existing file or an http(s) address; empty for none.
    query_seconds
        0 or more.
    weight
        The text's share, from 0 to 1.
    k
        A whole number, 1 or more.
    within_seconds
        Above 0.
    right, wrong
        Ranks: whole numbers, 1 or more. As text they stand between commas, as the labels do.
    labels
        One description or more, each once.
    marks_path
        An existing file of marks, as `load_marks` takes it; empty for those of the sample video, or with a video of
        one's own for those that the store holds, which is again empty.
    least_recall
        From 0, which any answer reaches, to 1.
    benchmark_folder
        An existing folder, as `find_pairs` takes it, in a notebook about such a benchmark; empty for one that is made
        of the sample video, which goes with the model "demo". Their stores are ``benchmark.duckdb`` and
        ``demo_benchmark.duckdb``.
    folder
        What `ingest_videos` takes, as one text, in a notebook about many videos; empty for parts of the sample video,
        which go with the model "demo". Their stores are ``videos.duckdb`` and ``demo_videos.duckdb``.
    cluster
        As `ingest_videos` takes it; empty for none.

    Raises
    ------
    ValueError
        With the name of the parameter, what came, and what is right.
    ImportError
        If the model is one of open_clip, or a cluster is given, and what it needs is not installed.
    """
    split_open_clip(str(model))
    video = _source("video_path", video_path)
    videos = _sources("folder", "" if folder is None else folder)
    benchmark = _folder("benchmark_folder", "" if benchmark_folder is None else benchmark_folder)
    is_own = bool(video or videos or benchmark)
    default_store = ("demo", "videolib")
    if folder is not None:
        default_store = ("demo_videos", "videos")
    if benchmark_folder is not None:
        default_store = ("demo_benchmark", "benchmark")
    share = "from 0 (the picture alone) to 1 (the text alone)"
    return Parameters(
        video_path=video or str(SAMPLE_VIDEO_PATH),
        model=str(model) or ("ViT-B/32" if is_own else "demo"),
        store_path=str(store_path) or str(store_file(default_store[is_own])),
        every_seconds=_number("every_seconds", every_seconds, "a number above 0", lambda value: value > 0),
        query_text=_text("query_text", query_text),
        query_image=_source("query_image", query_image),
        query_seconds=_number(
            "query_seconds", query_seconds, "a number, 0 or more", lambda value: value >= 0
        ),
        weight=_number("weight", weight, share, lambda value: 0 <= value <= 1),
        k=_whole("k", k),
        without_text=_text("without_text", without_text),
        first_text=_text("first_text", first_text),
        then_text=_text("then_text", then_text),
        vague_text=_text("vague_text", vague_text),
        within_seconds=_number("within_seconds", within_seconds, "a number above 0", lambda value: value > 0),
        right=[_whole("right", rank) for rank in _several(right)],
        wrong=[_whole("wrong", rank) for rank in _several(wrong)],
        labels=_labels(labels),
        marks_path=_file("marks_path", marks_path) or ("" if video else str(SAMPLE_MARKS_PATH)),
        least_recall=_number(
            "least_recall", least_recall, "a number from 0 to 1", lambda value: 0 <= value <= 1
        ),
        benchmark_folder=benchmark,
        folder=videos,
        cluster=_cluster(cluster),
    )


def _text(name: str, value: object) -> str:
    text = str(value).strip()
    if isinstance(value, bool) or not text:
        raise ValueError(f"{name} must describe what to look for, got {value!r}")
    return text


def _several(value: object) -> list[object]:
    """Make a list of what is one, of several, or of text with commas, as papermill's command line gives it."""
    if isinstance(value, str):
        return [part for part in value.strip("[]() ").split(",") if part.strip()]
    return list(value) if isinstance(value, list | tuple) else [value]


def _labels(value: object) -> list[str]:
    labels = [] if value is None else [_text("labels", each) for each in _several(value)]
    if not labels or len(set(labels)) < len(labels):
        raise ValueError(f"labels must be one description or more, each once, got {value!r}")
    return labels


def _source(name: str, value: object) -> str:
    text = str(value)
    if not text or is_address(text):
        return text
    return _file(name, text, "an existing file or an http(s) address")


def _sources(name: str, value: object) -> str:
    text = str(value)
    if not text or is_address(text):
        return text
    path = local_path(text)
    if not (path.exists() or any(glob.iglob(str(path), recursive=True))):
        raise ValueError(
            f"{name} must be an existing folder, a pattern that fits a file, a list in a .txt or .csv file, or an "
            f"http(s) address, got {hide_secrets(text)!r}: check the path"
        )
    return str(path)


def _cluster(value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError(
            f'cluster must be "auto" or the address of a Ray cluster, got {value!r}: empty for none'
        )
    if find_spec("ray") is None:
        raise ImportError(missing_extra(f"cluster {value!r} needs Ray", "ray"))
    return value


def _file(name: str, value: object, rule: str = "an existing file") -> str:
    text = str(value)
    if not text:
        return text
    path = local_path(text)
    if not path.is_file():
        raise ValueError(f"{name} must be {rule}, got {hide_secrets(text)!r}: check the path")
    return str(path)


def _folder(name: str, value: object) -> str:
    path = local_path(str(value))
    if str(value) and not path.is_dir():
        raise ValueError(
            f"{name} must be an existing folder, got {hide_secrets(str(value))!r}: check the path"
        )
    return str(path) if str(value) else ""


def _whole(name: str, value: object) -> int:
    rule = "a whole number, 1 or more"
    return int(_number(name, value, rule, lambda number: number >= 1 and number == int(number)))


def _number(name: str, value: object, rule: str, is_right: Callable[[float], bool]) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and is_right(number)):
        raise ValueError(f"{name} must be {rule}, got {value!r}")
    return number
