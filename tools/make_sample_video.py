"""Draws the sample video of the demo world and writes down which scene is where.

    python tools/make_sample_video.py

writes videolib/demo/sample.mp4, videolib/demo/sample_scenes.csv, and sample_marks.csv: when what a description of one
or two words asks for is seen, and what is not in the video at all. The main object of every scene is one of
the combinations held out of training. Scenes change by hard cuts, each near the middle between two whole seconds,
so that a frame sampled on a whole second never lies on a cut.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from demo_scenes import (
    COLOURS,
    HELD_OUT,
    OBJECTS,
    Image,
    Scene,
    Thing,
    describe,
    draw_background,
    draw_things,
    random_scene,
)

DEMO = Path(__file__).resolve().parent.parent / "videolib" / "demo"
WIDTH, HEIGHT = 1920, 1080
RATE = Fraction(30000, 1001)
# object, colour, setting, second object, its colour, seconds to the cut (the first ends half a second later)
SCRIPT: tuple[tuple[str, str, str, str, str, int], ...] = (
    ("house", "orange", "meadow", "", "", 5),
    ("car", "red", "city", "", "", 7),
    ("fish", "azure", "sea", "", "", 6),
    ("star", "yellow", "night", "", "", 5),
    ("tree", "red", "snow", "bird", "yellow", 6),
    ("umbrella", "purple", "desert", "", "", 4),
    ("balloon", "blue", "meadow", "", "", 7),
    ("cat", "orange", "city", "cup", "azure", 6),
    ("boat", "cyan", "sea", "", "", 5),
    ("flower", "pink", "desert", "", "", 8),
    ("car", "blue", "city", "", "", 6),
    ("house", "azure", "night", "", "", 5),
    ("star", "cyan", "snow", "", "", 4),
    ("fish", "orange", "sea", "", "", 7),
    ("umbrella", "pink", "meadow", "cat", "yellow", 6),
    ("tree", "blue", "snow", "", "", 5),
    ("balloon", "red", "meadow", "", "", 6),
    ("boat", "yellow", "night", "", "", 7),
    ("cat", "azure", "desert", "", "", 5),
    ("flower", "purple", "city", "bird", "red", 6),
    ("car", "red", "snow", "", "", 5),
    ("boat", "yellow", "sea", "house", "pink", 8),
    ("balloon", "blue", "night", "star", "orange", 5),
    ("tree", "red", "desert", "", "", 8),
)


@dataclass(frozen=True)
class Shot:
    """A scene from one frame up to another, not included, and the speed of its objects in heights a second."""

    scene: Scene
    first: int
    end: int
    speeds: tuple[tuple[float, float], ...]


def plan(seed: int) -> list[Shot]:
    """The shots of `SCRIPT`, with places and movement drawn at random."""
    rng = np.random.default_rng(seed)
    shots, first, second = [], 0, 0.5
    for kind, colour, setting, other, other_colour, seconds in SCRIPT:
        if (kind, colour) not in HELD_OUT:
            raise ValueError(f"the main object of a scene must be held out of training, got {colour} {kind}")
        combinations = [(kind, colour)] + ([(other, other_colour)] if other else [])
        scene = random_scene(rng, combinations, setting)
        second += seconds
        end = round((second + rng.uniform(-0.12, 0.12)) * RATE)
        length = float((end - first) / RATE)
        speeds = []
        things = []
        for thing in scene.things:
            reach = 0.09 if len(scene.things) == 1 else 0.04  # how far it travels, in heights
            limit = 0.46 - thing.size
            dx, dy = rng.choice([-1, 1]) * reach, rng.choice([-1, 1]) * reach / 2
            x = float(np.clip(thing.x, -limit + abs(dx) / 2, limit - abs(dx) / 2))
            y = float(np.clip(thing.y, -limit + abs(dy) / 2, limit - abs(dy) / 2))
            things.append(replace(thing, x=x - dx / 2, y=y - dy / 2))
            speeds.append((dx / length, dy / length))
        shots.append(Shot(replace(scene, things=tuple(things)), first, end, tuple(speeds)))
        first = end
    return shots


def draw_frames(shot: Shot) -> Iterator[Image]:
    """The shot's frames, (height, width, 3) RGB, one after the other."""
    background = draw_background(shot.scene, width=WIDTH, height=HEIGHT)
    for number in range(shot.end - shot.first):
        image = background.copy()
        seconds = float(number / RATE)
        draw_things(image, replace(shot.scene, things=moved(shot, seconds)))
        yield image


def moved(shot: Shot, seconds: float) -> tuple[Thing, ...]:
    """The shot's objects, so many seconds in."""
    return tuple(
        replace(thing, x=thing.x + dx * seconds, y=thing.y + dy * seconds)
        for thing, (dx, dy) in zip(shot.scene.things, shot.speeds, strict=True)
    )


def write_video(shots: list[Shot], path: Path) -> None:
    """H.264 with B-frames, colours marked as BT.709, the index before the pictures."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {
            "preset": "veryfast", "crf": "25", "g": "250", "bf": "3", "threads": "2",
            "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709",
        }  # fmt: skip
        for shot in shots:
            for image in draw_frames(shot):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_scenes(shots: list[Shot], path: Path) -> None:
    """One row a scene; an absent second object is an empty field."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [
                "start_seconds",
                "end_seconds",
                "object",
                "colour",
                "setting",
                "second_object",
                "second_colour",
                "caption",
            ]
        )
        for shot in shots:
            main, *rest = shot.scene.things
            other = (rest[0].kind, rest[0].colour) if rest else ("", "")
            start, end = (round(float(n / RATE), 3) for n in (shot.first, shot.end))
            writer.writerow(
                [start, end, main.kind, main.colour, shot.scene.setting, *other, describe(shot.scene)]
            )


def write_marks(shots: list[Shot], path: Path) -> None:
    """When each object and each coloured one is seen, and of each object a colour that never is; for `load_marks`."""
    spans: dict[str, list[tuple[float, float]]] = {}
    shown = {(thing.kind, thing.colour) for shot in shots for thing in shot.scene.things}
    for kind in OBJECTS:
        absent = next(colour for colour in COLOURS if (kind, colour) not in shown)
        colours = [colour for colour in COLOURS if (kind, colour) in shown]
        for colour in (None, *colours, absent):
            spans[name_thing(kind, colour)] = [
                (round(float(shot.first / RATE), 3), round(float(shot.end / RATE), 3))
                for shot in shots
                if any(thing.kind == kind and colour in (None, thing.colour) for thing in shot.scene.things)
            ]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["query", "title", "start_seconds", "end_seconds", "right"])
        for query, found in spans.items():
            writer.writerows([query, "sample", *span, "true"] for span in found)
            if not found:
                writer.writerow([query, "sample", "", "", "false"])


def name_thing(kind: str, colour: str | None) -> str:
    """The plain text of an object, with its colour or without."""
    words = f"{colour} {kind}" if colour else kind
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Draw the sample video.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DEMO)
    given = parser.parse_args()
    shots = plan(given.seed)
    write_scenes(shots, given.out / "sample_scenes.csv")
    write_marks(shots, given.out / "sample_marks.csv")
    write_video(shots, given.out / "sample.mp4")


if __name__ == "__main__":
    main()
