"""An edit list names the parts of the files that the moments are, in frames."""

import json
from fractions import Fraction

import pandas as pd
import pytest

from tests.conftest import make_video
from tests.media import write_video
from tests.sounding import write_sounding
from videolib import VideoReadError, export_edit_list


def make_moments(*rows: tuple[object, float, float], **columns) -> pd.DataFrame:
    """One row for each (source, start_seconds, end_seconds)."""
    return pd.DataFrame(rows, columns=["source", "start_seconds", "end_seconds"]).assign(**columns)


@pytest.fixture
def moments(tmp_path) -> pd.DataFrame:
    ntsc = write_video(tmp_path / "a b ü.mp4", rate=Fraction(30000, 1001))
    loud = write_sounding(tmp_path / "loud.mkv")
    title, similarity = ['one "$x" ü', None], [0.5, float("nan")]
    return make_moments((ntsc, 0.5, 1.5), (loud, 1.0, 99.0), title=title, rank=[1, 2], similarity=similarity)


def test_each_moment_is_a_clip_in_frames_of_its_video(moments, tmp_path):
    export_edit_list(moments, tmp_path / "cut.otio", name="my cut")
    timeline = json.loads((tmp_path / "cut.otio").read_text(encoding="utf-8"))
    assert timeline["name"] == "my cut"
    video, sound = timeline["tracks"]["children"]
    assert (video["kind"], sound["kind"]) == ("Video", "Audio")
    first, second = video["children"]
    assert [first["name"], second["name"]] == ['one "$x" ü', "loud"]
    assert first["source_range"]["start_time"] == {
        "OTIO_SCHEMA": "RationalTime.1",
        "rate": 30000 / 1001,
        "value": 15,
    }
    assert first["source_range"]["duration"]["value"] == 30
    assert (second["source_range"]["start_time"]["value"], second["source_range"]["duration"]["value"]) == (
        30,
        42,
    )
    assert second["source_range"]["duration"]["rate"] == 30
    reference = first["media_references"]["DEFAULT_MEDIA"]
    assert reference["target_url"] == (tmp_path / "a b ü.mp4").as_uri()
    assert reference["available_range"]["duration"]["value"] == 60
    assert first["metadata"]["videolib"] == {"rank": 1, "similarity": 0.5}
    assert second["metadata"]["videolib"] == {"rank": 2}
    assert [clip["OTIO_SCHEMA"] for clip in sound["children"]] == ["Gap.1", "Clip.2"]
    assert sound["children"][0]["source_range"] == first["source_range"]


def test_the_opentimelineio_library_reads_it(moments, tmp_path):
    otio = pytest.importorskip("opentimelineio")
    export_edit_list(moments, tmp_path / "cut.otio")
    timeline = otio.adapters.read_from_file(str(tmp_path / "cut.otio"))
    (video,), (sound,) = timeline.video_tracks(), timeline.audio_tracks()
    assert [clip.name for clip in video.find_clips()] == ['one "$x" ü', "loud"]
    assert video[1].range_in_parent().start_time.to_seconds() == pytest.approx(30 * 1001 / 30000)
    assert isinstance(sound[0], otio.schema.Gap)
    assert otio.url_utils.filepath_from_url(video[0].media_reference.target_url) == str(
        tmp_path / "a b ü.mp4"
    )
    again = json.loads(otio.adapters.write_to_string(timeline), object_hook=without_color)
    assert again == json.loads((tmp_path / "cut.otio").read_text("utf-8"))


def without_color(item: dict) -> dict:
    """Leave out what newer versions of the library write and older ones do not know."""
    return {name: value for name, value in item.items() if name != "color"}


def test_it_has_no_sound_track_if_no_video_has_sound_and_takes_files_from_the_store(store, tmp_path):
    path = write_video(tmp_path / "video.mp4")
    store.write_video(make_video("v1", source=str(path)), model="m", dimension=4, every_seconds=1.0)
    moments = make_moments(("elsewhere.mp4", 0.5, 1.0), video_id="v1").drop(columns="source")
    export_edit_list(moments, tmp_path / "cut.otio", store=store)
    timeline = json.loads((tmp_path / "cut.otio").read_text(encoding="utf-8"))
    (track,) = timeline["tracks"]["children"]
    assert track["children"][0]["media_references"]["DEFAULT_MEDIA"]["target_url"] == path.as_uri()


def test_what_cannot_be_listed_is_refused_and_leaves_nothing(moments, tmp_path):
    before = sorted(tmp_path.iterdir())
    for to in (tmp_path / "cut.edl", tmp_path / "none" / "cut.otio"):
        with pytest.raises(
            ValueError, match=r"to must be the path of an \.otio file in a folder that exists"
        ):
            export_edit_list(moments, to)
    for change, message in (
        (moments.head(0), "moments must have at least one row"),
        (
            moments.assign(start_seconds=50.0, end_seconds=60.0),
            "start_seconds must lie within the video, got 50",
        ),
        (moments.assign(end_seconds=0.0), "end_seconds must be finite and greater than"),
        (moments.drop(columns="source"), "missing: source"),
    ):
        with pytest.raises(ValueError, match=message):
            export_edit_list(change, tmp_path / "cut.otio")
    with pytest.raises(VideoReadError, match=r"gone.mp4 is gone"):
        export_edit_list(moments.assign(source="gone.mp4"), tmp_path / "cut.otio")
    assert sorted(tmp_path.iterdir()) == before
