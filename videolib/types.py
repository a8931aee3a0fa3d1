"""What passes between the rooms: a video, a frame of it, and the arrays of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from videolib.shown import facts_html, facts_text
from videolib.times import format_seconds

FloatArray: TypeAlias = npt.NDArray[np.float32]
RGBArray: TypeAlias = npt.NDArray[np.uint8]
Sampling = Literal["interval", "keyframes", "shots"]


@dataclass(frozen=True, repr=False)
class Video:
    """One video file: `video_id` is a digest of its content, sizes are as displayed, title is the file stem."""

    video_id: str
    title: str
    source: str
    duration_seconds: float
    width: int
    height: int
    frames_per_second: float

    def __repr__(self) -> str:
        return facts_text("Video", vars(self))

    def _repr_html_(self) -> str:
        facts = {
            "title": self.title,
            "length": format_seconds(self.duration_seconds),
            "picture": f"{self.width} x {self.height}, {self.frames_per_second:.4g} frames a second",
            "source": self.source,
            "video_id": self.video_id,
        }
        return facts_html("Video", facts)


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """The picture on screen at `timestamp_seconds`: image (height, width, 3) uint8 RGB.

    `frame_number` counts the samples of the whole video from 1, wherever the extraction started.
    """

    frame_number: int
    timestamp_seconds: float
    image: RGBArray

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"image must be (height, width, 3) uint8 RGB, got {self.image.shape} {self.image.dtype}; "
                "convert it first"
            )

    def __repr__(self) -> str:
        return (
            f"Frame(frame_number={self.frame_number}, timestamp_seconds={self.timestamp_seconds:g}, "
            f"image={self.image.shape} {self.image.dtype})"
        )
