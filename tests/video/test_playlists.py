"""Files that name other files open none of them, whatever they look like."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.media import write_video
from videolib import VideoReadError, extract_frames, probe_video

HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{}\n#EXT-X-ENDLIST\n"
VARIANTS = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n{}\n"
LIVE = HLS.replace("#EXT-X-ENDLIST\n", "")
CONCAT = "ffconcat version 1.0\nfile {}\n"
DASH = (
    '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1" bandwidth="1" mimeType="video/mp4"><BaseURL>{}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>\n"
)
PLAYLISTS = {"a.m3u8": HLS, "master.m3u8": VARIANTS, "live.m3u8": LIVE, "a.ffconcat": CONCAT, "a.mpd": DASH}
NAMES = [
    "part.ts",
    "../outside.ts",
    "{folder}/part.ts",
    "file:{folder}/part.ts",
    "/etc/passwd",
    "http://127.0.0.1:9/a.ts",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    write_video(folder / "part.ts", options={"g": "15"})
    write_video(tmp_path / "outside.ts", options={"g": "15"})
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("file", PLAYLISTS)
def test_playlists_are_refused_by_name(file, name, folder):
    path = folder / file
    path.write_text(PLAYLISTS[file].format(name.format(folder=folder)))
    for call in (probe_video, extract_frames):
        with pytest.raises(VideoReadError, match=rf"{file} is a playlist, not a video; pass a video that it"):
            call(path)


def test_a_playlist_behind_a_mark_of_its_encoding_is_one(folder):
    path = folder / "a.m3u8"
    path.write_text("\ufeff" + HLS.format("part.ts"))
    with pytest.raises(VideoReadError, match="is a playlist"):
        probe_video(path)


@pytest.mark.skipif(
    not hasattr(os, "mkfifo"), reason="needs a pipe with a name, which waits when it is opened"
)
@pytest.mark.parametrize("disguise", [b"", b"ID3\x04\0\0\0\0\0\0", b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)])
@pytest.mark.parametrize("file", PLAYLISTS)
def test_nothing_that_a_playlist_names_is_opened(file, disguise, folder):
    os.mkfifo(folder / "pipe.ts")
    path = folder / file
    path.write_bytes(disguise + PLAYLISTS[file].format("pipe.ts").encode())
    script = "import sys, videolib; videolib.probe_video(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, timeout=60, text=True)
    assert "VideoReadError" in done.stderr
