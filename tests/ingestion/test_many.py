import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import run_killed
from tests.file_server import Reply
from tests.ingestion.test_one import INTERRUPT
from tests.light import LightEncoder
from tests.many_videos import make_folder, rows_of, write_one
from videolib import FrameStore, StoreError, ingest, ingest_videos, preflight, preflight_videos

pytestmark = pytest.mark.slow

COLUMNS = ["source", "video_id", "frames", "seconds", "state", "error"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Eleven videos: the second is the first again, the last two are empty and a web page."""
    folder = tmp_path_factory.mktemp("videos") / "films"
    make_folder(folder, 11, damaged=2, same=1)
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory) -> FrameStore:
    """What a loop over `ingest` makes of the folder."""
    store = FrameStore(tmp_path_factory.mktemp("undisturbed") / "store.duckdb")
    table = run(folder, store, ingest_first=True)
    assert len(table) == 11
    return store


def run(folder, store, encoder=None, *, ingest_first=False, **options) -> pd.DataFrame:
    encoder = encoder or LightEncoder()
    if ingest_first:
        paths = [path for path in sorted(folder.rglob("*.*")) if path.stat().st_size > 1000]
        for path in paths[:1] + paths[2:]:  # without the copy
            ingest(path, encoder, store, progress=False)
    return ingest_videos(folder, encoder, store, progress=False, **options)


def test_the_table_has_a_row_for_each_source_and_the_store_the_rows_of_a_loop(folder, undisturbed, store):
    table = run(folder, store)
    assert table.columns.tolist() == COLUMNS
    assert table["source"].tolist() == [str(path) for path in sorted(folder.rglob("*.*"))]
    states = table.set_index(table["source"].map(lambda source: Path(source).name[:3]))["state"]
    first = table["source"][0]
    expected = dict.fromkeys(states.index, "stored") | {"001": f"duplicate of {first}"}
    assert states.to_dict() == expected | {"009": "failed", "010": "failed"}
    failed = table[table["state"] == "failed"]
    assert failed["error"].str.contains("is empty|Invalid data|not a video").all()
    assert failed["video_id"].isna().all()
    assert (failed["frames"] == 0).all()
    assert table["video_id"].nunique() == 8
    whole = table[table["state"] != "failed"].set_index("video_id")
    counts = store.list_videos().set_index("video_id")["frame_count"]
    assert (whole["frames"] == counts[whole.index]).all()
    assert whole["seconds"].between(3.9, 6.3).all()
    assert rows_of(store) == rows_of(undisturbed)


def test_again_nothing_is_decoded_and_the_table_says_so(folder, undisturbed):
    class Unused:
        model, dimension = LightEncoder.model, LightEncoder.dimension

    before = rows_of(undisturbed)
    table = run(folder, undisturbed, Unused())
    assert table["state"].map(lambda state: state.split()[0]).value_counts().to_dict() == {
        "already": 8,
        "failed": 2,
        "duplicate": 1,
    }
    assert rows_of(undisturbed) == before


def test_only_what_is_new_is_read(folder, store, tmp_path):
    path = write_one(tmp_path / "new.mp4", "libx264", 99, 3)
    paths = sorted(folder.glob("*.mp4"))[:1]
    ingest_videos(paths, LightEncoder(), store, progress=False)
    counting = LightEncoder()
    table = ingest_videos([path, *paths], counting, store, progress=False)
    assert table["state"].tolist() == ["stored", "already stored"]
    assert counting.count == table["frames"][0] == 3


def test_another_sampling_is_stored_beside(folder, store):
    paths = sorted(folder.glob("*.mp4"))[:1]
    for every_seconds, expected in ((2, 2), (1, 4)):
        table = ingest_videos(paths, LightEncoder(), store, every_seconds=every_seconds, progress=False)
        assert table[["frames", "state"]].values.tolist() == [[expected, "stored"]]
    table = ingest_videos(paths, LightEncoder(), store, sampling="keyframes", progress=False)
    assert len(store.list_videos()) == 3
    assert table["video_id"][0].endswith("@keyframes-1s")


def test_what_of_a_video_cannot_be_read_stands_in_the_table(store, tmp_path):
    path = write_one(tmp_path / "cut.mkv", "libx264", 1, 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = ingest_videos(path, LightEncoder(), store, progress=False)
    assert table["state"].tolist() == ["stored"]
    assert 0 < table["frames"][0] < 20
    assert "cut short" in table["error"][0]


def test_other_warnings_are_still_heard(store, tmp_path):
    class Warning(LightEncoder):
        def encode_images(self, images):
            warnings.warn("the model is old", stacklevel=1)
            return super().encode_images(images)

    path = write_one(tmp_path / "a.mp4", "libx264", 1, 2)
    with pytest.warns(UserWarning, match="the model is old"):
        ingest_videos(path, Warning(), store, progress=False)


class TestWhatConcernsAll:
    def test_another_model_stops_everything(self, folder, undisturbed):
        class Other(LightEncoder):
            model = "other"

        before = rows_of(undisturbed)
        with pytest.raises(StoreError, match="model must be 'light'"):
            run(folder, undisturbed, Other())
        assert rows_of(undisturbed) == before

    def test_an_encoder_that_fails_stops_everything_and_the_rest_can_follow(self, folder, undisturbed, store):
        class Failing(LightEncoder):
            def encode_images(self, images):
                if self.count >= 20:
                    raise RuntimeError("out of memory")
                return super().encode_images(images)

        with pytest.raises(RuntimeError, match="out of memory"):
            run(folder, store, Failing())
        assert store.list_videos()["complete"].sum() >= 2
        run(folder, store)
        assert rows_of(store) == rows_of(undisturbed)

    def test_a_store_that_is_gone_stops_everything(self, folder, tmp_path):
        path = tmp_path / "there" / "store.duckdb"

        class Vandal(LightEncoder):
            def encode_images(self, images):
                path.unlink(missing_ok=True)
                return super().encode_images(images)

        with pytest.raises(StoreError):
            run(folder, FrameStore(path), Vandal())

    @pytest.mark.parametrize("option", [{"every_seconds": 0}, {"sampling": "often"}])
    def test_a_wrong_argument_is_refused_before_anything_is_written(self, option, folder, store, tmp_path):
        with pytest.raises(ValueError, match=f"{next(iter(option))} must be"):
            run(folder, store, **option)
        assert not (tmp_path / "store.duckdb").exists()


class TestASourceThatChanged:
    @pytest.fixture
    def paths(self, store, tmp_path) -> list[Path]:
        """Two stored videos that have changed places since."""
        paths = [write_one(tmp_path / f"{number}.mp4", "libx264", number, 3) for number in (1, 2)]
        ingest_videos(paths, LightEncoder(), store, progress=False)
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths, contents[::-1], strict=True):
            path.write_bytes(content)
        return paths

    def test_it_fails_alone(self, store, paths, tmp_path):
        other = write_one(tmp_path / "3.mp4", "libx264", 3, 2)
        before = rows_of(store)
        table = ingest_videos([*paths, other], LightEncoder(), store, progress=False)
        assert table["state"].tolist() == ["failed", "failed", "stored"]
        assert table["error"].str.contains("call ingest with replace=True").tolist() == [True, True, False]
        assert before.items() <= rows_of(store).items()

    def test_files_that_changed_places_lose_nothing(self, store, paths):
        counting = LightEncoder()
        table = ingest_videos(paths, counting, store, replace=True, progress=False)
        assert counting.count == 0
        assert table["state"].tolist() == ["already stored"] * 2
        assert store.list_videos()["source"].tolist() == [str(path) for path in paths]

    def test_the_new_takes_the_place_of_the_old(self, store, paths):
        write_one(paths[0], "libx264", 9, 5)
        table = ingest_videos(paths, LightEncoder(), store, replace=True, progress=False)
        assert sorted(store.list_videos()["video_id"]) == sorted(table["video_id"])


def test_one_bar_counts_frames_and_videos(folder, store, capfd):
    ingest_videos(folder, LightEncoder(), store)
    last = capfd.readouterr().err.splitlines()[-1].split("\r")[-1]
    assert "11 of 11 videos: 100%" in last
    count = int(store.list_videos()["frame_count"].sum())
    assert f"{count}/{count}" in last
    assert "frame/s" in last


def test_addresses_are_downloaded_and_not_fetched_again(folder, store, server, tmp_path, monkeypatch):
    paths = sorted(folder.glob("*.m*"))[:3]
    urls = [server.add(f"/{place}.mp4", Reply(path.read_bytes())) for place, path in enumerate(paths)]
    urls.insert(1, server.add("/gone.mp4", Reply(status=404)))
    urls.append("ftp://host/a.mp4")
    for place in (1, 2):
        monkeypatch.setenv("VIDEOLIB_CACHE_DIR", str(tmp_path / f"cache {place}"))
        table = ingest_videos(urls, LightEncoder(), store, progress=False)
        words = table["state"].map(lambda state: state.split()[0]).tolist()
        stored = "stored" if place == 1 else "already"
        assert words == [stored, "failed", "duplicate", stored, "failed"]
        assert table["error"].str.contains("404|http or https").tolist() == [False, True, False, False, True]
    assert (
        len(server.requests) == 4 + 2
    )  # again what is gone, and the copy, which is stored under another address


INGEST = """
from tests.light import LightEncoder
from videolib import FrameStore, ingest_videos

folder, store = sys.argv[1:3]
ingest_videos(folder, LightEncoder(), FrameStore(store), progress=False)
"""


def test_killed_at_any_moment_it_goes_on(folder, undisturbed, tmp_path):
    path = tmp_path / "killed.duckdb"
    killed = 0
    for moment in (5, 40, 90, 900):
        done = run_killed(INGEST, folder, path, moment=moment)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        killed += done.returncode != 0
    assert done.returncode == 0
    assert killed >= 2
    assert rows_of(FrameStore(path)) == rows_of(undisturbed)


@pytest.mark.parametrize(("signal_name", "insert", "wait"), [("SIGINT", 2, 0), ("SIGTERM", 5, 0.02)])
def test_an_interrupt_tells_in_one_line_what_is_kept(
    signal_name, insert, wait, folder, undisturbed, tmp_path
):
    path = tmp_path / "store.duckdb"
    script = INTERRUPT.replace("SIGINT", signal_name) + INGEST
    command = [sys.executable, "-c", script, folder, path, str(insert), str(wait)]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT, done.stderr
    assert done.stderr.count("Traceback") == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("KeyboardInterrupt: ")
    assert line.endswith("frames were written: call ingest_videos again to go on")
    assert f" of 11 videos are stored whole, and {frames_of(path)} frames" in line
    store = FrameStore(path)
    run(folder, store)
    assert rows_of(store) == rows_of(undisturbed)


def frames_of(path: Path) -> int:
    return int(FrameStore(path).list_videos()["frame_count"].sum())


def test_preflight_tells_what_all_will_take(folder, store):
    told = preflight_videos(folder, LightEncoder(), progress=False)
    table = run(folder, store)
    kept = table.dropna().drop_duplicates("video_id")
    assert told.video_count == len(kept) == 8
    assert told.frame_count == kept["frames"].sum()
    assert told.duration_seconds == pytest.approx(kept["seconds"].sum())
    assert sorted(told.problems["source"]) == sorted(table["source"][table["state"] == "failed"])
    first = preflight(table["source"][0], LightEncoder())
    assert told.store_bytes == pytest.approx(
        first.store_bytes / first.frame_count * told.frame_count, rel=0.3
    )
    assert repr(told).startswith("8 videos, 2 more that cannot be read: 40 seconds, 40 frames,\nabout ")
