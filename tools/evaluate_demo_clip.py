"""Measures the demo checkpoint: on combinations held out of its training, and on the sample video.

    python tools/evaluate_demo_clip.py

prints the figures of videolib/demo/README.md. Every figure is given twice, for RGB and with the red and blue
channels swapped.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import av
import clip
import numpy as np
import numpy.typing as npt
import torch
from demo_scenes import COLOURS, HELD_OUT, OBJECTS, SETTINGS, draw_scene, random_scene
from PIL import Image

Rows = npt.NDArray[np.float32]  # (n, d), unit length
DEMO = Path(__file__).resolve().parent.parent / "videolib" / "demo"
COMBINATIONS = [(kind, colour) for kind in OBJECTS for colour in COLOURS]


class Model:
    """A checkpoint as a user meets it: through `clip.load`, its preprocessing and 77 tokens."""

    def __init__(self, path: Path) -> None:
        self.clip, self.preprocess = clip.load(str(path), device="cpu")

    @torch.inference_mode()
    def images(self, images: list[npt.NDArray[np.uint8]], *, swapped: bool = False) -> Rows:
        rows = []
        for start in range(0, len(images), 64):
            pixels = [image[:, :, ::-1] if swapped else image for image in images[start : start + 64]]
            batch = torch.stack([self.preprocess(Image.fromarray(np.ascontiguousarray(p))) for p in pixels])
            rows.append(_unit(self.clip.encode_image(batch)))
        return np.concatenate(rows)

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Rows:
        return _unit(self.clip.encode_text(clip.tokenize(texts)))


def name(combination: tuple[str, str]) -> str:
    """The plain text of an (object, colour) combination."""
    kind, colour = combination
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {kind}"


def combination_figures(
    path: Path, *, seed: int, sets: int, per_combination: int, swapped: bool = False
) -> dict[str, float]:
    """Text to image and image to text, on freshly drawn single-object scenes of 640 x 360.

    Each of `sets` sets holds `per_combination` scenes, in random settings, of each of the 96 combinations. In
    each set "a {colour} {object}" is asked for every combination, over all its scenes.
    """
    model = Model(path)
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(COMBINATIONS)), per_combination)
    held = np.array([combination in HELD_OUT for combination in COMBINATIONS])
    texts = model.texts([name(combination) for combination in COMBINATIONS])
    first, five, read = [], [], []
    for _ in range(sets):
        scenes = [random_scene(rng, [COMBINATIONS[label]], str(rng.choice(SETTINGS))) for label in labels]
        images = model.images([draw_scene(s, width=640, height=360) for s in scenes], swapped=swapped)
        similarity = texts @ images.T  # (combinations, scenes)
        best = labels[np.argsort(-similarity, axis=1)[:, :5]]
        first.append(best[:, 0] == np.arange(len(texts)))
        five.append((best == np.arange(len(texts))[:, None]).any(1))
        read.append(similarity.argmax(0) == labels)
    recall, recall_five, label_right = np.array(first), np.array(five), np.array(read)
    return {
        "held-out recall@1": float(recall[:, held].mean()),
        "held-out recall@5": float(recall_five[:, held].mean()),
        "seen recall@1": float(recall[:, ~held].mean()),
        "held-out image to label": float(label_right[:, held[labels]].mean()),
        "seen image to label": float(label_right[:, ~held[labels]].mean()),
    }


def binding_figure(path: Path, *, seed: int, scenes: int, swapped: bool = False) -> dict[str, float]:
    """Scenes of two objects against two texts: theirs, and the one with the two colours exchanged."""
    model = Model(path)
    rng = np.random.default_rng(seed)
    images: list[npt.NDArray[np.uint8]] = []
    texts: list[str] = []
    while len(images) < scenes:
        kinds = [str(kind) for kind in rng.choice(OBJECTS, 2, replace=False)]
        colours = [str(colour) for colour in rng.choice(list(COLOURS), 2, replace=False)]
        right = list(zip(kinds, colours, strict=True))
        wrong = list(zip(kinds, reversed(colours), strict=True))
        if not set(HELD_OUT) & {*right, *wrong}:
            images.append(
                draw_scene(random_scene(rng, right, str(rng.choice(SETTINGS))), width=640, height=360)
            )
            texts += [" and ".join(name(pair) for pair in pairs) for pairs in (right, wrong)]
    rows = model.texts(texts).reshape(scenes, 2, -1)
    similarity = np.einsum("nd,nkd->nk", model.images(images, swapped=swapped), rows)
    return {
        "two objects: right colours before exchanged ones": float(
            (similarity[:, 0] > similarity[:, 1]).mean()
        )
    }


def read_frames(path: Path) -> tuple[list[float], list[npt.NDArray[np.uint8]]]:
    """The frames on screen at 0, 1, 2, ... seconds, at 480 x 270."""
    times: list[float] = []
    images: list[npt.NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        shown: av.VideoFrame | None = None
        for frame in container.decode(video=0):
            while shown is not None and frame.time is not None and len(times) < frame.time:
                times.append(float(len(times)))
                images.append(np.asarray(shown.to_ndarray(format="rgb24", width=480, height=270), np.uint8))
            shown = frame
    return times, images


def video_figures(path: Path, video: Path, scenes: Path, *, swapped: bool = False) -> dict[str, float]:
    """Each scene's caption asked over frames sampled every second; neighbours of each frame among the rest."""
    model = Model(path)
    times, images = read_frames(video)
    with scenes.open(newline="") as file:
        rows = list(csv.DictReader(file))
    starts = np.array([float(row["start_seconds"]) for row in rows])
    scene_of = np.searchsorted(starts, times, side="right") - 1
    frames = model.images(images, swapped=swapped)
    asked = {
        "caption": [row["caption"] for row in rows],
        "colour and object": [name((row["object"], row["colour"])) for row in rows],
    }
    figures: dict[str, float] = {}
    for what, texts in asked.items():
        similarity = model.texts(texts) @ frames.T
        best = scene_of[np.argsort(-similarity, axis=1)[:, :5]]
        right = best == np.arange(len(rows))[:, None]
        if what == "colour and object":  # several scenes may show what is asked
            keys = np.array([f"{row['colour']} {row['object']}" for row in rows])
            right = keys[best] == keys[:, None]
        figures[f"video {what} recall@1"] = float(right[:, 0].mean())
        figures[f"video {what} precision of the first 3"] = float(right[:, :3].mean())
        figures[f"video {what} precision of the first 5"] = float(right.mean())
        figures[f"video {what} recall@5"] = float(right.any(1).mean())
    near = frames @ frames.T
    np.fill_diagonal(near, -1)
    figures["video frame to nearest frame, same scene"] = float((scene_of[near.argmax(1)] == scene_of).mean())
    return figures


def _unit(rows: torch.Tensor) -> Rows:
    array: Rows = rows.float().numpy()
    unit: Rows = array / np.linalg.norm(array, axis=1, keepdims=True)
    return unit


def main() -> None:
    """Prints the figures for RGB and for swapped channels."""
    parser = argparse.ArgumentParser(description="Measure the demo checkpoint.")
    parser.add_argument("--model", type=Path, default=DEMO / "demo_clip.pt")
    parser.add_argument("--video", type=Path, default=DEMO / "sample.mp4")
    parser.add_argument("--scenes", type=Path, default=DEMO / "sample_scenes.csv")
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--sets", type=int, default=10)
    given = parser.parse_args()
    for swapped in (False, True):
        figures = combination_figures(
            given.model, seed=given.seed, sets=given.sets, per_combination=2, swapped=swapped
        )
        figures |= binding_figure(given.model, seed=given.seed, scenes=200, swapped=swapped)
        figures |= video_figures(given.model, given.video, given.scenes, swapped=swapped)
        print("channels swapped" if swapped else "RGB")
        for what, value in figures.items():
            print(f"  {what:50} {value:.3f}")


if __name__ == "__main__":
    main()
