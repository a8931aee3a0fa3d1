"""`~` is the home folder wherever a path is taken."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import videolib
from tests.light import LightEncoder
from tests.media import write_video
from videolib import FrameStore
from videolib.addresses import local_path
from videolib.demo import DEMO_MODEL_PATH
from videolib.downloads import download_file
from videolib.encoding.weights import find_weights

FRAME = np.zeros((24, 32, 3), np.uint8)
TAKERS: dict[str, Callable[[Path], object]] = {
    "fetch_video": lambda home: videolib.fetch_video("~/talk.mp4").stat(),
    "probe_video": lambda home: videolib.probe_video("~/talk.mp4"),
    "extract_frames": lambda home: next(videolib.extract_frames("~/talk.mp4")),
    "read_frame": lambda home: videolib.read_frame("~/talk.mp4"),
    "play_clip": lambda home: videolib.play_clip("~/talk.mp4", duration_seconds=0.2),
    "preflight": lambda home: videolib.preflight("~/talk.mp4", LightEncoder()),
    "ingest": lambda home: videolib.ingest(
        "~/talk.mp4", LightEncoder(), FrameStore("~/store.duckdb"), progress=False
    ),
    "open_image": lambda home: videolib.open_image("~/picture.png"),
    "find_weights": lambda home: find_weights("~/model.pt").stat(),
    "check_parameters": lambda home: Path(
        videolib.check_parameters(video_path="~/talk.mp4", query_image="~/picture.png").query_image
    ).stat(),
    "download_file": lambda home: download_file("http://127.0.0.1:1/a", "~/picture.png"),  # it is there
}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write_video(folder / "talk.mp4")
    Image.fromarray(FRAME).save(folder / "picture.png")
    shutil.copy(DEMO_MODEL_PATH, folder / "model.pt")
    return folder


@pytest.mark.parametrize("name", TAKERS)
def test_the_home_folder_is_written_out(home, name):
    TAKERS[name](home)
    assert not os.listdir()


def test_a_video_is_described_with_the_path_that_was_meant(home):
    assert videolib.probe_video("~/talk.mp4").source == str(home / "talk.mp4")


def test_an_encoder_takes_a_checkpoint_and_a_picture_of_the_home_folder(home):
    encoder = videolib.ClipEncoder("~/model.pt", device="cpu")
    assert encoder.encode_images(["~/picture.png"]).shape == (1, encoder.dimension)
    assert videolib.image_query("~/picture.png", encoder).shape == (encoder.dimension,)


def test_what_only_begins_with_the_sign_stays_as_it_is(home):
    assert local_path("~nobody-of-this-name/a.mp4") == Path("~nobody-of-this-name/a.mp4")
    write_video(Path("~draft.mp4"))
    assert videolib.probe_video("~draft.mp4").source == "~draft.mp4"


def test_a_missing_file_is_named_with_the_whole_path(home):
    with pytest.raises(videolib.VideoReadError, match=f"{home}.absent.mp4 does not exist"):
        videolib.probe_video("~/absent.mp4")
