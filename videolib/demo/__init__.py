"""The demo world: a small CLIP checkpoint and a drawn sample video, for a first run without a network.

The checkpoint knows drawn scenes of a dozen objects and nothing else; README.md beside it says how far it goes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DEMO_MODEL_PATH", "SAMPLE_MARKS_PATH", "SAMPLE_VIDEO_PATH", "sample_scenes"]

_FOLDER = Path(__file__).resolve().parent

DEMO_MODEL_PATH: Path = _FOLDER / "demo_clip.pt"
SAMPLE_VIDEO_PATH: Path = _FOLDER / "sample.mp4"
SAMPLE_MARKS_PATH: Path = _FOLDER / "sample_marks.csv"


def sample_scenes() -> pd.DataFrame:
    """What the sample video shows, one row a scene, in order of time.

    Columns: start_seconds, end_seconds (not included), object, colour, setting, second_object and second_colour
    (empty where there is none), caption.
    """
    import pandas as pd  # the paths alone need no table

    return pd.read_csv(_FOLDER / "sample_scenes.csv", keep_default_na=False)
