"""How a video becomes timestamped RGB frames.

A timeline comes first: one demux pass without decoding gives every presentation timestamp, so that the frame on
screen at each sample's time is known before anything is decoded. The decoder's output is then held against
the timeline: a frame that did not come, or came damaged, is never replaced by a neighbour.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from videolib.addresses import hide_secrets, is_address, local_path
from videolib.content import content_digest
from videolib.errors import VideoReadError
from videolib.types import Frame, RGBArray, Sampling, Video
from videolib.video.decoder import first_frame, to_rgb
from videolib.video.decoding import decode
from videolib.video.demux import read_packets
from videolib.video.joined import lay_in_a_row
from videolib.video.sampling import SamplePlan, plan_samples
from videolib.video.timeline import Timeline, lay_out
from videolib.video.unreadable import find_reason

T = TypeVar("T")


def probe_video(path: str | os.PathLike[str]) -> Video:
    """Describe a video file.

    The duration runs from the first shown frame to the end of the last one, by presentation timestamps; of a
    file that was cut short it is what the file declares. `video_id` is 32 hexadecimal digits of SHA-256 over
    the file's size and its bytes, for a file over 16 MB over 16 evenly spaced chunks of 1 MB, the first and
    the last among them.

    Raises
    ------
    VideoReadError
        If the file is missing, empty, not a video, or without one frame that can be decoded.
    """
    return describe(read_timeline(path), os.fspath(local_path(path)))


def read_timeline(path: str | os.PathLike[str]) -> Timeline:
    """Demux a file and decode its first frame: all that is to be known before frames are chosen.

    Errors are those of `probe_video`.
    """
    file = checked_path(path)
    table = lay_in_a_row(read_packets(file))
    first, error_checks = first_frame(file)
    height, width = to_rgb(first, table.aspect).shape[:2]
    return lay_out(table, first, width=width, height=height, error_checks=error_checks)


def describe(timeline: Timeline, source: str) -> Video:
    """Describe the file of a timeline, as `probe_video` does."""
    return Video(
        video_id=content_digest(timeline.table.path),
        title=_storable(timeline.table.path.stem),
        source=_storable(source),
        duration_seconds=float(timeline.duration),
        width=timeline.width,
        height=timeline.height,
        frames_per_second=timeline.frames_per_second,
    )


def extract_frames(
    path: str | os.PathLike[str],
    *,
    every_seconds: float = 1.0,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    sampling: Sampling = "interval",
) -> Iterator[Frame]:
    """Sample a video, as a stream.

    A sample is a frame as it is on screen: in square pixels, with rotation and mirroring applied and
    transparency dropped. Where the picture size changes within a video, so does that of the images. HDR (PQ and
    HLG) and wide gamuts are brought to BT.709 by the curves of ITU-R BT.2100 and BT.2390, with a reference white
    of 203 cd/m². YUV that does not tell its matrix counts as BT.709 where it is 1280 wide or over 576 high, else
    as BT.601, as players take it.

    start_seconds and end_seconds select the samples with start_seconds <= timestamp_seconds < end_seconds of
    those of the whole video, so a frame_number means the same moment whatever is selected.

    Samples whose frame is damaged or cut off are left out; at the end one UserWarning gives their number.

    Parameters
    ----------
    every_seconds
        Distance of two samples. A float that is the nearest one to a fraction such as 1/3 or 1001/30000 counts
        as that fraction, so that the grid does not drift.
    start_seconds, end_seconds
        The part of the video to sample; to its end if end_seconds is None.
    sampling
        "interval": sample k, from 1, lies at (k - 1) * every_seconds from the first shown frame, up to the end of
        the last one, and is the last frame with a presentation timestamp up to there.
        "keyframes": the file's own keyframes, at least every_seconds apart, at their own presentation times.
        Nothing else is decoded.
        "shots": the middle frame of every shot, at its own presentation time. Shots last at least every_seconds.
        To find them every frame is decoded before the first sample comes: 2.6 times the work of "interval" at
        one second, measured on 142 s of 1080p H.264.

    Raises
    ------
    ValueError
        If every_seconds is not positive, start_seconds is negative, end_seconds is not after it, or sampling is
        none of the three.
    VideoReadError
        If the file is missing, empty, not a video, or without one frame that can be decoded, or if
        sampling="keyframes" and none of its keyframes is shown.
    """
    samples = plan_samples(
        read_timeline(path),
        every_seconds=every_seconds,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        sampling=sampling,
    )
    return _frames(samples)


def read_frame(path: str | os.PathLike[str], seconds: float = 0.0) -> Frame:
    """Read the frame on screen at a time; the last one, if the video ends before that.

    Raises
    ------
    ValueError
        If seconds is negative or not finite.
    VideoReadError
        If the file is no readable video, or damaged just there.
    """
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(
            f"seconds must be finite and not negative, got {seconds}; pass 0 for the first frame"
        )
    timeline = read_timeline(path)
    last = float((int(timeline.displayed()[1][-1]) - timeline.start) * timeline.table.time_base)
    seconds = min(seconds, last)
    step = seconds or 1.0  # so that a sample lies just there
    samples = plan_samples(
        timeline, every_seconds=step, start_seconds=seconds, end_seconds=seconds + step / 2
    )
    for frame in _frames(samples):
        return replace(frame, frame_number=1, timestamp_seconds=seconds)
    raise VideoReadError(f"{path} has no readable frame at {seconds:g} seconds; choose another moment")


def _frames(samples: SamplePlan) -> Iterator[Frame]:
    previous = None
    for frame_number, timestamp_seconds, image in sample_frames(samples, lambda image: image):
        # two samples of one frame are two images
        yield Frame(frame_number, timestamp_seconds, image.copy() if image is previous else image)
        previous = image


def sample_frames(
    samples: SamplePlan,
    convert: Callable[[RGBArray], T],
    *,
    converted_bytes: int | None = None,
    pool: Executor | None = None,
) -> Generator[tuple[int, float, T], None, None]:
    """Decode the planned samples and yield (frame_number, timestamp_seconds, convert(image)) in order, as a stream.

    `convert` gets the (height, width, 3) uint8 RGB image in the thread that decoded it, once for all samples that
    show the same frame, so that the full image need not be kept. `converted_bytes` is about what it returns, the
    image's own size if None: it bounds what is decoded ahead. The decoding tasks go to `pool`, each for one
    thread, or to a pool of this generator's own. Losses are warned of as by `extract_frames`.
    """
    timeline, given, is_torn = samples.timeline, 0, False
    size = timeline.image_bytes if converted_bytes is None else converted_bytes
    for packet, converted in decode(
        timeline, list(samples.by_packet), convert, converted_bytes=size, pool=pool
    ):
        if converted is None:
            is_torn = not samples.by_packet[packet]
        else:
            for frame_number, timestamp_seconds in samples.samples_of(packet):
                given += 1
                yield frame_number, timestamp_seconds, converted
    told = []
    if given < len(samples):
        told.append(
            f"{len(samples) - given} of {len(samples)} samples could not be read, for the file is damaged or cut short "
            "there; of the others the decoder made no complaint, which is no proof"
        )
    if is_torn:
        told.append("it ends in a damaged picture, as a file does that was cut short")
    if samples.doubt:
        told.append(f"it {samples.doubt}")
    if told:
        warnings.warn(f"{timeline.table.path}: {'; '.join(told)}", stacklevel=2)


def checked_path(path: str | os.PathLike[str]) -> Path:
    """Return a file's path with its ~ written out; VideoReadError if it is missing, empty, or refused by its bytes."""
    if is_address(path):
        raise ValueError(
            f"path must be a local file, got the URL {hide_secrets(os.fspath(path))!r}; download it first"
        )
    file = local_path(path)
    if not file.exists():
        raise VideoReadError(f"{file} does not exist; check the path of the video file")
    if not file.is_file():
        raise VideoReadError(f"{file} is not a file; pass the path of one video file")
    if file.stat().st_size == 0:
        raise VideoReadError(f"{file} is empty; download or copy the video again")
    if reason := find_reason(file):
        raise VideoReadError(f"{file} {reason}")
    return file


def _storable(name: str) -> str:
    """Write the bytes of a file name that are no UTF-8, which no database takes, as \\xE9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
