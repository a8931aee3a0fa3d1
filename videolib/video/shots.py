"""Where a video cuts from one shot to the next."""

from fractions import Fraction

import numpy as np
from av.video.reformatter import VideoReformatter

from videolib.video.decoder import decode_all
from videolib.video.timeline import Timeline

_WIDTH, _HEIGHT = 256, 144  # what PySceneDetect itself scales a wide picture down to


def find_cuts(timeline: Timeline, *, shortest_seconds: float) -> list[int]:
    """Return the times at which a new shot begins, the first one's excepted, in units of the timeline.

    The detector is PySceneDetect's AdaptiveDetector, which holds a frame's change against its neighbours':
    https://www.scenedetect.com/docs/latest/api/detectors.html. Shots are at least `shortest_seconds` long.
    """
    # half a second that only this function needs
    from scenedetect import AdaptiveDetector, FrameTimecode
    from scenedetect.common import Timecode

    detector = AdaptiveDetector(min_scene_len=float(shortest_seconds))
    rate = Fraction(timeline.frames_per_second).limit_denominator(1001)
    reformatter = VideoReformatter()
    cuts = []
    for packet, frame in decode_all(timeline):
        small = reformatter.reformat(frame, _WIDTH, _HEIGHT, "bgr24", interpolation="AREA", threads=1)
        moment = FrameTimecode(
            Timecode(int(timeline.times[packet]) - timeline.start, timeline.table.time_base), rate
        )
        cuts += detector.process_frame(moment, np.asarray(small.to_ndarray()))
    return [cut.pts + timeline.start for cut in cuts]
