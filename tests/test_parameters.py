import subprocess
import sys
from importlib.util import find_spec

import pytest

from videolib import FrameStore, check_parameters
from videolib.demo import SAMPLE_MARKS_PATH, SAMPLE_VIDEO_PATH


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """The folder of the stores that nobody named, which is not the working folder."""
    monkeypatch.setenv("VIDEOLIB_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_nothing_given_is_the_sample_video_with_its_model_and_store(data):
    chosen = check_parameters()
    assert (chosen.video_path, chosen.model, chosen.store_path) == (
        str(SAMPLE_VIDEO_PATH),
        "demo",
        str(data / "demo.duckdb"),
    )


def test_the_store_of_ones_own_videos_is_that_of_the_library(monkeypatch):
    monkeypatch.delenv("SINGLESTOREDB_URL", raising=False)
    assert FrameStore(check_parameters(video_path=__file__).store_path).url == FrameStore().url
    assert FrameStore(check_parameters().store_path).url != FrameStore().url


@pytest.mark.parametrize("source", ["https://example.org/a.mp4", __file__])
def test_a_video_of_ones_own_goes_with_the_real_model_and_another_store(source, data):
    chosen = check_parameters(video_path=source)
    assert (chosen.video_path, chosen.model) == (source, "ViT-B/32")
    assert chosen.store_path == str(data / "videolib.duckdb")


def test_marks_are_those_of_the_sample_video_or_those_that_the_store_of_ones_own_holds():
    assert check_parameters().marks_path == str(SAMPLE_MARKS_PATH)
    assert check_parameters(video_path=__file__).marks_path == ""


def test_a_benchmark_has_stores_of_its_own(tmp_path, data):
    drawn = check_parameters(benchmark_folder="")
    assert (drawn.benchmark_folder, drawn.model) == ("", "demo")
    assert drawn.store_path == str(data / "demo_benchmark.duckdb")
    own = check_parameters(benchmark_folder=str(tmp_path))
    assert (own.benchmark_folder, own.model) == (str(tmp_path), "ViT-B/32")
    assert own.store_path == str(data / "benchmark.duckdb")
    assert check_parameters().benchmark_folder == ""


def test_many_videos_go_with_stores_of_their_own(data, tmp_path):
    stores = [check_parameters(folder=folder).store_path for folder in ("", str(tmp_path))]
    assert stores == [str(data / "demo_videos.duckdb"), str(data / "videos.duckdb")]
    assert [check_parameters(folder=folder).model for folder in ("", str(tmp_path))] == ["demo", "ViT-B/32"]
    assert check_parameters().folder == ""


def test_a_folder_is_whatever_leads_to_videos(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "talks [2024]").mkdir()
    (tmp_path / "talk.mp4").touch()
    for folder in (
        tmp_path,
        tmp_path / "*.mp4",
        tmp_path / "**/*.mp4",
        tmp_path / "talks [2024]",
        tmp_path / "talk.mp4",
        "https://example.org/a.mp4",
    ):
        assert check_parameters(folder=str(folder)).folder == str(folder)
    assert check_parameters(folder="~/*.mp4").folder == str(tmp_path / "*.mp4")


def test_a_cluster_is_none_where_none_is_given():
    assert [check_parameters(cluster=cluster).cluster for cluster in ("", None)] == [None, None]


@pytest.mark.skipif(not find_spec("ray"), reason="needs videolib[ray]")
@pytest.mark.parametrize("cluster", ["auto", "127.0.0.1:6379"])
def test_a_cluster_is_given_on(cluster):
    assert check_parameters(cluster=cluster).cluster == cluster


def test_a_cluster_without_ray_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"cluster 'auto' needs Ray, .* pip install 'videolib\[ray\]'"):
        check_parameters(cluster="auto")


def test_what_is_given_stands():
    chosen = check_parameters(model="RN50", store_path="mine.duckdb", query_image=__file__)
    assert (chosen.model, chosen.store_path, chosen.query_image) == ("RN50", "mine.duckdb", __file__)


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "talk.mp4").touch()
    assert check_parameters(video_path="~/talk.mp4").video_path == str(tmp_path / "talk.mp4")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"every_seconds": "1"}, 1.0),
        ({"every_seconds": "0.5"}, 0.5),
        ({"every_seconds": 2}, 2.0),
        ({"k": 5.0}, 5),
        ({"k": "5"}, 5),
        ({"weight": "1"}, 1.0),
        ({"query_seconds": " 8 "}, 8.0),
        ({"query_text": 2024}, "2024"),
        ({"query_text": " a car "}, "a car"),
        ({"then_text": " a car "}, "a car"),
        ({"within_seconds": "5"}, 5.0),
        ({"right": 2}, [2]),
        ({"right": "2, 3"}, [2, 3]),
        ({"wrong": "[1]"}, [1]),
        ({"wrong": []}, []),
        ({"wrong": ""}, []),
        ({"labels": "a car, a boat"}, ["a car", "a boat"]),
        ({"labels": ["a car", "a boat, red"]}, ["a car", "a boat, red"]),
        ({"least_recall": "0.8"}, 0.8),
        ({"marks_path": __file__}, __file__),
    ],
)
def test_what_is_unambiguous_is_taken(given, expected):
    (name,) = given
    value = getattr(check_parameters(**given), name)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"every_seconds": 0}, "every_seconds must be a number above 0, got 0"),
        ({"every_seconds": "often"}, "every_seconds must be a number above 0, got 'often'"),
        ({"every_seconds": float("nan")}, "every_seconds must be a number above 0, got nan"),
        ({"every_seconds": None}, "every_seconds must be a number above 0, got None"),
        ({"k": 0}, "k must be a whole number, 1 or more, got 0"),
        ({"k": 2.5}, "k must be a whole number, 1 or more, got 2.5"),
        ({"k": True}, "k must be a whole number, 1 or more, got True"),
        ({"weight": 2}, r"weight must be from 0 \(the picture alone\) to 1 \(the text alone\), got 2"),
        ({"without_text": " "}, "without_text must describe what to look for, got ' '"),
        ({"first_text": False}, "first_text must describe what to look for, got False"),
        ({"within_seconds": 0}, "within_seconds must be a number above 0, got 0"),
        ({"right": [0]}, "right must be a whole number, 1 or more, got 0"),
        ({"wrong": "first"}, "wrong must be a whole number, 1 or more, got 'first'"),
        ({"labels": []}, r"labels must be one description or more, each once, got \[\]"),
        ({"labels": "a car, a car"}, "labels must be one description or more, each once, got 'a car, a car'"),
        ({"labels": None}, "labels must be one description or more, each once, got None"),
        ({"query_seconds": -1}, "query_seconds must be a number, 0 or more, got -1"),
        ({"query_seconds": [1]}, r"query_seconds must be a number, 0 or more, got \[1\]"),
        ({"least_recall": 80}, "least_recall must be a number from 0 to 1, got 80"),
        ({"marks_path": "no.csv"}, "marks_path must be an existing file, got 'no.csv': check the path"),
        (
            {"benchmark_folder": __file__},
            "benchmark_folder must be an existing folder, got .*test_parameters.py': check the path",
        ),
        ({"query_text": ""}, "query_text must describe what to look for, got ''"),
        ({"query_text": "  "}, "query_text must describe what to look for, got '  '"),
        (
            {"video_path": "tlak.mp4"},
            "video_path must be an existing file or an .* got 'tlak.mp4': check the path",
        ),
        ({"model": "open_clip:"}, "model must be open_clip:ARCHITECTURE/WEIGHTS, .* got 'open_clip:'"),
        (
            {"model": "open_clip:ViT-B-32"},
            "model must be open_clip:ARCHITECTURE/WEIGHTS, .* got 'open_clip:ViT",
        ),
        ({"folder": "talsk"}, "folder must be an existing folder, a pattern .* got 'talsk': check the path"),
        ({"folder": "talks/*.mp4"}, r"folder must be an existing folder, .* got 'talks/\*.mp4': check"),
        ({"cluster": 8}, 'cluster must be "auto" or the address of a Ray cluster, got 8: empty for none'),
        ({"cluster": True}, 'cluster must be "auto" or the address of a Ray cluster, got True'),
        ({"query_image": "/nowhere.png"}, "query_image must be an existing file or an .* got '/nowhere.png'"),
    ],
)
def test_what_is_wrong_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        check_parameters(**given)


def test_a_model_of_open_clip_is_checked_without_importing_it():
    pytest.importorskip("open_clip", reason="needs videolib[open-clip]")
    script = """
        import sys
        from videolib import check_parameters
        for name in ("ViT-B-16-SigLIP2-256/webli", "PE-Core-B-16/path/to/weights.pt"):
            assert check_parameters(model=f"open_clip:{name}").model == f"open_clip:{name}"
        try:
            check_parameters(model="open_clip:vit-b-16-siglip2_256/webli")
        except ValueError as error:
            print(error)
        assert "torch" not in sys.modules
    """
    done = subprocess.run(
        [sys.executable, "-c", "if True:" + script], capture_output=True, check=True, text=True
    )
    assert "got 'vit-b-16-siglip2_256': did you mean 'ViT-B-16-SigLIP2-256' or" in done.stdout
