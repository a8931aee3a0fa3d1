"""How a video becomes timestamped RGB frames.

A plan comes first: one demux pass without decoding gives every presentation timestamp, so that the frame on
screen at each sample's time is known before anything is decoded. The decoder's output is then held against
the plan: a frame that did not come, or came damaged, is never replaced by a neighbour.
"""

import hashlib
import math
import os
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .errors import VideoReadError

_CHUNK_BYTES, _CHUNKS = 1 << 20, 16  # what `video_id` reads of a file larger than their product
_SPARE_BYTES = 100  # what may lie between two packets in Matroska and AVI: their own headers
_REORDER_PACKETS = 32  # no frame is shown after one that is decoded this many packets later
_TRUNCATED_SECONDS = 0.25  # a Matroska file that ends this much before its declared duration was cut


@dataclass(frozen=True)
class Video:
    """One video file: `video_id` is a digest of its content, sizes are as displayed, title is the file stem."""

    video_id: str
    title: str
    source: str
    duration_seconds: float
    width: int
    height: int
    frames_per_second: float


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """The picture on screen at `timestamp_seconds`: image (height, width, 3) uint8 RGB.

    `frame_number` counts the samples of the whole video from 1, wherever the extraction started.
    """

    frame_number: int
    timestamp_seconds: float
    image: np.ndarray

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


@dataclass(frozen=True)
class _Plan:
    """Every packet of the video stream in decode order, and the timeline that they make.

    Times are integers in units of `time_base`. A unit is a run of packets that starts at a keyframe and
    decodes without any other: a closed GOP, or an open one together with those before it.
    """

    path: Path
    time_base: Fraction
    times: np.ndarray  # (packets,) int64, presentation
    lengths: np.ndarray  # (packets,) int64, how long each says it is on screen
    shown: np.ndarray  # (packets,) bool, False for edit-list pre-roll and before the first frame
    units: np.ndarray  # (units,) int64, the first packet of each
    holes: np.ndarray  # (packets,) bool, True where packets before this one are missing from the file
    counted: bool  # no presentation timestamps: the n-th picture out of the decoder has the n-th time
    start: int  # of the first shown frame
    read_end: int  # what is on screen is known before this time
    end: int  # when the last frame goes, by the file's own word where the file was cut
    frames_per_second: float
    width: int
    height: int

    @property
    def duration(self) -> Fraction:
        return (self.end - self.start) * self.time_base


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
    file = _checked_path(path)
    plan = _make_plan(file)
    return Video(
        video_id=_digest(file),
        title=file.stem,
        source=os.fspath(path),
        duration_seconds=float(plan.duration),
        width=plan.width,
        height=plan.height,
        frames_per_second=plan.frames_per_second,
    )


def extract_frames(
    path: str | os.PathLike[str],
    *,
    every_seconds: float = 1.0,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> Iterator[Frame]:
    """Sample a video at even times, as a stream.

    Sample k, from 1, lies at (k - 1) * every_seconds from the first shown frame, up to the end of the last one;
    start_seconds and end_seconds select the samples with start_seconds <= t < end_seconds of that grid, so a
    frame_number means the same moment whatever is selected. A sample is the last frame with a presentation
    timestamp <= t, in square pixels, with rotation and mirroring applied and transparency dropped. Where the
    picture size changes within a video, so does that of the images.

    Samples whose frame is damaged or cut off are left out; at the end one UserWarning gives their number.

    Parameters
    ----------
    every_seconds
        Distance of two samples. A float that is the nearest one to a fraction such as 1/3 or 1001/30000 counts
        as that fraction, so that the grid does not drift.
    start_seconds, end_seconds
        The part of the video to sample; to its end if end_seconds is None.

    Raises
    ------
    ValueError
        If every_seconds is not positive, start_seconds is negative, or end_seconds is not after it.
    VideoReadError
        If the file is missing, empty, not a video, or without one frame that can be decoded.
    """
    if not (math.isfinite(every_seconds) and every_seconds > 0):
        raise ValueError(
            f"every_seconds must be positive and finite, got {every_seconds}; pass 1.0 for one frame a second"
        )
    if not (math.isfinite(start_seconds) and start_seconds >= 0):
        raise ValueError(
            f"start_seconds must be finite and not negative, got {start_seconds}; pass 0 for the beginning"
        )
    if end_seconds is not None and not (math.isfinite(end_seconds) and end_seconds > start_seconds):
        raise ValueError(
            f"end_seconds must be finite and greater than start_seconds={start_seconds}, got {end_seconds}; "
            "pass None for the end of the video"
        )
    plan = _make_plan(_checked_path(path))
    step = _exact(every_seconds)
    stop = plan.duration if end_seconds is None else min(plan.duration, _exact(end_seconds))
    return _sample(plan, step, range(math.ceil(_exact(start_seconds) / step), math.ceil(stop / step)))


def _exact(seconds: float) -> Fraction:
    """Return the simple fraction that a float stands for, else the float's own value."""
    simple = Fraction(seconds).limit_denominator(1_000_000)
    return simple if float(simple) == seconds else Fraction(seconds)


def _checked_path(path: str | os.PathLike[str]) -> Path:
    if "://" in os.fspath(path):
        raise ValueError(f"path must be a local file, got the URL {path!r}; download it first")
    file = Path(path)
    if not file.exists():
        raise VideoReadError(f"{file} does not exist; check the path of the video file")
    if not file.is_file():
        raise VideoReadError(f"{file} is not a file; pass the path of one video file")
    if file.stat().st_size == 0:
        raise VideoReadError(f"{file} is empty; download or copy the video again")
    return file


def _digest(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size}:".encode())
    with path.open("rb") as file:
        if size <= _CHUNK_BYTES * _CHUNKS:
            digest.update(file.read())
        else:
            for chunk in range(_CHUNKS):
                file.seek((size - _CHUNK_BYTES) * chunk // (_CHUNKS - 1))
                digest.update(file.read(_CHUNK_BYTES))
    return digest.hexdigest()[:32]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file at its video stream: the default one, never cover art."""
    try:
        # an absolute path, so that "talk: part 1.mp4" is no protocol; a playlist may name no other host
        container = av.open(str(path.absolute()), options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError) as error:
        with path.open("rb") as file:
            is_mp4 = file.read(8)[4:] == b"ftyp"
        reason = "has no index (moov): it was cut short" if is_mp4 else "is not a video that FFmpeg can read"
        raise VideoReadError(f"{path} {reason}; download or export it again") from error
    with container:
        name = container.format.name
        if name in ("tty", "image2") or name.endswith("_pipe"):
            raise VideoReadError(f"{path} is a text or a still picture, not a video; pass a video file")
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise VideoReadError(f"{path} has no video stream, such as an audio file; pass a video file")
        stream = max(streams, key=lambda s: bool(s.disposition & Disposition.default))
        if cast(Any, stream.codec_context) is None:
            raise VideoReadError(f"{path} has a codec without a decoder here; convert it to H.264 first")
        yield container, stream


def _packets(container: InputContainer, *streams: Stream) -> Iterator["Packet[Any]"]:
    """Demux on through damage; the same packets in the same order at every call."""
    failures = 0
    while failures < 100:
        try:
            for packet in container.demux(*streams):
                if packet.size:
                    failures = 0
                    yield packet
            return
        except av.FFmpegError:
            failures += 1


@dataclass(frozen=True)
class _PacketTable:
    """What the demuxer tells of the video stream's packets, in decode order; times in units of time_base."""

    format_name: str
    time_base: Fraction
    times: list[int | None]  # (packets,) presentation
    order: np.ndarray  # (packets,) int64, decode time
    has_order: bool
    lengths: np.ndarray  # (packets,) int64, on screen
    keyframe: np.ndarray  # (packets,) bool
    discarded: np.ndarray  # (packets,) bool
    spare: np.ndarray  # (packets,) int64, bytes of the file before each packet that belong to no other
    usual: int  # length of a frame
    reorders: bool
    declared: int  # the length that the file claims where its packets end before that, else 0


def _read_packets(path: Path) -> _PacketTable:
    times: list[int | None] = []
    orders: list[int | None] = []
    rows: list[tuple[int, bool, bool, int]] = []
    reach, tail = 0.0, 0  # over all streams: the last moment in seconds, the end of the last packet in bytes
    with _opened(path) as (container, stream):
        time_base = cast(Fraction, stream.time_base)
        index_length = len(stream.index_entries)
        for packet in _packets(container):
            moment = packet.dts if packet.pts is None else packet.pts
            if moment is not None:
                reach = max(reach, float((moment + (packet.duration or 0)) * packet.time_base))
            spare = (packet.pos or tail) - tail
            tail = max(tail, (packet.pos or tail) + packet.size)
            if packet.stream_index == stream.index:
                times.append(packet.pts)
                orders.append(packet.dts)
                rows.append((packet.duration or 0, packet.is_keyframe, packet.is_discard, spare))
        if not times:
            raise VideoReadError(f"{path} has a video stream without a picture; download or export it again")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        usual = max(round(1 / rate / time_base), 1)
        format_name = container.format.name.split(",")[0]
        declared = 0
        if format_name == "mov" and index_length > len(times):
            declared = stream.duration or 0
        elif format_name == "avi" and stream.frames > len(times):
            declared = stream.frames * usual
        elif format_name == "matroska" and container.duration:
            seconds = Fraction(container.duration, av.time_base)
            declared = int(seconds / time_base) if seconds > reach + _TRUNCATED_SECONDS else 0
        lengths, keyframe, discarded, spares = np.array(rows, dtype=np.int64).T
        return _PacketTable(
            format_name=format_name,
            time_base=time_base,
            times=times,
            order=np.array([usual * i if o is None else o for i, o in enumerate(orders)], dtype=np.int64),
            has_order=None not in orders,
            lengths=np.where(lengths == 0, usual, lengths),
            keyframe=keyframe.astype(bool),
            discarded=discarded.astype(bool),
            spare=spares,
            usual=usual,
            reorders=stream.codec_context.has_b_frames,
            declared=declared,
        )


def _find_holes(table: _PacketTable, times: np.ndarray) -> np.ndarray:
    """Tell before which packets others are missing, lost to damage before the decoder saw them; (packets,) bool.

    A gap in time alone may be meant, so a second sign is asked for: in Matroska bytes between two packets that
    belong to neither, in a transport stream that the others come evenly. The index of an mp4 knows every packet.
    """
    holes = np.zeros(len(times), dtype=bool)
    if table.format_name == "matroska" and np.any(np.diff(np.sort(times)) > 1.5 * table.usual):
        holes[1:] = table.spare[1:] > _SPARE_BYTES
    elif table.format_name == "mpegts" and table.has_order and len(times) > 2:
        steps = np.diff(table.order)
        usual = np.median(steps)
        if np.mean(np.abs(steps - usual) <= 0.1 * usual) > 0.9:
            holes[1:] = steps > 1.5 * usual
    elif table.format_name == "avi" and table.declared:
        holes[1:] = table.spare[1:] > _SPARE_BYTES
    return holes


def _make_plan(path: Path) -> _Plan:
    table = _read_packets(path)
    # AVI and raw streams store no presentation timestamps: what stands there is guessed from the order
    guessed = table.format_name == "avi" and table.reorders
    counted = guessed or table.times.count(None) > len(table.times) // 2
    if counted:
        times = np.sort(table.order) if table.has_order else np.cumsum(table.lengths) - table.lengths
        units = np.zeros(1, dtype=np.int64)
        shown = ~table.discarded
    else:
        known = np.array([t is not None for t in table.times])
        times = np.where(known, np.array([t or 0 for t in table.times], dtype=np.int64), table.order)
        if table.format_name == "matroska" and len(times) > _REORDER_PACKETS:
            # a damaged cluster header moves its packets in time
            later = np.minimum.accumulate(times[::-1])[::-1][_REORDER_PACKETS:]
            moved = np.flatnonzero(times[: len(later)] > later)
            known[moved], times[moved] = False, later[moved]
        # nothing from here on is shown before this keyframe, nothing up to here after it
        before = np.full(len(times), np.iinfo(np.int64).min)
        before[1:] = np.maximum.accumulate(times)[:-1]
        closed = table.keyframe & (np.minimum.accumulate(times[::-1])[::-1] == times) & (before < times)
        closed[0] = True
        units = np.flatnonzero(closed)
        shown = known & ~table.discarded
    head_time, head = _first_picture(path)
    if not counted:
        # a recording may begin with pictures whose references it does not hold: they were never on screen
        key = int(np.argmax(table.keyframe))
        shown[:key] = False
        shown &= times >= min(times[key], times[key] if head_time is None else head_time)
    if not shown.any():
        raise VideoReadError(f"{path} shows no frame: its edit list cuts all away; export it again")
    last = int(np.flatnonzero(shown)[np.argmax(times[shown])])
    start, end = int(times[shown].min()), int(times[last] + table.lengths[last])
    frames_per_second = float(shown.sum() / ((end - start) * table.time_base))
    read_end = end
    holes = _find_holes(table, times)
    if not counted:
        holes |= ~known & (table.format_name == "matroska")
    if table.declared > end - start:
        # frames after the cut may be due before the last that are there, but never before their decode time
        read_end = int(times[max(0, len(times) - 17)] if counted else table.order[-1] + 1)
        if table.format_name == "avi" and holes.any():
            read_end = int(times[np.argmax(holes)])  # AVI times count the packets: wrong from here on
        end = start + table.declared
    height, width = head.shape[:2]
    return _Plan(
        path=path,
        time_base=table.time_base,
        times=times,
        lengths=table.lengths,
        shown=shown,
        units=units,
        holes=holes,
        counted=counted,
        start=start,
        read_end=read_end,
        end=end,
        frames_per_second=frames_per_second,
        width=width,
        height=height,
    )


def _first_picture(path: Path) -> tuple[int | None, np.ndarray]:
    """Decode up to the first sound picture; return its presentation time and the picture."""
    failure: Exception | None = None
    with _opened(path) as (container, stream):
        decoder = _Decoder(stream, threads=1)
        for index, packet in enumerate(_packets(container, stream)):
            for frame in decoder.feed(index, packet):
                if not frame.is_corrupt:
                    return frame.pts, _to_rgb(frame, stream)
        for frame in decoder.drain():
            if not frame.is_corrupt:
                return frame.pts, _to_rgb(frame, stream)
        failure = decoder.failure
    raise VideoReadError(f"{path} has no frame that can be decoded; download or export it again") from failure


class _Decoder:
    """One codec context that goes on after errors."""

    def __init__(self, stream: VideoStream, *, threads: int) -> None:
        self.context = stream.codec_context
        self.context.thread_count = threads
        self.context.thread_type = cast(Any, "NONE" if threads == 1 else "AUTO")
        self.failure: Exception | None = None
        self.failed_at = -1  # the last packet that was damaged or could not be decoded

    def feed(self, index: int, packet: "Packet[Any]") -> list[VideoFrame]:
        if packet.is_corrupt:
            self.failed_at = index
        try:
            return self.context.decode(packet)
        except av.FFmpegError as error:
            self.failure, self.failed_at = error, index
            return []

    def drain(self) -> list[VideoFrame]:
        """Give out what is still inside, and be ready for a keyframe."""
        try:
            return self.context.decode(None)
        except av.FFmpegError as error:
            self.failure = error
            return []
        finally:
            self.context.flush_buffers()


def _to_rgb(frame: VideoFrame, stream: VideoStream) -> np.ndarray:
    width, height = frame.width, frame.height
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if 1 < aspect <= 4:
        width = round(width * aspect)
    elif Fraction(1, 4) <= aspect < 1:
        height = round(height / aspect)
    image = frame.to_ndarray(format="rgb24", width=width, height=height)
    matrix = cast(Any, frame.side_data).get("DISPLAYMATRIX")
    if matrix is not None:
        # x' = a x + c y, y' = b x + d y: https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html
        a, b, _, c, d = (int(value) for value in np.frombuffer(matrix, np.int32)[:5])
        if abs(b) > abs(a):
            image, a, d = image.transpose(1, 0, 2), c, b
        image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(image, dtype=np.uint8)


class _Screen:
    """Holds the decoder's output against the plan, and gives each wanted frame out once it is beyond doubt.

    A frame is sound if it and every frame decoded before it in its unit came out without a complaint: damage
    spreads along the references up to the next keyframe, and error concealment hides it.
    """

    def __init__(self, plan: _Plan, wanted: list[int], *, careful: bool) -> None:
        self.plan, self.careful = plan, careful
        self.waiting = deque(wanted)  # packets, in the order of their times
        self.wanted = set(wanted)
        self.held: dict[int, VideoFrame] = {}
        self.seen = bytearray(len(plan.times))
        self.sound = 0  # every shown packet of the unit before this one was seen
        self.last: VideoFrame | None = None
        self.latest = -1 << 63
        self.count = 0  # of pictures that came out
        self.packet_at = {int(plan.times[packet]): packet for packet in np.flatnonzero(plan.shown).tolist()}
        # once a frame of this time is out, all that were decoded before the packet are out or lost
        self.horizon = np.maximum.accumulate(np.where(plan.shown, plan.times, plan.times.min()))

    def take(self, frames: list[VideoFrame], failed_at: int) -> None:
        for frame in frames:
            packet = self.count if self.plan.counted else self.packet_at.get(cast(int, frame.pts), -1)
            self.count += 1
            if not 0 <= packet < len(self.seen):
                continue
            time = int(self.plan.times[packet])
            for other in self.waiting:
                if self.plan.times[other] >= time:
                    break
                if self.last is not None:
                    self.held.setdefault(other, self.last)
            self.last, self.latest = frame, max(self.latest, time)
            self.seen[packet] = not (frame.is_corrupt or (self.plan.counted and failed_at >= 0))
            if packet in self.wanted:
                self.held[packet] = frame

    def settle(self, fed: int, failed_at: int, *, drained: bool) -> Iterator[tuple[int, VideoFrame | None]]:
        """Yield (packet, frame) in order of time; None stands for a frame that was lost."""
        while self.waiting:
            packet = self.waiting[0]
            if packet > fed or not (drained or self.horizon[packet] <= self.latest):
                return
            unit = int(self.plan.units[np.searchsorted(self.plan.units, packet, "right") - 1])
            self.sound = max(self.sound, unit)
            # a packet without a picture and without an error is one that shows nothing, as VP8 has them
            no_errors = self.careful and failed_at < unit
            while self.sound <= packet and not (self.plan.holes[self.sound] and self.sound > unit):
                if not (self.seen[self.sound] or not self.plan.shown[self.sound] or no_errors):
                    break
                self.sound += 1
            self.waiting.popleft()
            frame = self.held.pop(packet, self.last)
            yield packet, frame if self.sound > packet else None


def _decode(plan: _Plan, wanted: list[int], *, careful: bool) -> Iterator[tuple[int, np.ndarray | None]]:
    """Yield (packet, image) for the wanted packets in order of time; image None where the frame was lost.

    The quick way decodes only the units that hold a wanted frame, each up to its last one, on several threads.
    It stops at the first frame that does not come out sound: a unit may need the one before it in spite of its
    keyframe, and FFmpeg's threads blur which packet an error belongs to. The careful way decodes all in one thread.
    """
    units = np.searchsorted(plan.units, np.array(wanted), "right") - 1
    lasts = np.full(len(plan.units), -1)
    np.maximum.at(lasts, units, np.array(wanted))
    ends = [*plan.units[1:].tolist(), len(plan.times)]
    screen = _Screen(plan, wanted, careful=careful)
    with _opened(plan.path) as (container, stream):
        decoder = _Decoder(stream, threads=1 if careful else 0)
        unit, fed, idle = 0, -1, True
        for index, packet in enumerate(_packets(container, stream)):
            while index >= ends[unit]:
                unit += 1
            if careful or index <= lasts[unit]:
                screen.take(decoder.feed(index, packet), decoder.failed_at)
                fed, idle = index, False
            elif not idle:
                screen.take(decoder.drain(), decoder.failed_at)
                idle = True
            else:
                continue
            for settled, frame in screen.settle(fed, decoder.failed_at, drained=idle):
                if frame is None and not careful:
                    return
                yield settled, None if frame is None else _to_rgb(frame, stream)
            if not screen.waiting:
                return
        screen.take(decoder.drain(), decoder.failed_at)
        for settled, frame in screen.settle(len(plan.times), decoder.failed_at, drained=True):
            if frame is None and not careful:
                return
            yield settled, None if frame is None else _to_rgb(frame, stream)


def _sample(plan: _Plan, step: Fraction, selected: range) -> Iterator[Frame]:
    """Yield the selected samples, counted from 0, and warn of those that were lost."""
    display = np.flatnonzero(plan.shown)
    display = display[np.argsort(plan.times[display], kind="stable")]
    begins = plan.times[display]
    ends = np.append(begins[1:], plan.end)
    if plan.holes.any():
        # where packets are missing, a frame is known to be on screen for its own length only
        own = plan.lengths[display]
        ends = np.where(ends - begins > 1.5 * own, begins + own, ends)
    pace = plan.time_base / step
    samples = {}
    for packet, begin, end in zip(display.tolist(), begins.tolist(), ends.tolist(), strict=True):
        first = math.ceil((begin - plan.start) * pace)
        stop = math.ceil((min(end, plan.read_end) - plan.start) * pace)
        numbers = range(max(first, selected.start), min(stop, selected.stop))
        if numbers:
            samples[packet] = numbers
    lost = len(selected) - sum(map(len, samples.values()))
    wanted = list(samples)
    done = 0
    for careful in (plan.counted, True):
        if done < len(wanted):
            for packet, image in _decode(plan, wanted[done:], careful=careful):
                done += 1
                for number in samples[packet]:
                    if image is None:
                        lost += 1
                    else:
                        own = image if number == samples[packet].start else image.copy()
                        yield Frame(number + 1, float(number * step), own)
    if lost:
        warnings.warn(
            f"{plan.path}: {lost} of {len(selected)} samples could not be read, for the file is damaged or cut "
            "short there; the others are right",
            stacklevel=2,
        )
