"""One decoder that goes on through damage, and what comes out of it as upright RGB."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from videolib.cores import available_cores
from videolib.errors import VideoReadError
from videolib.types import RGBArray
from videolib.video.colour import to_bt709
from videolib.video.demux import demux, opened
from videolib.video.joined import shifted
from videolib.video.timeline import Timeline
from videolib.video.wholeness import ERROR_CHECKS, proves_itself


def frame_threads() -> int:
    """Count the threads for one decoder that has the machine to itself: FFmpeg's choice, in containers too."""
    return min(available_cores() + 1, 16)


class Decoder:
    """One codec context that goes on after errors."""

    def __init__(
        self, context: VideoCodecContext, *, threads: int, error_checks: str, has_checksums: bool = False
    ) -> None:
        self.context = context
        self.context.thread_count = threads
        self.context.thread_type = cast(Any, "NONE" if threads == 1 else "AUTO")
        if error_checks:
            self.context.options = {"err_detect": error_checks}
        self.has_checksums = has_checksums
        self.failure: Exception | None = None
        self.fed = -1  # the last packet
        self.failed_at = -1  # the last packet that was damaged or could not be decoded

    def feed(self, index: int, packet: "Packet[Any]") -> list[VideoFrame]:
        self.fed = index
        if packet.is_corrupt or (self.has_checksums and not proves_itself(bytes(packet))):
            self.failed_at = index
        try:
            return self.context.decode(packet)
        except av.FFmpegError as error:
            self.failure, self.failed_at = error, index
            return []

    def run(self, packets: Iterable[tuple[int, "Packet[Any]"]]) -> Iterator[VideoFrame]:
        for index, packet in packets:
            yield from self.feed(index, packet)
        yield from self.drain()

    def drain(self) -> list[VideoFrame]:
        """Give out what is still inside, and be ready for a keyframe."""
        try:
            return self.context.decode(None)
        except av.FFmpegError as error:
            self.failure, self.failed_at = error, self.fed
            return []
        finally:
            self.context.flush_buffers()


def decoder_for(timeline: Timeline, context: VideoCodecContext, *, threads: int) -> Decoder:
    """Make a decoder that makes all checks that this file stands."""
    return Decoder(
        context,
        threads=threads,
        error_checks=timeline.error_checks,
        has_checksums=timeline.table.has_checksums,
    )


class _KnownSideData(SideDataContainer):
    """The side data of a frame up to the first of a type that PyAV does not know, such as EXIF."""

    def __init__(self, frame: VideoFrame) -> None:
        with suppress(ValueError):
            cast(Any, super()).__init__(frame)


def to_rgb(frame: VideoFrame, aspect: Fraction) -> RGBArray:
    """Return the image as displayed: square pixels, upright; (height, width, 3) uint8."""
    width, height = frame.width, frame.height
    if 1 < aspect <= 4:
        width = round(width * aspect)
    elif Fraction(1, 4) <= aspect < 1:
        height = round(height / aspect)
    image = to_bt709(frame, width, height)
    # frame.side_data would make a cycle, and pictures stay in memory until the garbage collector comes
    matrix = _KnownSideData(frame).get("DISPLAYMATRIX")
    if matrix is None:
        image = np.rot90(image, round(frame.rotation / 90))
    else:
        # x' = a x + c y, y' = b x + d y: https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html
        a, b, _, c, d = (int(value) for value in np.frombuffer(matrix, np.int32)[:5])
        if abs(b) > abs(a):
            image, a, d = image.transpose(1, 0, 2), c, b
        image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(image, dtype=np.uint8)


def first_frame(path: Path) -> tuple[VideoFrame, str]:
    """Decode up to the first sound picture; beside it stand the error checks that not every picture fails."""
    for is_lenient in (False, True):
        with opened(path) as (container, stream):
            checks = "" if is_lenient else ERROR_CHECKS.get(stream.codec_context.name, "")
            decoder = Decoder(stream.codec_context, threads=1, error_checks=checks)
            for frame in decoder.run(enumerate(demux(container, stream))):
                if not frame.is_corrupt:
                    return frame, checks
        if not checks:
            break
    raise VideoReadError(
        f"{path} has no frame that can be decoded; download or export it again"
    ) from decoder.failure


def decode_all(timeline: Timeline) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (packet, frame) for every picture that is shown and not marked as damaged."""
    with opened(timeline.table.path) as (container, stream):
        threads = 1 if timeline.is_untimed else frame_threads()
        decoder = decoder_for(timeline, stream.codec_context, threads=threads)
        packets = shifted(demux(container, stream), timeline.table)
        for count, frame in enumerate(decoder.run(enumerate(packets))):
            packet = timeline.packet_of(frame, count)
            if packet is not None and not frame.is_corrupt:
                yield packet, frame
