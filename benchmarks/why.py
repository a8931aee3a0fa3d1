"""``python -m benchmarks.why``: the code of the article beside videolib, on the sample video; draws docs/why.png.

The article reads a frame every int(fps) frames and calls the n-th one second n; OpenCV's blue-green-red goes to CLIP
and to matplotlib as it comes, and so do the embeddings to the dot product. Each caption of the sample video is asked
for once: is the time of the first answer one at which its scene is on screen?
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import clip
import cv2
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks import cases
from videolib import ClipEncoder, extract_frames, similarity
from videolib.demo import DEMO_MODEL_PATH, SAMPLE_VIDEO_PATH, sample_scenes

TARGET = Path(__file__).parents[1] / "docs" / "why.png"
SHOWN = 6  # captions, evenly from the first to the last
RIGHT, WRONG = "#2a7f4f", "#b3261e"


@dataclass(frozen=True)
class Answers:
    """The first frame for each caption: as it is shown, and at which second it is said to be."""

    name: str
    images: list[npt.NDArray[np.uint8]]
    seconds: list[float]

    def right(self) -> npt.NDArray[np.bool_]:
        """Tell for which captions the scene is on screen at that second."""
        scenes = sample_scenes()
        return np.array(scenes["start_seconds"].le(self.seconds) & scenes["end_seconds"].gt(self.seconds))


def answer_as_the_article(name: str, *, swap: bool, unit: bool) -> Answers:
    """Answer with the article's code; `swap` the colours to RGB, and scale embeddings to `unit` length, or do not."""
    model, preprocess = clip.load(str(DEMO_MODEL_PATH), device="cpu")
    frames = [frame if swap else frame[..., ::-1] for frame in cases._decode_article(SAMPLE_VIDEO_PATH)]
    with torch.no_grad():
        rows = torch.cat(
            [model.encode_image(preprocess(Image.fromarray(frame))[None]) for frame in frames]
        )  # (n, d)
        texts = model.encode_text(clip.tokenize(list(sample_scenes()["caption"])))  # (captions, d)
    if unit:
        rows, texts = (part / part.norm(dim=-1, keepdim=True) for part in (rows, texts))
    best = (texts @ rows.T).argmax(dim=1).tolist()
    return Answers(name, [frames[row] for row in best], [float(row) for row in best])


def answer_with_videolib() -> Answers:
    """Answer with videolib."""
    encoder = ClipEncoder("demo", device="cpu")
    frames = list(extract_frames(SAMPLE_VIDEO_PATH))
    rows = encoder.encode_images(frames)
    best = [int(similarity(text, rows).argmax()) for text in encoder.encode_texts(sample_scenes()["caption"])]
    return Answers(
        "videolib", [frames[row].image for row in best], [frames[row].timestamp_seconds for row in best]
    )


def draw(answers: list[Answers]) -> None:
    """Draw the first answers to some of the captions, a row for each way."""
    captions = list(sample_scenes()["caption"])
    shown = np.linspace(0, len(captions) - 1, SHOWN).astype(int)
    figure, axes = plt.subplots(
        len(answers), SHOWN, figsize=(12, 1.45 * len(answers)), layout="constrained", facecolor="white"
    )
    for row, (way, line) in enumerate(zip(answers, axes, strict=True)):
        right = way.right()
        told = f"{way.name}:\n{right.sum()} of {len(captions)} right"
        line[0].set_ylabel(told, fontsize=10, rotation="horizontal", ha="right", va="center")
        for caption, axis in zip(shown, line, strict=True):
            axis.imshow(cv2.resize(way.images[caption], (320, 180), interpolation=cv2.INTER_AREA))
            axis.set(xticks=[], yticks=[])
            color, mark = (RIGHT, "right") if right[caption] else (WRONG, "wrong")
            axis.spines[:].set(color=color, linewidth=3)
            axis.set_xlabel(f"said to be at {way.seconds[caption]:.0f} s: {mark}", fontsize=9, color=color)
            if row == 0:
                axis.set_title(textwrap.fill(captions[caption], 26), fontsize=9)
    figure.savefig(TARGET, dpi=1200 / 12)
    plt.close(figure)
    Image.open(TARGET).convert("RGB").quantize(128).save(TARGET, optimize=True)


def main() -> None:
    """Measure the three ways, print how often each is right, and draw them."""
    answers = [
        answer_as_the_article("the article's code", swap=False, unit=False),
        answer_as_the_article("RGB and unit length", swap=True, unit=True),
        answer_with_videolib(),
    ]
    for way in answers:
        print(f"{way.name:25} {way.right().sum():3} of {len(way.seconds)} captions")
    draw(answers)


if __name__ == "__main__":
    main()
