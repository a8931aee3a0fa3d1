"""Makes the videos that are measured: a scrolling texture with grain and moving shapes, cut into scenes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace

RATE = 30
SCENE_SECONDS = (9, 4, 6, 3, 11, 2, 7, 5, 3, 10, 6, 9)  # 75 s, then again
MARGIN = 256  # how far a texture scrolls


@dataclass(frozen=True)
class Spec:
    """One video: how long, how large, and how it is encoded."""

    text: str
    seconds: int
    size: tuple[int, int] = (1920, 1080)  # width, height
    suffix: str = ".mp4"
    codec: str = "libx264"
    megabits: float = 5
    pixel_format: str = "yuv420p"
    rotation: int | None = None
    options: dict[str, str] = field(default_factory=dict)


X264 = {"preset": "veryfast"}  # frame threads: one slice a picture
SPECS = {
    "long_groups": Spec(
        "1080p30 H.264, groups up to 250 frames, one slice a picture", 142, options=X264 | {"g": "250"}
    ),
    "short_groups": Spec("1080p30 H.264, groups of 30 frames", 30, megabits=8, options=X264 | {"g": "30"}),
    "portrait": Spec(
        "phone portrait, 1920x1080 H.264 to be turned by 90 degrees",
        30,
        suffix=".mov",
        megabits=8,
        rotation=90,
        options=X264 | {"g": "60"},
    ),
    "hd720": Spec("720p30 H.264", 600, size=(1280, 720), megabits=3, options=X264 | {"g": "250"}),
    "hevc": Spec(
        "1080p30 HEVC, 10 bits",
        30,
        codec="libx265",
        pixel_format="yuv420p10le",
        options={"preset": "superfast", "g": "250", "x265-params": "log-level=none"},
    ),
    "vp9": Spec(
        "1080p30 VP9 in WebM",
        30,
        suffix=".webm",
        codec="libvpx-vp9",
        options={"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "g": "128", "lag-in-frames": "0"},
    ),
}


def make_video(folder: Path, name: str, seconds: int | None = None) -> Path:
    """Encode one of SPECS, or find it encoded already; `seconds` overrides its length."""
    spec = SPECS[name]
    seconds = seconds or spec.seconds
    path = folder / f"{name}-{seconds}s{spec.suffix}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part{spec.suffix}")
        with av.open(str(part), "w") as container:
            stream = container.add_stream(spec.codec, rate=RATE, options=spec.options)
            stream.width, stream.height = spec.size
            stream.pix_fmt = spec.pixel_format
            stream.bit_rate = int(spec.megabits * 1e6)
            stream.codec_context.thread_count = 0
            # else some would take HD for BT.709, and some for BT.601
            stream.codec_context.colorspace = Colorspace.ITU601
            if spec.rotation is not None:
                stream.set_display_rotation(spec.rotation)
            for picture, is_cut in _pictures(seconds * RATE, spec.size):
                frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
                if spec.pixel_format != "yuv420p":
                    frame = frame.reformat(format=spec.pixel_format)
                if is_cut:
                    frame.pict_type = av.video.frame.PictureType.I
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        part.replace(path)
    return path


def cut_video(source: Path, seconds: float) -> Path:
    """Copy the packets before the first keyframe at or after `seconds`."""
    path = source.with_stem(f"{source.stem}-first{seconds:g}s")
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}.part{source.suffix}")
        with av.open(str(source)) as reader, av.open(str(part), "w") as writer:
            stream = reader.streams.video[0]
            copy = writer.add_stream_from_template(stream)
            for packet in reader.demux(stream):
                if not packet.size or (packet.is_keyframe and packet.pts * packet.time_base >= seconds):
                    break
                packet.stream = copy
                writer.mux(packet)
        part.replace(path)
    return path


def _pictures(count: int, size: tuple[int, int]) -> Iterator[tuple[np.ndarray, bool]]:
    """Draw `count` pictures (3 * height / 2, width) uint8, planes of YUV 4:2:0; True with each scene's first."""
    width, height = size
    random = np.random.default_rng(0)
    grain = random.integers(0, 5, (8, height, width), dtype=np.uint8)
    lengths = [seconds * RATE for seconds in SCENE_SECONDS]
    scene, left = -1, 0
    for number in range(count):
        is_cut = left == 0
        if is_cut:
            scene += 1
            left = lengths[scene % len(lengths)]
            texture = _texture(random, width + MARGIN, height + MARGIN)
            shift = random.choice([2, 4, 6], 2)
            origin = random.integers(0, 2 * MARGIN, 2)
            colours = random.integers(60, 196, 2)
            centres, speeds = random.uniform(0, 1, (4, 2)), random.uniform(-0.2, 0.2, (4, 2))
        left -= 1
        age = lengths[scene % len(lengths)] - left
        x, y = np.abs((origin + shift * age) % (2 * MARGIN) - MARGIN) // 2 * 2  # to and fro
        luma = texture[y : y + height, x : x + width] + grain[number % 8]
        places = (centres + speeds * age / RATE) % 1
        for shape, place in enumerate(places):
            centre = (int(place[0] * width), int(place[1] * height))
            cv2.circle(luma, centre, height // 10, 60 + 40 * shape, -1, cv2.LINE_AA)
        chroma = np.empty((2, height // 2 * width // 2), np.uint8)
        half = texture[y : y + height : 2, x : x + width : 2].reshape(-1)
        np.add(colours[0].astype(np.uint8), half >> 3, out=chroma[0])
        np.subtract(colours[1].astype(np.uint8), half >> 3, out=chroma[1])
        yield np.concatenate([luma, chroma.reshape(-1, width)]), is_cut


def _texture(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Sum noise of six sizes, from 64 pixels to 2: (height, width) uint8 from 30 to 220."""
    total = np.zeros((height, width), np.float32)
    for size in (64, 32, 16, 8, 4, 2):
        coarse = random.normal(size=(height // size + 2, width // size + 2)).astype(np.float32)
        total += size**0.5 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(125 + 40 * total / total.std(), 30, 220).astype(np.uint8)
