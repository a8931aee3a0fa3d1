"""`ingest_videos`: a folder, a pattern or a list of videos into a store, or what is missing of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from videolib.ingestion.cluster import Cluster
from videolib.ingestion.run import Run
from videolib.ingestion.sources import Source, find_sources
from videolib.ingestion.worker import END_SECONDS, Opened, Part, Sampled, Worker, Written
from videolib.progress import tqdm
from videolib.store import FrameStore
from videolib.types import Sampling

if TYPE_CHECKING:
    from videolib.encoding import Encoder

WRITTEN_AT_ONCE = 2  # videos: the end of one and the beginning of the next share the cores


def ingest_videos(
    sources: Source | Iterable[Source],
    encoder: Encoder,
    store: FrameStore,
    *,
    recursive: bool = True,
    every_seconds: float = 1.0,
    sampling: Sampling = "interval",
    reuse_stills: bool = True,
    replace: bool = False,
    progress: bool = True,
    cluster: str | None = None,
) -> pd.DataFrame:
    """Ingest many videos, each as `ingest` does; one that cannot be read stops none of the others.

    Called again it does only what is missing: what is stored whole is told by its content, and an address that
    was stored under just that name is not fetched again. Files of the same content are stored once, under the first
    source. Addresses are downloaded ahead, two at a time, until 4 GB wait for their turn.

    An interrupt (the stop button, SIGINT, SIGTERM) ends it with a line that says what is stored.

    Parameters
    ----------
    sources
        A folder; a pattern such as ``talks/**/*.mp4``; a text file with a path or an address a line, or a CSV file
        with them in a column source, path, url, address or file, relative to the file's own folder; one video; or
        several of all these. In a folder, and by a pattern that does not name another suffix, files count whose
        suffix is that of a video, and which are not hidden. Whether it is a video its content decides.
    encoder, store
        What embeds the frames, and where they go.
    recursive
        Take folders with all that is below them.
    every_seconds, sampling, reuse_stills, replace
        As `ingest` takes them.
    progress
        Show one bar for all, in frames: how many a second, and how long it will take, by the size of the files; of a
        cluster also one for each machine.
    cluster
        The address of a Ray cluster, whose machines share the work, or "auto" for the one that this machine is part of,
        else Ray on this machine alone. Every machine needs videolib, the model's weights, the files at the same paths,
        and a store that it can reach. The encoder is made there as it was here; ``device="auto"`` takes its GPU. Long
        videos are split by time. What a machine was at that is lost, another does again.

    Returns
    -------
    A row for each source, in their order: source; video_id (None where it failed), the key to its frames; frames
    that are stored; seconds that the video lasts (NaN where it failed); state: "stored" (now), "already stored",
    "duplicate of …" with the source that holds the same, or "failed"; error: why it failed, or what of it could not
    be read, else "".

    Raises
    ------
    ValueError
        If sources lead to no video, or another argument is wrong.
    ImportError
        If cluster is given and Ray is not installed.
    ModelError
        If a machine of the cluster has other weights.
    StoreError
        If the store holds another model's embeddings, is not there, or has no room: nothing more can be stored then. Or
        if it is a DuckDB file, and the cluster has other machines than this one.
    """
    found = find_sources(sources, recursive=recursive)
    how = Sampled(every_seconds, sampling, reuse_stills)
    machines: _Here | Cluster = _Here(encoder, store, how)
    if cluster is not None:
        machines = Cluster(cluster, encoder, store, how, progress=progress)
    with _terminated_as_interrupted(), machines as workers:
        run = Run(found, encoder, store, how, workers, replace=replace)
        with tqdm(desc=f"0 of {len(found)} videos", unit="frame", disable=not progress) as bar:
            run.work(bar)
    return run.table()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Have SIGTERM interrupt, too, where nobody else handles it."""
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL):
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Here:
    """The worker of this machine, and a thread for each of its tasks."""

    at_once = WRITTEN_AT_ONCE

    def __init__(self, encoder: Encoder, store: FrameStore, how: Sampled) -> None:
        self._worker = Worker(encoder, store, how)

    def __enter__(self) -> _Here:
        self._worker.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.__exit__(*error)

    def stop(self, writing: Iterable[Future[Any]]) -> None:
        self._worker.stop()
        wait(writing, END_SECONDS)

    def frames_written(self) -> int:
        return self._worker.frames_written()

    def open(self, *arguments: Any) -> Future[Opened]:
        return _in_thread(self._worker.open, *arguments)

    def split(self, opened: Opened) -> list[Part | None]:
        return [None]

    def write(self, *arguments: Any) -> Future[Written]:
        return _in_thread(self._worker.write, *arguments)

    def wait(self, running: Iterable[Future[Any]], seconds: float) -> set[Future[Any]]:
        return wait(running, seconds, FIRST_COMPLETED).done


def _in_thread(function: Callable[..., Any], *arguments: object) -> Future[Any]:
    """Call a function in a thread that nobody waits for at the end: a server may be silent for half a minute."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
