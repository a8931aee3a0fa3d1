"""Damaged stores, and what comes out of each method of them: `python -m tests.store.damaged_stores`.

Each store is small and seeded. Every variant is tried in a process of its own, so that what ends the process, or
hangs, is counted too.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np

from tests.conftest import make_frames, make_video
from videolib import FrameStore, StoreError

DIMENSION = 8
MODEL = {"model": "tiny", "dimension": DIMENSION, "every_seconds": 1.0}
QUERY = np.ones(DIMENSION)
FRAMES = make_frames("v1", np.random.default_rng(0).normal(size=(40, DIMENSION)))
SECONDS = 20  # for all methods of one variant

METHODS: dict[str, Callable[[FrameStore], object]] = {
    "list_videos": lambda store: store.list_videos(),
    "search": lambda store: store.search(QUERY, 50),
    "search part": lambda store: store.search(QUERY, 3, video_id="v1", start_seconds=2),
    "read_frames": lambda store: store.read_frames("v1"),
    "read_batches": lambda store: list(store.read_batches("v1")),
    "read_frame_numbers": lambda store: store.read_frame_numbers("v1"),
    "load_index": lambda store: store.load_index().search(QUERY),
    "check_room": lambda store: store.check_room(5),
    "compact": lambda store: store.compact(),
    "write_video": lambda store: store.write_video(make_video("v2"), **MODEL),
    "write_frames": lambda store: store.write_frames(FRAMES),
    "mark_complete": lambda store: store.mark_complete("v1"),
    "delete_video": lambda store: store.delete_video("v1"),
}

STATEMENTS = {
    "no videos": "DROP TABLE videos",
    "no frames": "DROP TABLE frames",
    "no versions": "DROP TABLE videolib_schema",
    "another program's videos": "DROP TABLE videos; CREATE TABLE videos (id INT); "
    "INSERT INTO videos VALUES (1)",
    "another program's empty videos": "DROP TABLE videos; CREATE TABLE videos (id INT)",
    "another program's frames": "DROP TABLE frames; CREATE TABLE frames (id INT)",
    "another program's tables": "DROP TABLE frames; DROP TABLE videos; CREATE TABLE frames (n INT); "
    "CREATE TABLE videos (n INT)",
    "another program's versions": "DROP TABLE videolib_schema; CREATE TABLE videolib_schema (n INT)",
    "versions as text": "DROP TABLE videolib_schema; "
    "CREATE TABLE videolib_schema AS SELECT 'a' AS name, 'new' AS version",
    "a newer version": "UPDATE videolib_schema SET version = 99",
    "a version below one": "UPDATE videolib_schema SET version = -3",
    "a view of frames": "ALTER TABLE frames RENAME TO f; CREATE VIEW frames AS SELECT * FROM f",
    "a view that fails": "CREATE TABLE g (a INT); DROP TABLE videos; CREATE VIEW videos AS SELECT * FROM g; "
    "DROP TABLE g",
    "no keys": "CREATE TABLE f AS FROM frames; DROP TABLE frames; ALTER TABLE f RENAME TO frames",
    "no pictures": "ALTER TABLE frames DROP COLUMN frame_data",
    "no embeddings": "ALTER TABLE frames DROP COLUMN embedding_data",
    "embeddings as text": "ALTER TABLE frames ALTER embedding_data TYPE VARCHAR",
    "embeddings as lists": "ALTER TABLE frames ALTER embedding_data TYPE FLOAT[]",
    "embeddings of doubles": "ALTER TABLE frames ALTER embedding_data TYPE DOUBLE[8]",
    "embeddings that are null": "ALTER TABLE frames ALTER embedding_data DROP NOT NULL; "
    "UPDATE frames SET embedding_data = NULL",
    "embeddings of another length": "CREATE TABLE f AS SELECT * REPLACE "
    "(embedding_data[1:4]::FLOAT[4] AS embedding_data) FROM frames; "
    "DROP TABLE frames; ALTER TABLE f RENAME TO frames",
    "embeddings of NaN": "UPDATE frames SET embedding_data = ['nan'::FLOAT,0,0,0,0,0,0,0]::FLOAT[8]",
    "pictures that are null": "ALTER TABLE frames ALTER frame_data DROP NOT NULL; UPDATE frames SET frame_data = NULL",
    "pictures as text": "ALTER TABLE frames ALTER frame_data TYPE VARCHAR",
    "times as text": "ALTER TABLE frames ALTER timestamp_seconds TYPE VARCHAR",
    "a dimension of another model": "UPDATE videos SET dimension = 512",
    "a dimension of zero": "UPDATE videos SET dimension = 0",
    "two models": "INSERT INTO videos BY NAME "
    "SELECT * REPLACE ('v9' AS video_id, 'other' AS model, 4 AS dimension) FROM videos",
    "titles that are null": "ALTER TABLE videos ALTER title DROP NOT NULL; UPDATE videos SET title = NULL",
    "complete as text": "ALTER TABLE videos ALTER complete TYPE VARCHAR",
    "ids as numbers": "UPDATE videos SET video_id = '7'; ALTER TABLE videos ALTER title TYPE VARCHAR",
}


def make_store(path: Path) -> None:
    store = FrameStore(path)
    store.write_video(make_video("v1"), **MODEL)
    store.write_frames(FRAMES.assign(frame_data=[bytes([n]) * 9000 for n in range(len(FRAMES))]))
    store.mark_complete("v1")


def variants(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the path of each damaged store; the last one is not there any more."""
    sound = folder / "sound.duckdb"
    make_store(sound)
    data, dice = sound.read_bytes(), random.Random(0)

    def damaged(name: str, content: bytes, log: bytes | None = None) -> tuple[str, Path]:
        path = folder / f"{name.replace(' ', '_')}.duckdb"
        path.write_bytes(content)
        if log is not None:
            Path(f"{path}.wal").write_bytes(log)
        return name, path

    for size in (0, 1, 100, 4096, 8192, 12288, 100_000, len(data) // 2, len(data) - 4096, len(data) - 1):
        yield damaged(f"cut to {size}", data[:size])
    for number in range(36):
        changed = bytearray(data)
        for _ in range(1 + number % 4):
            changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        yield damaged(f"bits {number}", bytes(changed))
    blocks = range(12288, len(data), 262144)
    for number in range(16):
        changed = bytearray(data)
        start = dice.choice(blocks) + dice.choice([0, 8, 4096, 100_000])
        part = bytes(4096) if number % 2 else dice.randbytes(4096)
        changed[start : start + len(part)] = part
        yield damaged(f"block {number}", bytes(changed[: len(data)]))
    yield damaged("text", b"not a database " * 1000)
    yield damaged("sqlite", b"SQLite format 3\0" + bytes(8000))
    yield damaged("longer", data + dice.randbytes(5000))

    logged = FrameStore(sound)
    logged.write_frames(FRAMES.iloc[:5])
    base, log = sound.read_bytes(), Path(f"{sound}.wal").read_bytes()
    for size in (0, 1, 50, len(log) // 2, len(log) - 1):
        yield damaged(f"log cut to {size}", base, log[:size])
    for number in range(8):
        changed = bytearray(log)
        changed[dice.randrange(len(log))] ^= 1 << dice.randrange(8)
        yield damaged(f"log bits {number}", base, bytes(changed))
    yield damaged("log of another", data, dice.randbytes(3000))

    for name, statements in STATEMENTS.items():
        path = folder / f"{name.replace(' ', '_')}.duckdb"
        path.write_bytes(data)
        with duckdb.connect(str(path)) as connection:
            connection.execute(statements)
        yield name, path
    yield "a folder", folder
    unwritable = folder / "nowhere" / "store.duckdb"
    yield "no folder", unwritable


def is_told(error: Exception) -> bool:
    """Whether it is a sentence of videolib: a StoreError, or a ValueError that it raised itself."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return isinstance(error, StoreError) or (
        type(error) is ValueError and "videolib" in Path(frame.filename).parts
    )


def try_methods(path: Path) -> dict[str, str]:
    """What each method does: "" where it succeeds, else the error's name and message; a told one begins with "+"."""
    outcome = {}
    for name, call in METHODS.items():
        try:
            call(FrameStore(path, retry_seconds=0))
            outcome[name] = ""
        except Exception as error:
            kind = f"{type(error).__module__}.{type(error).__name__}"
            outcome[name] = f"+{error}" if is_told(error) else f"{kind}: {error}"[:300]
    return outcome


def try_apart(path: Path) -> dict[str, str]:
    """As `try_methods`, in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(SECONDS)
        with os.fdopen(writing, "w") as pipe:
            json.dump(try_methods(path), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        return {
            "process": f"ended by signal {os.WTERMSIG(status)}"
            if os.WIFSIGNALED(status)
            else f"status {status}"
        }
    return dict(json.loads(text))


def raw_errors(outcome: dict[str, str]) -> dict[str, str]:
    return {method: text for method, text in outcome.items() if text and not text.startswith("+")}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        count, kinds = Counter[str](), Counter[str]()
        for name, path in variants(Path(folder)):
            outcome = try_apart(path)
            raw = raw_errors(outcome)
            count["raw" if raw else "told" if any(outcome.values()) else "right"] += 1
            kinds.update(text.partition(":")[0] for text in set(raw.values()))
            print(json.dumps({"name": name, "raw": raw, "outcome": outcome}), flush=True)
        print(json.dumps({"stores": sum(count.values()), **count, "kinds": kinds}))


if __name__ == "__main__":
    main()
