import re
from pathlib import Path

import pytest

from videolib.ingestion.sources import find_sources


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("b.mp4", "a.MKV", "notes.txt", "picture.jpg", ".hidden.mp4", "deep/c.webm", "deep/odd.dat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\1\2")
    return tmp_path


def names(found: list[str], folder: Path) -> list[str]:
    return [Path(each).relative_to(folder).as_posix() for each in found]


def test_a_folder_gives_its_videos_by_name_in_order(folder):
    assert names(find_sources(folder, recursive=True), folder) == ["a.MKV", "b.mp4", "deep/c.webm"]
    assert names(find_sources(str(folder), recursive=False), folder) == ["a.MKV", "b.mp4"]


def test_a_pattern_gives_videos_and_what_it_names_by_suffix(folder):
    assert names(find_sources(f"{folder}/**/*", recursive=True), folder) == ["a.MKV", "b.mp4", "deep/c.webm"]
    assert names(find_sources(f"{folder}/*.mp4", recursive=True), folder) == ["b.mp4"]
    assert names(find_sources(f"{folder}/deep/*.dat", recursive=True), folder) == ["deep/odd.dat"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    path = folder / "talk [2024].mp4"
    path.write_bytes(b"\0")
    assert find_sources(path, recursive=True) == [str(path)]


def test_programs_are_no_transport_streams(folder):
    (folder / "app.ts").write_text("export const a = 1;\n")
    (folder / "film.ts").write_bytes(b"\x47\x40\x11\x10" + bytes(184))
    found = names(find_sources(folder, recursive=True), folder)
    assert "film.ts" in found
    assert "app.ts" not in found


def test_a_list_keeps_its_order_and_what_it_names(folder, monkeypatch):
    monkeypatch.chdir(folder)
    given = ["http://host/v.mp4", Path("deep/odd.dat"), folder / "deep", "missing [1].mp4"]
    expected = [
        "http://host/v.mp4",
        *(str(folder / n) for n in ("deep/odd.dat", "deep/c.webm", "missing [1].mp4")),
    ]
    assert find_sources(given, recursive=True) == expected


LISTS = {
    "list.txt": "# films\nb.mp4\n\nhttps://host/v.mp4?x=1,2\n",
    "one.csv": 'b.mp4\n"https://host/v.mp4?x=1,2"\n',
    "named.csv": '\ufefftitle,Path,year\nB,b.mp4,1999\nC,,1\nV,"https://host/v.mp4?x=1,2",2001\n',
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_in_a_file_is_relative_to_its_folder(name, folder):
    (folder / name).write_text(LISTS[name], encoding="utf-8")
    expected = [str(folder / "b.mp4"), "https://host/v.mp4?x=1,2"]
    assert find_sources(folder / name, recursive=True) == expected


def test_a_table_without_a_column_of_sources_is_refused(folder):
    (folder / "list.csv").write_text("title,year\nB,1999\n")
    with pytest.raises(
        ValueError, match=r"list\.csv must have a column named source, path, url, address or file, got"
    ):
        find_sources(folder / "list.csv", recursive=True)


@pytest.mark.parametrize("sources", ["no such folder", "*.nothing", [], "empty"])
def test_where_no_video_is_that_is_said(sources, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=rf"sources must lead to a video, got {re.escape(repr(sources))}, where none"
    ):
        find_sources(sources, recursive=True)


@pytest.mark.parametrize("wrong", [3, None, ""])
def test_what_is_no_path_is_refused(wrong):
    with pytest.raises(ValueError, match="sources must be paths and addresses of videos, got"):
        find_sources(["a.mp4", wrong], recursive=True)
