"""Videos of the demo world, drawn anew for measuring search quality, with their ground truth.

Each seed is a set of videos of its own. What is tuned is tuned on `TUNING_SEEDS`; what is reported comes from
`FINAL_SEEDS`, which nothing was ever chosen by. Only the sampled frames are drawn, not those between them.
"""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib import ClipEncoder, FrameStore, Video
from videolib.images import encode_jpeg

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))  # whose files are programs, not a package

from demo_scenes import COLOURS, OBJECTS, SETTINGS, Scene, draw_scene, random_scene  # noqa: E402

FOLDER = ROOT / "build" / "scenes"
TUNING_SEEDS, FINAL_SEEDS = (101, 102, 103), (201, 202, 203)
COMBINATIONS = [(kind, colour) for kind in OBJECTS for colour in COLOURS]
WIDTH, HEIGHT = 640, 360
SHOT_SECONDS = (4.0, 9.0)  # shortest and longest, as in the sample video

Thing = tuple[str, str]  # object, colour
Span = tuple[float, float]  # start_seconds, end_seconds


@dataclass(frozen=True)
class DemoVideo:
    """A drawn video.

    `shots` has a row a shot: start_seconds, end_seconds, setting, things (a tuple of (object, colour)); `frames`
    has the columns of a store's frames.
    """

    video: Video
    shots: pd.DataFrame
    frames: pd.DataFrame

    @property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """(n, d)."""
        return np.stack(list(self.frames["embedding_data"]))

    def things(self) -> list[Thing]:
        """The (object, colour) combinations that it shows."""
        return sorted({thing for things in self.shots["things"] for thing in things})

    def spans(self, is_true: Callable[[str, Sequence[Thing]], bool]) -> list[Span]:
        """When a description of (setting, things) holds: shots in a row are one span."""
        spans: list[Span] = []
        for shot in self.shots.itertuples():
            if is_true(shot.setting, shot.things):
                start = spans.pop()[0] if spans and spans[-1][1] == shot.start_seconds else shot.start_seconds
                spans.append((start, shot.end_seconds))
        return spans


@cache
def demo_encoder() -> ClipEncoder:
    """The demo model."""
    return ClipEncoder("demo", device="cpu")


def name_thing(kind: str | None = None, colour: str | None = None) -> str:
    """The plain text of an object, a colour or both: "an orange cat", "a cat", "something orange"."""
    if kind is None:
        return f"something {colour}"
    words = f"{colour} {kind}" if colour else kind
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def shows(kind: str | None = None, colour: str | None = None) -> Callable[[str, Sequence[Thing]], bool]:
    """Whether a shot has a thing of this object and colour; None is any."""
    return lambda _setting, things: any(
        kind in (None, thing[0]) and colour in (None, thing[1]) for thing in things
    )


def demo_videos(
    seed: int, *, count: int = 12, kinds: int = 12, every_seconds: float = 1.0
) -> list[DemoVideo]:
    """Draw and embed videos, or read them from `build/scenes`.

    Each shows `kinds` of the 96 combinations two to four times, never twice in a row, in settings drawn at
    random; a quarter of the shots have a second object, which may be any.
    """
    path = FOLDER / f"{seed}-{count}-{kinds}-{every_seconds:g}.pickle"
    if not path.exists():
        rng = np.random.default_rng(seed)
        videos = [_make_video(rng, f"demo-{seed}-{n:02}", kinds, every_seconds) for n in range(count)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(videos))
    read: list[DemoVideo] = pickle.loads(path.read_bytes())
    return read


def fill(store: FrameStore, videos: Sequence[DemoVideo], *, every_seconds: float = 1.0) -> None:
    """Write videos to a store."""
    for each in videos:
        dimension = len(each.frames["embedding_data"].iloc[0])
        store.write_video(each.video, model="demo", dimension=dimension, every_seconds=every_seconds)
        store.write_frames(each.frames)
        store.mark_complete(each.video.video_id)


def _make_video(rng: np.random.Generator, video_id: str, kinds: int, every_seconds: float) -> DemoVideo:
    chosen = [COMBINATIONS[n] for n in rng.choice(len(COMBINATIONS), kinds, replace=False)]
    order = [thing for thing in chosen for _ in range(rng.integers(2, 5))]
    while any(one == other for one, other in itertools.pairwise(order)):
        order = [order[n] for n in rng.permutation(len(order))]
    scenes = []
    for thing in order:
        second = [COMBINATIONS[rng.integers(len(COMBINATIONS))]] if rng.random() < 0.25 else []
        scenes.append(random_scene(rng, [thing, *second], str(rng.choice(SETTINGS))))
    ends = np.cumsum(rng.uniform(*SHOT_SECONDS, len(scenes))).round(3)
    starts = np.concatenate([[0.0], ends[:-1]])
    shots = pd.DataFrame(
        {
            "start_seconds": starts,
            "end_seconds": ends,
            "setting": [scene.setting for scene in scenes],
            "things": [tuple((thing.kind, thing.colour) for thing in scene.things) for scene in scenes],
        }
    )
    seconds = np.arange(0, ends[-1], every_seconds)
    shot_of = np.searchsorted(starts, seconds, side="right") - 1
    drifts = rng.uniform(-0.012, 0.012, (len(scenes), 2, 2))  # heights a second, of each thing
    images = [
        draw_scene(_moved(scenes[n], drifts[n], at - starts[n]), width=WIDTH, height=HEIGHT)
        for n, at in zip(shot_of, seconds, strict=True)
    ]
    frames = pd.DataFrame(
        {
            "video_id": video_id,
            "frame_number": np.arange(1, len(seconds) + 1),
            "timestamp_seconds": seconds,
            "embedding_data": list(demo_encoder().encode_images(images)),
            "frame_data": [encode_jpeg(image, long_side=160) for image in images],
        }
    )
    video = Video(video_id, f"title of {video_id}", f"{video_id}.mp4", float(ends[-1]), WIDTH, HEIGHT, 30.0)
    return DemoVideo(video, shots, frames)


def _moved(scene: Scene, drifts: npt.NDArray[np.float64], seconds: float) -> Scene:
    things = [
        replace(thing, x=thing.x + dx * seconds, y=thing.y + dy * seconds)
        for thing, (dx, dy) in zip(scene.things, drifts, strict=False)
    ]
    return replace(scene, things=tuple(things))
