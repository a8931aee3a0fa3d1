"""Titles, paths, queries and ids that are HTML, SQL or markup come through every public function as what they are."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

import videolib
from tests.conftest import make_frames, make_video
from tests.light import LightEncoder
from tests.media import write_video
from videolib import Frame, FrameStore, normalize

pytestmark = pytest.mark.slow

HTML = '<script>alert("x")</script><img src=x onerror=alert(1)>&lt;'
SQL = "x'; DROP TABLE frames; -- \" ` \\' /* %s %(id)s :id $1 ? ;"
MATH = r"win $5, $\frac{ or $_{ \n {0} {self.__class__} %d"
TEXTS = {
    "html": HTML,
    "sql": SQL,
    "math": MATH,
    "control": "a\x01b\x7f\x1b[31m\r\n\t\u202e",
    "long": "é" * 200,
}
FILE_NAMES = {name: text.replace("/", "_").replace("\\", "_")[:60] for name, text in TEXTS.items()}
DIMENSION = 512
MODEL = {"dimension": DIMENSION, "every_seconds": 1.0}
ROWS = normalize(np.random.default_rng(0).normal(size=(3, DIMENSION)))


@pytest.fixture(params=TEXTS)
def text(request) -> str:
    return TEXTS[request.param]


@pytest.fixture(params=FILE_NAMES)
def file_name(request) -> str:
    return FILE_NAMES[request.param]


def shown(value: Any) -> str:
    """What a notebook would show of a value as HTML."""
    html = getattr(value, "_repr_html_", lambda: None)()
    return html or ""


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (200, 30, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def walk_store(store: FrameStore, text: str) -> None:
    """All that a store does with ids, titles, sources and a model's name."""
    key = text[:60]
    for video_id in (key, "other"):
        video = make_video(video_id, title=text, source=text)
        store.write_video(video, model=key, **MODEL)
        store.write_frames(make_frames(video_id, ROWS).assign(frame_data=jpeg()))
        store.mark_complete(video_id)
    videos = store.list_videos()
    assert sorted(videos["video_id"]) == sorted([key, "other"])
    for name, expected in (("title", text), ("source", text), ("model", key)):
        assert set(videos[name]) == {expected}
    assert "<script>" not in shown(videos) + shown(store)
    mark = {"query": text, "video_id": key, "start_seconds": 0.0, "end_seconds": 2.0, "right": True}
    store.write_marks([mark], who=text)
    marks = store.read_marks(query=text)
    assert marks[["query", "video_id", "who"]].to_numpy().tolist() == [[text.strip(), key, text.strip()]]
    assert "<script>" not in shown(marks)
    matches = store.search(ROWS[1], 5, video_id=key)
    assert set(matches["video_id"]) == {key}
    assert matches["frame_number"][0] == 2
    assert "<script>" not in shown(matches)
    assert set(matches["title"]) == {text}
    with pytest.raises(videolib.StoreError, match="video_id must be of a video in the store"):
        store.search(ROWS[1], 5, video_id=f"{key}%")
    assert set(store.search(ROWS[1], 5, video_id=[key, "other"])["video_id"]) == {key, "other"}
    assert len(store.read_frames(key)) == len(next(store.read_batches(key))) == 3
    assert store.read_frame_numbers(key).tolist() == [1, 2, 3]
    assert store.similarities(ROWS[1], key)["similarity"].idxmax() == 1
    assert len(store.sample_embeddings(video_id=key)) == len(next(store.read_embeddings(key))) == 3
    nulls = videolib.NullQueries((text,) * 99, np.repeat(-ROWS[:1], 99, axis=0))
    assert videolib.judge(matches, ROWS[1], store, nulls, video_id=key)["found"][0]
    curves = store.best_curves(ROWS[1], 1, video_id=key)
    assert set(curves["video_id"]) == {key}
    index = store.load_index(key)
    pd.testing.assert_frame_equal(index.search(ROWS[1]), matches)
    rows = store.add_embeddings(store.add_pictures(matches[["video_id", "frame_number"]]))
    assert rows["frame_data"].tolist() == [jpeg()] * 3
    for searched in (store, index):
        moments = videolib.find_moments(searched, ROWS[1], 1, video_id=key)
        assert moments[["video_id", "title", "frame_number"]].to_numpy().tolist() == [[key, text, 2]]
        assert "<script>" not in shown(moments)
        sequences = videolib.find_sequences(searched, ROWS[:2], video_id=[key])
        assert sequences["title"].tolist() == [text] * 2
    moments = videolib.moments_of(curves)
    assert set(moments["title"]) == {text}
    assert "<script>" not in shown(index)
    copy = FrameStore("duckdb:///:memory:")
    videolib.copy_videos(store, copy, progress=False)
    assert copy.read_frames(key)["frame_data"].tolist() == [jpeg()] * 3
    MemoryFileSystem.store.clear()
    videolib.export_parquet(store, "memory://export", progress=False)
    loaded = FrameStore("duckdb:///:memory:")
    videolib.load_parquet("memory://export", loaded, progress=False)
    pd.testing.assert_frame_equal(loaded.list_videos(), videos)
    assert loaded.read_frames(key)["frame_data"].tolist() == [jpeg()] * 3
    with pytest.raises(videolib.StoreError, match="model must be"):
        store.write_video(make_video("third"), model=f"{key}2", **MODEL)
    assert copy.read_marks(video_id=key)["query"].tolist() == [text.strip()]
    with pytest.raises(videolib.VideoReadError, match="is not a file"):
        store.relocate_video(key, text.replace("/", "_")[:60])
    store.delete_video(key)
    assert store.list_videos()["video_id"].tolist() == ["other"]
    store.delete_marks(marks)
    assert store.read_marks().empty
    assert len(store.read_frames("other")) == 3


def test_a_store_in_a_file(tmp_path, file_name, text):
    store = FrameStore(tmp_path / file_name)
    walk_store(store, text)
    store.compact()
    assert {path.name for path in tmp_path.iterdir()} <= {file_name, f"{file_name}.wal"}
    assert len(FrameStore(f"{tmp_path}/{file_name}").read_frames("other")) == 3


def test_a_store_whose_pictures_lie_outside(tmp_path, text):
    place = tmp_path / text.replace("/", "_").replace("\\", "_")[:60]
    walk_store(FrameStore(tmp_path / "store.duckdb", pictures=place), text)
    assert len(list(place.glob("*/*.jpg"))) == 3


@pytest.mark.singlestore
def test_a_store_on_a_server(singlestore_url, text):
    walk_store(FrameStore(singlestore_url), text)


@pytest.fixture
def odd_video(tmp_path, file_name) -> Path:
    path = tmp_path / f"{file_name}.mp4"
    write_video(tmp_path / "plain.mp4")
    shutil.move(tmp_path / "plain.mp4", path)
    return path


def test_a_video_file(odd_video, file_name, encoder, tmp_path):
    video = videolib.probe_video(odd_video)
    assert (video.title, video.source) == (file_name, os.fspath(odd_video))
    assert videolib.fetch_video(odd_video) == odd_video
    assert "<script>" not in shown(video)
    assert isinstance(next(videolib.extract_frames(odd_video)), Frame)
    assert isinstance(videolib.read_frame(odd_video, 1), Frame)
    assert "<script>" not in shown(videolib.preflight(odd_video, encoder))
    assert "<script>" not in shown(videolib.play_clip(odd_video, duration_seconds=0.2))
    clip = tmp_path / f"{file_name} clip.mp4"
    for exact in (True, False):
        videolib.cut_clip(odd_video, 0, 0.2, clip, exact=exact)
        assert videolib.probe_video(clip).duration_seconds >= 0.2
    store = FrameStore(tmp_path / "store.duckdb")
    stored = videolib.ingest(odd_video, encoder, store, progress=True)
    frames = store.read_frames(stored.video_id)
    assert store.list_videos()["title"].tolist() == [file_name]
    table = videolib.ingest_videos([odd_video, tmp_path / f"no {file_name}"], encoder, store, progress=True)
    assert table["source"].tolist() == [os.fspath(odd_video), f"{tmp_path}/no {file_name}"]
    assert table["state"].tolist() == ["already stored", "failed"]
    told = videolib.preflight_videos([odd_video, tmp_path / f"no {file_name}"], encoder, progress=False)
    assert "<script>" not in shown(table) + shown(told) + shown(told.problems)
    videolib.plot_timeline(video, frames.assign(similarity=0.5)).savefig(io.BytesIO())


@pytest.mark.filterwarnings("ignore:Glyph")
def test_titles_of_figures(text):
    matches = make_frames(text, ROWS).assign(frame_data=jpeg(), similarity=0.5)
    for figure in (
        videolib.plot_frames(matches, title=text),
        videolib.plot_timeline(make_video(title=text), matches),
        videolib.plot_timeline(make_video(), matches, title=text),
        videolib.plot_frames(matches, title=os.fsdecode(b"caf\xe9")),
    ):
        figure.savefig(io.BytesIO())


@pytest.mark.filterwarnings("ignore:Glyph")
def test_titles_of_moments(text, store):
    store.write_video(make_video(title=text), model="m", dimension=ROWS.shape[1], every_seconds=1.0)
    store.write_frames(make_frames("v1", ROWS).assign(frame_data=jpeg()))
    moments = make_frames("v1", ROWS).assign(
        start_seconds=0.0, peak_seconds=0.0, end_seconds=9.0, similarity=0.5, title=text, frame_data=jpeg()
    )
    videolib.plot_moments(moments, store, title=text).savefig(io.BytesIO())
    videolib.plot_timeline(make_video(title=text), moments, moments=moments).savefig(io.BytesIO())
    videolib.plot_videos(moments.assign(rank=1), store, title=text).savefig(io.BytesIO())


@pytest.mark.filterwarnings("ignore:Glyph")
def test_labels_and_null_queries(text, tmp_path, encoder, monkeypatch):
    monkeypatch.setenv("VIDEOLIB_MODEL_DIR", str(tmp_path))
    nulls = videolib.null_queries(encoder, [text[:70], "a car"])
    assert nulls.texts[0] == text[:70]
    assert text not in repr(nulls)
    table = videolib.label_frames(ROWS, [text[:70], "a boat"], encoder, nulls=nulls)
    spans = videolib.label_spans([0, 1, 2], table)
    assert set(spans["label"]) <= {text[:70], "a boat"}
    assert "<script>" not in shown(spans)
    videolib.plot_labels(make_video(title=text), spans, labels=table.columns, title=text).savefig(
        io.BytesIO()
    )
    with pytest.raises(ValueError, match="tokens each"):
        videolib.null_queries(encoder, [text * 99])
    with pytest.raises(ValueError, match="tokens each"):
        videolib.label_frames(ROWS, [text * 99], encoder)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_marks_and_their_evaluation(text, store, tmp_path):
    store.write_video(make_video(title=text), model="m", dimension=ROWS.shape[1], every_seconds=1.0)
    store.write_frames(make_frames("v1", ROWS))
    store.mark_complete("v1")
    path = tmp_path / "marks.csv"
    row = {"query": text, "title": text, "start_seconds": 0, "end_seconds": 1, "right": True}
    pd.DataFrame([row]).to_csv(path, index=False)
    marks = videolib.load_marks(path, store)
    assert marks[["query", "video_id"]].to_numpy().tolist() == [[text.strip(), "v1"]]
    one, other = (
        videolib.evaluate(store, LightEncoder(), marks, 1, queries={text.strip(): ROWS[n]}) for n in (1, 0)
    )
    assert (one.overall["mean"]["recall@1"], other.overall["mean"]["recall@1"]) == (0, 1)
    assert videolib.compare_evaluations(one, other)["change"]["recall@1"] == 1
    assert "<script>" not in shown(one) + shown(one.per_query)
    videolib.plot_changes(one, other, names=(text[:30], "other"), title=text).savefig(io.BytesIO())
    videolib.plot_recall({text: [one]}, published={text: {1: 0.5}}, title=text).savefig(io.BytesIO())


def test_the_pairs_of_a_benchmark(text, tmp_path):
    name = text.replace("/", "_").replace("\\", "_")[:60]
    folder = videolib.make_sample_pairs(tmp_path / name)
    (folder / "video0.mp4").rename(folder / f"{name}.mp4")
    pair = {"key": text, "sentence": text}
    pd.DataFrame([pair | {"video_id": name}]).to_csv(folder / "sample_test.csv", index=False)
    (found,) = videolib.find_pairs(folder).to_dict("records")
    assert found == pair | {"source": str(folder / f"{name}.mp4")}


def test_the_explorer(text, store, encoder, monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEOLIB_MODEL_DIR", str(tmp_path))
    store.write_video(make_video(title=text, source=text), **MODEL | {"model": encoder.model})
    store.write_frames(make_frames("v1", ROWS).assign(frame_data=jpeg()))
    explorer = videolib.explore(store, encoder, query_text=text[:70], without_text=text[:70] + " at night")
    assert explorer.moments["title"].tolist() == [text]
    InteractiveShell.instance()  # without one, nothing is captured
    with capture_output() as captured:
        explorer._ipython_display_()
    assert "<script>" not in captured.outputs[0].data["text/html"]


def test_a_reel_and_an_edit_list(odd_video, file_name, text, tmp_path):
    spans = {"start_seconds": 0.0, "end_seconds": 0.2, "source": str(odd_video)}
    moments = pd.DataFrame([spans | {"title": text}, spans])
    videolib.make_reel(moments, tmp_path / f"{file_name} reel.mp4", width=96, height=64, progress=False)
    assert videolib.probe_video(tmp_path / f"{file_name} reel.mp4").duration_seconds >= 0.4
    videolib.export_edit_list(moments, tmp_path / f"{file_name}.otio", name=text)
    timeline = json.loads((tmp_path / f"{file_name}.otio").read_text(encoding="utf-8"))
    clips = timeline["tracks"]["children"][0]["children"]
    assert [timeline["name"], *(clip["name"] for clip in clips)] == [text, text, file_name]


def test_a_card(text, file_name, tmp_path):
    moments = make_frames(text[:60], ROWS).assign(
        start_seconds=0.0, peak_seconds=0.0, end_seconds=9.0, title=text, sentence=text, frame_data=jpeg()
    )
    path = tmp_path / f"{file_name}.html"
    videolib.save_card(moments, path, query_text=text)
    assert "<script>" not in path.read_text(encoding="utf-8")


def test_queries_and_pictures(text, tmp_path, encoder):
    chosen = videolib.check_parameters(query_text=text, store_path=text, model=text)
    assert (chosen.query_text, chosen.store_path, chosen.model) == (text.strip(), text, text)
    assert videolib.text_query(text[:70], encoder).shape == (encoder.dimension,)
    path = tmp_path / f"{text[:50].replace('/', '_')}.jpg"
    path.write_bytes(jpeg())
    assert videolib.open_image(path).size == (32, 24)
    assert videolib.image_query(path, encoder).shape == (encoder.dimension,)
    assert len(videolib.embed_frames(text, [Frame(1, 0.0, np.zeros((8, 8, 3), np.uint8))], encoder)) == 1
    frames = make_frames(text, ROWS)
    assert set(videolib.match_frames(ROWS[0], frames)["video_id"]) == {text}


REFUSALS: dict[str, Callable[[str], object]] = {
    "open_image": videolib.open_image,
    "probe_video": videolib.probe_video,
    "extract_frames": videolib.extract_frames,
    "ClipEncoder": videolib.ClipEncoder,
    "OpenClipEncoder": lambda text: videolib.OpenClipEncoder("ViT-B-32", text),
    "load_encoder": lambda text: videolib.load_encoder(f"open_clip:{text}"),
    "fetch_video": lambda text: videolib.fetch_video(f"ftp://{text}"),
    "check_parameters": lambda text: videolib.check_parameters(folder=text),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_not_there_is_refused_as_it_is(name, text):
    with pytest.raises((ValueError, videolib.VideolibError, ImportError)):  # without videolib[open-clip]
        REFUSALS[name](f"no such {text}"[:120])


def test_a_name_that_is_too_long_for_a_file_is_no_model():
    with pytest.raises(ValueError, match="model must be a checkpoint file or one of"):
        videolib.ClipEncoder("x" * 5000)


def test_the_walk_leaves_no_public_function_out():
    here = Path(__file__).read_text(encoding="utf-8")
    classes = {"DownloadError", "ModelError", "StoreError", "VideoReadError", "VideolibError", "Encoder"}
    numbers = {"combine", "normalize", "refine", "similarity", "top_k"}  # they take no text
    results = {"Clip", "FrameIndex", "Preflight", "PreflightVideos", "Video", "Frame"}  # made by those above
    results |= {"Evaluation", "Parameters"}
    public = set(videolib.__all__) - classes - numbers - results
    assert {name for name in public if f"videolib.{name}" not in here and f"{name}(" not in here} == set()
    methods = {name for name in dir(FrameStore) if not name.startswith("_")}
    rest = {"url", "engine", "check_room", "create_vector_index", "drop_vector_index"}  # they take no text
    assert {name for name in methods - rest if f"store.{name}" not in here} == set()
