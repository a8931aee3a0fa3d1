import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from videolib import find_pairs, make_sample_pairs, probe_video, read_frame
from videolib.demo import SAMPLE_VIDEO_PATH, sample_scenes

HEAD = "key,vid_key,video_id,sentence\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    """MSR-VTT's layout: all videos in a folder below, the test split among other files, which names some of them."""
    (tmp_path / "videos" / "all").mkdir(parents=True)
    for name in ("video7", "video8", "video9", "video10"):
        (tmp_path / "videos" / "all" / f"{name}.mp4").touch()
    (tmp_path / "videos" / "all" / "video7.txt").touch()
    (tmp_path / "MSRVTT_train.9k.csv").write_text("video_id\nvideo8\n")
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text(
        HEAD + 'ret0,msr9,video9,"one, and another"\nret1,msr7,video7,a cat\nret2,msr9,video9,a cat\n'
    )
    return tmp_path


def test_a_pair_is_a_sentence_and_the_file_of_its_video(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    pairs = find_pairs(folder.name)
    assert pairs.columns.tolist() == ["key", "sentence", "source"]
    assert pairs["key"].tolist() == ["ret0", "ret1", "ret2"]
    assert pairs["sentence"].tolist() == ["one, and another", "a cat", "a cat"]
    paths = [folder / "videos" / "all" / f"{name}.mp4" for name in ("video9", "video7", "video9")]
    assert pairs["source"].tolist() == [str(path) for path in paths]


def test_a_folder_that_is_none_or_empty_is_told(tmp_path):
    with pytest.raises(ValueError, match="folder must be an existing folder, got 'nowhere': check the path"):
        find_pairs("nowhere")
    with pytest.raises(
        ValueError,
        match=r"folder must hold one CSV file with the columns key, video_id, sentence, .* got no CSV file in '",
    ):
        find_pairs(tmp_path)


def test_a_folder_without_the_split_is_told_what_it_has(folder):
    (folder / "MSRVTT_JSFUSION_test.csv").unlink()
    with pytest.raises(
        ValueError, match=r"got MSRVTT_train.9k.csv without them in '.*': let exactly one be there"
    ):
        find_pairs(folder)


def test_which_of_two_splits_counts_nobody_knows(folder):
    shutil.copy(folder / "MSRVTT_JSFUSION_test.csv", folder / "videos" / "copy.csv")
    with pytest.raises(
        ValueError, match=r"got MSRVTT_JSFUSION_test.csv, copy.csv in '.*': let exactly one be there"
    ):
        find_pairs(folder)


def test_missing_videos_are_counted_and_named(folder):
    split = folder / "MSRVTT_JSFUSION_test.csv"
    with split.open("a") as file:
        file.writelines(f"ret{n},msr{n},video{n},a cat\n" for n in range(95, 100))
    with pytest.raises(
        ValueError,
        match=r"hold the 7 videos that .*_test.csv names, got .* without video95, video96, video97 and 2 more: put",
    ):
        find_pairs(folder)


def test_a_video_that_is_there_twice_is_told(folder):
    (folder / "video7.webm").touch()
    with pytest.raises(
        ValueError, match=r"must hold each video once, got '.*video7.webm' and '.*video7.mp4'"
    ):
        find_pairs(folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (b"", "with a key of its own, a video_id and a sentence, got no rows: mend"),
        (b"ret0,m,video7,a\nret0,m,video8,b\n", "got {'key': 'ret0', 'video_id': 'video8', 'sentence': 'b'}"),
        (b"ret0,m,video7, \n", "got {'key': 'ret0', 'video_id': 'video7', 'sentence': ' '}"),
        (b"ret0,m,video7\n", "got {'key': 'ret0', 'video_id': 'video7', 'sentence': ''}"),
        (b"ret0,m,video7,a\n1,2,3,4,5,6\n", "must be a readable table in UTF-8: Error tokenizing data"),
        (b"ret0,m,video7,caf\xe9\n", "must be a readable table in UTF-8: 'utf-8' codec can't decode"),
    ],
)
def test_a_wrong_row_is_told(folder, rows, message):
    (folder / "MSRVTT_JSFUSION_test.csv").write_bytes(HEAD.encode() + rows)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        find_pairs(folder)
    assert "MSRVTT_JSFUSION_test.csv" in str(caught.value)


@pytest.mark.slow
def test_the_sample_pairs_are_of_the_scenes(tmp_path):
    folder = make_sample_pairs(tmp_path / "new" / "pairs")
    assert folder == tmp_path / "new" / "pairs"
    pairs, scenes = find_pairs(folder), sample_scenes()
    assert len(pairs) == len(scenes)
    assert pairs["sentence"].nunique() == 21
    for sentence, scene in zip(pairs["sentence"], scenes.to_dict("records"), strict=True):
        assert scene["object"] in sentence
        assert scene["colour"] not in sentence
        assert re.match("an? ", sentence)[0] == ("an " if scene["object"] == "umbrella" else "a ")
    for source, start in zip(pairs["source"], scenes["start_seconds"], strict=True):
        assert 2.4 < probe_video(source).duration_seconds < 2.7
        one, other = read_frame(source, 1.0), read_frame(SAMPLE_VIDEO_PATH, start + 1.0)
        assert np.abs(one.image.astype(int) - other.image).mean() < 2


@pytest.mark.slow
def test_sample_pairs_are_made_once_and_anew_where_that_was_interrupted(tmp_path):
    made = make_sample_pairs(tmp_path) / "video3.mp4"
    before = made.read_bytes()
    made.write_bytes(b"changed")
    make_sample_pairs(tmp_path)
    assert made.read_bytes() == b"changed"
    (tmp_path / "sample_test.csv").unlink()
    make_sample_pairs(tmp_path)
    assert made.read_bytes() == before  # the same content: stored once, wherever it is made
    assert {path.suffix for path in tmp_path.iterdir()} == {".mp4", ".csv"}
