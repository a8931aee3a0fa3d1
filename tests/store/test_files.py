"""A DuckDB file: where it is, that reading makes none, who else may open it, and one that may only be read."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from tests.conftest import make_frames, make_video
from tests.store.test_store import HOLD_LOCK
from videolib import FrameStore, StoreError, copy_videos

pytestmark = pytest.mark.slow

MODEL = {"model": "tiny", "dimension": 4, "every_seconds": 1.0}


def filled(path: Path) -> FrameStore:
    store = FrameStore(path)
    store.write_video(make_video("v1"), **MODEL)
    store.write_frames(make_frames("v1", np.eye(4)))
    return store


READING = {
    "search": lambda store: store.search(np.ones(4)),
    "similarities": lambda store: store.similarities(np.ones(4), "v1"),
    "list_videos": lambda store: store.list_videos(),
    "read_frames": lambda store: store.read_frames("v1"),
    "read_batches": lambda store: list(store.read_batches("v1")),
    "read_frame_numbers": lambda store: store.read_frame_numbers("v1"),
    "load_index": lambda store: store.load_index(),
    "copy_videos": lambda store: copy_videos(store, FrameStore(":memory:"), progress=False),
    "mark_complete": lambda store: store.mark_complete("v1"),
    "delete_video": lambda store: store.delete_video("v1"),
    "write_frames": lambda store: store.write_frames(make_frames("v1", np.eye(4))),
    "compact": lambda store: store.compact(),
    "read_marks": lambda store: store.read_marks(),
    "write_marks": lambda store: store.write_marks([{"query": "a car", "video_id": "v1", "right": False}]),
    "delete_marks": lambda store: store.delete_marks(store.read_marks()),
}


@pytest.mark.parametrize("name", READING)
def test_a_mistyped_path_is_named_and_makes_no_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    store = FrameStore("folder/typo.duckdb")
    assert store.list_videos(missing_ok=True).empty
    with pytest.raises(StoreError) as caught:
        READING[name](store)
    path = tmp_path / "folder" / "typo.duckdb"
    assert str(caught.value) == f"there is no store at {path}: check the path, or ingest a video first"
    assert store.check_room(10, frame_bytes=5) == 50
    assert not list(tmp_path.iterdir())


def test_the_first_video_makes_the_file_and_its_folder(tmp_path):
    filled(tmp_path / "new" / "folder" / "store.duckdb")
    assert len(FrameStore(tmp_path / "new" / "folder" / "store.duckdb").search(np.ones(4))) == 4


def test_a_store_in_memory_is_always_there():
    store = FrameStore(":memory:")
    assert store.list_videos().empty


NAMES = [
    "what?.duckdb",
    "50%25.duckdb",
    "50%.duckdb",
    "a?b=c",
    "with # and & and +.duckdb",
    "C:\\Users\\me\\videos.duckdb",
    "md:videos",
    "postgres:dbname=x",
    ":memory:2",
    "user:word@host",
]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no files of these names")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_path(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    if kind is str and "@" in name:
        return  # a server's address
    store = filled(kind(name))
    monkeypatch.chdir("/")  # the store stays where it was
    store.mark_complete("v1")
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert FrameStore(tmp_path / name).list_videos()["frame_count"].tolist() == [4]
    assert FrameStore(store.url).list_videos()["complete"].tolist() == [True]


def test_a_urls_path_is_written_as_in_every_url(tmp_path):
    filled(tmp_path / "what?50%.duckdb")
    assert len(FrameStore(f"duckdb:///{tmp_path}/what%3F50%25.duckdb").list_videos()) == 1


@pytest.mark.parametrize("end", ["what?.duckdb", "what?", "a?b", "a?threads=1&b"])
def test_a_url_whose_path_seems_to_hold_a_question_mark_is_refused(tmp_path, end):
    with pytest.raises(
        ValueError, match=r"url must have name=value after its \?, .*write a \? of the path as %3F"
    ):
        FrameStore(f"duckdb:///{tmp_path}/{end}")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for given in ("~/one.duckdb", Path("~/two.duckdb"), "duckdb:///~/three.duckdb"):
        filled(given).mark_complete("v1")
    assert {each.name for each in tmp_path.iterdir()} == {"one.duckdb", "two.duckdb", "three.duckdb"}


def test_the_default_is_one_file_wherever_the_program_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("SINGLESTOREDB_URL", raising=False)
    monkeypatch.delenv("VIDEOLIB_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = tmp_path / ".local" / "share" / "videolib" / "videolib.duckdb"
    with pytest.raises(StoreError, match=r"there is no store at .*: check the path, or ingest"):
        FrameStore().list_videos()
    filled(None)
    assert path.exists()
    assert not list((tmp_path / "work").iterdir())
    monkeypatch.chdir(tmp_path)
    assert len(FrameStore().list_videos()) == 1
    monkeypatch.setenv("VIDEOLIB_DATA_DIR", "~/elsewhere")
    filled(None)
    assert (tmp_path / "elsewhere" / "videolib.duckdb").exists()


def test_a_file_where_the_default_was_before_is_told_of_until_there_is_a_new_one(
    tmp_path, monkeypatch, recwarn
):
    monkeypatch.delenv("SINGLESTOREDB_URL", raising=False)
    monkeypatch.setenv("VIDEOLIB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    filled(tmp_path / "videolib.duckdb")
    with pytest.warns(
        UserWarning, match=r"videolib.duckdb is not used, .*data.videolib.duckdb now: give the path"
    ):
        FrameStore()
    filled(None)
    recwarn.clear()
    assert len(FrameStore().list_videos()) == 1
    assert not recwarn.list


def without_privileges() -> None:
    """Take from root what opens a file against its permissions: CAP_DAC_OVERRIDE, for this process and its children."""
    if os.geteuid() == 0 and sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(24, 1)  # PR_CAPBSET_DROP, which the next program starts with


def run_script(script: str, *arguments: object, shell: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    if shell:
        command = ["unshare", "--mount", "sh", "-c", f'{shell} && exec "$@"', "sh", *command]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=without_privileges)


READ_ONLY = """
    import json, os, sys
    import numpy as np
    from tests.conftest import make_video
    from tests.store.test_files import MODEL, READING
    from videolib import FrameStore
    from videolib.store import schema

    path = sys.argv[1]
    if os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK):
        sys.exit(f"nothing keeps this process from writing {path}")
    told = {}
    def tell(name, call):
        try:
            told[name] = len(call())
        except Exception as error:
            told[name] = f"{type(error).__name__}: {error}"

    store = FrameStore(path)
    for name in ("search", "similarities", "list_videos", "read_frames", "load_index", "copy_videos", "read_marks"):
        tell(name, lambda: READING[name](store) if name != "copy_videos" else READING[name](store) or [])
    with store.engine.connect() as connection:
        tell("sql", lambda: connection.exec_driver_sql("FROM frames").all())
    for name in ("mark_complete", "delete_video", "write_frames", "compact", "write_marks"):
        tell(name, lambda: READING[name](store))
    tell("write_video", lambda: store.write_video(make_video("v2"), **MODEL))
    new = FrameStore(os.path.join(os.path.dirname(path), "new.duckdb"))
    tell("new", lambda: new.write_video(make_video("v2"), **MODEL))
    schema.MIGRATIONS.append(lambda connection: connection.exec_driver_sql("ALTER TABLE videos ADD COLUMN x INT"))
    tell("older", FrameStore(path).list_videos)
    print(json.dumps(told))
    """
MAY_ONLY_BE_READ = (
    "the file or its folder may only be read here: allow to write to both, or copy the file elsewhere"
)
WAYS = {
    "file": lambda path: [each.chmod(0o444) for each in path.parent.iterdir()],
    "folder": lambda path: path.parent.chmod(0o555),
    "mount": lambda path: None,
}


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps folders and mounts otherwise")
@pytest.mark.parametrize("has_log", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_may_only_be_read_is_searched_and_says_so_on_writing(tmp_path, way, has_log):
    folder = tmp_path / "shelf"
    folder.mkdir()
    path = folder / "store.duckdb"
    store = filled(path)
    if not has_log:
        store.mark_complete("v1")
    assert Path(f"{path}.wal").exists() == has_log
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    WAYS[way](path)
    here = f"'{folder}'"
    shell = f"mount --bind {here} {here} && mount -o remount,ro,bind {here}" if way == "mount" else ""
    try:
        done = run_script(READ_ONLY, path, shell=shell)
    finally:
        folder.chmod(0o755)
    if way == "mount" and any(word in done.stderr for word in ("unshare:", "mount:", "not permitted")):
        pytest.skip("this machine lets nobody mount")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {name: told.pop(name) for name in ("search", "similarities", "list_videos", "read_frames")} == {
        "search": 4,
        "similarities": 4,
        "list_videos": 1,
        "read_frames": 4,
    }
    assert (told.pop("load_index"), told.pop("copy_videos"), told.pop("sql")) == (4, 0, 4)
    assert told.pop("read_marks") == 0
    if way == "file":
        assert told.pop("new") == len("v2")  # it was written
    for name, message in told.items():
        assert message.startswith(f"StoreError: FrameStore('duckdb:///{folder}/"), name
        assert message.endswith(f"; {MAY_ONLY_BE_READ}"), name
        assert "\n" not in message
    assert "cannot bring older tables forward" in told["older"]
    assert {name: (folder / name).read_bytes() for name in before} == before


def is_free(path: Path) -> bool:
    """Tell whether another process could open the file for writing."""
    command = [sys.executable, "-c", "import duckdb, sys; duckdb.connect(sys.argv[1])", path]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def store(tmp_path) -> FrameStore:
    return filled(tmp_path / "store.duckdb")


JUPYSQL = """
    import subprocess, sys, threading
    from IPython.core.interactiveshell import InteractiveShell
    from tests.store.test_files import is_free
    from tests.store.test_store import HOLD_LOCK
    from videolib import FrameStore

    path = sys.argv[1]
    shell = InteractiveShell.instance()
    shell.user_ns |= {"engine": FrameStore(path).engine, "number": 2}
    shell.run_line_magic("load_ext", "sql")
    shell.run_line_magic("config", "SqlMagic.named_parameters = 'enabled'")
    shell.run_line_magic("sql", "engine")
    assert is_free(path), "after %sql engine"
    for statement, count in {
        "SELECT frame_number, frame_data FROM frames": 4,
        "SELECT * FROM frames WHERE frame_number > :number": 2,
        "DESCRIBE frames": 5,
        "CREATE TABLE notes AS SELECT 'mine' AS note": 1,
        "INSERT INTO notes VALUES ('yours')": 1,
        "FROM notes": 2,
        "WITH few AS (FROM notes) SELECT * FROM few": 2,
    }.items():
        result = shell.run_line_magic("sql", statement)
        assert is_free(path), statement
        assert len(result) == len(result.DataFrame()) == count, statement
        assert is_free(path), statement
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    holder.stdout.readline()
    threading.Timer(0.5, holder.communicate, ["let go"]).start()
    assert len(shell.run_line_magic("sql", "FROM notes")) == 2, "after another process"
    holder.wait()
    print("done")
    """


def test_jupysql_lets_go_of_the_file_after_each_statement(store, tmp_path):
    done = run_script(JUPYSQL, tmp_path / "store.duckdb")
    assert "\ndone\n" in done.stdout, done.stdout + done.stderr


def test_a_connection_in_autocommit_mode_holds_the_file_during_statements_only(store, tmp_path):
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert is_free(tmp_path / "store.duckdb")
        result = connection.execute(text("SELECT frame_number FROM frames WHERE frame_number > :n"), {"n": 2})
        assert is_free(tmp_path / "store.duckdb")
        assert sorted(result.scalars()) == [3, 4]
        assert sorted(pd.read_sql("SELECT frame_number FROM frames", connection)["frame_number"]) == [
            1,
            2,
            3,
            4,
        ]
        assert connection.exec_driver_sql("FROM frames").fetchmany(3)[0].video_id == "v1"
        connection.exec_driver_sql("CREATE TABLE notes (note VARCHAR)")
        connection.execute(text("INSERT INTO notes VALUES (:note)"), [{"note": "one"}, {"note": "two"}])
        connection.rollback()  # of nothing
    assert is_free(tmp_path / "store.duckdb")
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("FROM notes").all() == [("one",), ("two",)]


def test_a_transaction_holds_the_file_and_is_taken_back_whole(store, tmp_path):
    with store.engine.connect() as connection:
        connection.exec_driver_sql("DELETE FROM frames")
        assert not is_free(tmp_path / "store.duckdb")
        connection.rollback()
    assert is_free(tmp_path / "store.duckdb")
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM frames WHERE frame_number = 1")
    assert len(store.read_frames("v1")) == 3


def test_the_engine_waits_for_a_lock_as_long_as_the_store_does(store, tmp_path):
    store.retry_seconds = 0.1
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, tmp_path / "store.duckdb"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Exception, match="Could not set lock"):
            store.engine.connect()
        holder.communicate("\n")
    store.engine.connect().close()


def test_a_store_goes_to_another_process_with_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = FrameStore(Path("a ? store.duckdb"), retry_seconds=3)
    store.write_video(make_video(), model="m", dimension=3, every_seconds=1.0)
    sent = pickle.dumps(store)
    monkeypatch.chdir("/")
    copy = pickle.loads(sent)
    assert (copy.url, copy.retry_seconds) == (store.url, store.retry_seconds)
    assert len(copy.list_videos()) == 1


def test_a_store_in_memory_stays_where_it_is():
    with pytest.raises(StoreError, match="lives in this process alone: use a file or a server"):
        pickle.dumps(FrameStore(":memory:"))


def test_an_interrupt_while_duckdb_looks_at_the_rows_stays_one(store):
    def interrupt(frame, event, _):
        if frame.f_code.co_name == "__str__" and frame.f_code.co_filename == np._core._dtype.__file__:
            raise KeyboardInterrupt

    before, tracer = store.list_videos(), sys.gettrace()
    sys.settrace(interrupt)  # DuckDB asks each column's type for its name
    try:
        with pytest.raises(KeyboardInterrupt, match="broken off, and what is stored is whole"):
            store.write_video(make_video("b"), model="tiny", dimension=4, every_seconds=1)
    finally:
        sys.settrace(tracer)
    pd.testing.assert_frame_equal(store.list_videos(), before)
