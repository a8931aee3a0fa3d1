"""Fixtures that several test modules share."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

os.environ.setdefault("MPLBACKEND", "agg")
# Kernels and other processes import the checkout that is tested, not what is installed.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
)
os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared already
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.file_server import server  # noqa: F401
from tests.singlestore_standin.fixtures import _standin, real_singlestore_url, singlestore_url, standin  # noqa: F401
from videolib import FrameStore, Video, normalize

SLOW_FIXTURES = {"encoder", "exact", "standin", "_standin", "singlestore_url", "vit_path", "undisturbed"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what loads a model or talks to a server; modules mark themselves where all of them does."""
    for item in items:
        uses = SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if uses or item.get_closest_marker("singlestore"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _own_data(tmp_path_factory):
    """No test writes to the stores of who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEOLIB_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(autouse=True)
def _usual_priority():
    """SVT-AV1 makes the thread that encodes with it a real-time one, for good, where it runs as root."""
    yield
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(scope="session")
def encoder():
    """The shipped demo model: small, but a real CLIP."""
    from videolib import ClipEncoder  # imports torch, which the processes of test_database do not need

    return ClipEncoder("demo", device="cpu")


@pytest.fixture
def store(tmp_path) -> FrameStore:
    return FrameStore(tmp_path / "store.duckdb")


def make_video(video_id: str = "v1", **fields) -> Video:
    known = {
        "video_id": video_id,
        "title": f"title of {video_id}",
        "source": f"{video_id}.mp4",
        "duration_seconds": 100.0,
        "width": 640,
        "height": 360,
        "frames_per_second": 25.0,
    }
    return Video(**known | fields)


def make_frames(video_id: str, embeddings: np.ndarray) -> pd.DataFrame:
    """One row per embedding, a second apart; frame_data tells the row."""
    numbers = range(1, len(embeddings) + 1)
    return pd.DataFrame(
        {
            "video_id": video_id,
            "frame_number": numbers,
            "timestamp_seconds": [number - 1.0 for number in numbers],
            "embedding_data": list(normalize(embeddings)),
            "frame_data": [f"{video_id} {number}".encode() for number in numbers],
        }
    )


KILL = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine

left = int(sys.argv.pop())

def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
    event.listen(Engine, name, count)
"""


def run_killed(script: str, *arguments: object, moment: int) -> subprocess.CompletedProcess[str]:
    """Run a script in a process that is killed at its n-th moment: before or after a statement, or at a commit."""
    command = [sys.executable, "-c", KILL + script, *map(str, arguments), str(moment)]
    return subprocess.run(command, capture_output=True, text=True)
