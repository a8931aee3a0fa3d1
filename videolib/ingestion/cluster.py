"""`Cluster`: the workers of `ingest_videos` on the machines of a Ray cluster, by Ray Core (https://docs.ray.io)."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from videolib.addresses import is_address
from videolib.cores import available_cores
from videolib.errors import ModelError, StoreError, VideoReadError
from videolib.extras import missing_extra
from videolib.ingestion.worker import END_SECONDS, Opened, Part, Sampled, Worker, Written
from videolib.progress import tqdm
from videolib.store import FrameStore

if TYPE_CHECKING:
    from videolib.encoding import Encoder

PART_FRAMES = 1024  # of a video that several workers write; whole batches
TASKS_A_WORKER = 4  # two are opened while two are written
TRIES = 4  # of a task whose worker ends
LOOK_SECONDS = 2.0  # between two looks at which machines there are
OBJECT_BYTES = 100 << 20  # for Ray's objects, which hold no frame here


class Remote:
    """What runs on a machine of the cluster: one worker with its encoder, for a GPU or for the whole machine."""

    def __init__(self, encoder: Encoder, store: FrameStore, how: Sampled, place: int, of: int) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if 1 < of <= len(cores):  # several on one machine share its cores
            os.sched_setaffinity(0, cores[place * len(cores) // of : (place + 1) * len(cores) // of])
        self._worker = Worker(encoder, store, how).__enter__()

    def model(self) -> tuple[str, int]:
        return self._worker.encoder.model, self._worker.encoder.dimension

    def open(self, *arguments: Any) -> Opened:
        return self._worker.open(*arguments)

    def write(self, *arguments: Any) -> Written:
        try:
            return self._worker.write(*arguments)
        except StoreError as error:  # as what any machine can unpack
            raise StoreError(str(error)) from None

    def frames_written(self) -> int:
        return self._worker.frames_written()

    def stop(self) -> None:
        self._worker.stop()


@dataclass(eq=False)
class _Task:
    method: str
    arguments: tuple[Any, ...]
    future: Future[Any] = field(default_factory=Future)
    tries: int = 0


@dataclass(eq=False)
class _Machine:
    """A worker of the cluster, from when it is asked for."""

    node_id: str
    name: str
    actor: Any
    bar: Any
    greeting: Any  # a reference: until it comes, the worker is not ready
    running: dict[Any, _Task] = field(default_factory=dict)
    count: Any = None  # a reference
    frames: int = 0

    def has_room(self, task: _Task) -> bool:
        """Tell whether it may take a task: one whose worker ended before has a worker alone, and takes nobody along."""
        if self.greeting is not None:
            return False
        if task.tries or any(each.tries for each in self.running.values()):
            return not self.running
        return len(self.running) < TASKS_A_WORKER


class Cluster:
    """All machines of a cluster, those that come later, too; what a machine that is lost was at, others do again."""

    def __init__(
        self, address: str, encoder: Encoder, store: FrameStore, how: Sampled, *, progress: bool
    ) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise ImportError(missing_extra("a cluster needs Ray", "ray")) from error
        self._ray: Any = ray
        self._address = address
        self._encoder, self._store, self._how, self._progress = encoder, store, how, progress
        self._machines: list[_Machine] = []
        self._queue: deque[_Task] = deque()
        self._homes: dict[str, str] = {}  # the machine that opened a source
        self._frames, self._looked = 0, 0.0
        self._was_running = ray.is_initialized()

    @property
    def at_once(self) -> int:
        """Videos, or parts of them, that are written."""
        return max(1, len(self._machines)) * TASKS_A_WORKER // 2

    def __enter__(self) -> Cluster:
        if not self._was_running:
            self._connect()
        try:
            self._look()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            self._ray.init(self._address, **quiet)
        except ConnectionError:
            if self._address != "auto":
                raise
            cores = available_cores()
            self._ray.init(
                "local", num_cpus=cores, object_store_memory=OBJECT_BYTES, include_dashboard=False, **quiet
            )

    def __exit__(self, *_error: object) -> None:
        for machine in self._machines:
            machine.bar.close()
            self._ray.kill(machine.actor)
        if not self._was_running:
            self._ray.shutdown()

    def stop(self, writing: Iterable[Future[Any]]) -> None:
        for machine in self._machines:
            machine.actor.stop.remote()
        wanted = set(writing)
        tasks = [pair for machine in self._machines for pair in machine.running.items()]
        references = [reference for reference, task in tasks if task.future in wanted]
        if references:
            self._ray.wait(references, num_returns=len(references), timeout=END_SECONDS)
        self._count(seconds=1)

    def frames_written(self) -> int:
        return self._frames + sum(machine.frames for machine in self._machines)

    def open(self, source: str, content_id: str | None, stored: frozenset[str]) -> Future[Opened]:
        return self._put(_Task("open", (source, content_id, stored)))

    def write(self, source: str, video_id: str, is_new: bool, part: Part | None) -> Future[Written]:
        return self._put(_Task("write", (source, video_id, is_new, part)))

    def split(self, opened: Opened) -> list[Part | None]:
        """Split a long video by time, if it can be, and if more than one machine is there."""
        count = opened.frame_count
        if not opened.is_divisible or count <= PART_FRAMES or len(self._machines) < 2:
            return [None]
        return [(first, min(first + PART_FRAMES, count + 1)) for first in range(1, count + 1, PART_FRAMES)]

    def wait(self, running: Iterable[Future[Any]], seconds: float) -> set[Future[Any]]:
        """Look after the machines for a while; returns what is done."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._look()
        self._hand_out()
        self._count()
        waiting = {reference: machine for machine in self._machines for reference in machine.running}
        waiting |= {machine.greeting: machine for machine in self._machines if machine.greeting is not None}
        if not waiting:
            time.sleep(seconds)
        for reference in self._ray.wait(list(waiting), timeout=seconds)[0] if waiting else []:
            machine = waiting[reference]
            if machine in self._machines:
                self._receive(machine, reference)
        if not (self._queue or any(machine.running for machine in self._machines)):
            self._count(seconds=END_SECONDS)  # the last frames, too
        return {future for future in running if future.done()}

    def _put(self, task: _Task) -> Future[Any]:
        self._queue.append(task)
        return task.future

    def _look(self) -> None:
        """Have a worker on each machine, or for each GPU of it."""
        self._looked = time.monotonic()
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        here = socket.gethostname()
        hosts = {node["NodeManagerHostname"] for node in nodes}
        if self._store.url.startswith("duckdb") and hosts - {here}:
            raise StoreError(
                f"store must be on a server where {', '.join(sorted(hosts - {here}))} write to it too, got "
                f"{self._store!r}, a file of {here}: use SingleStore, or leave cluster out"
            )
        have = Counter(machine.node_id for machine in self._machines)
        wanted = {node["NodeID"]: max(1, int(node["Resources"].get("GPU", 0))) for node in nodes}
        of_host = Counter(
            node["NodeManagerHostname"] for node in nodes for _ in range(wanted[node["NodeID"]])
        )
        place: Counter[str] = Counter()
        for node in nodes:
            count, host = wanted[node["NodeID"]], node["NodeManagerHostname"]
            for number in range(count):
                if number >= have[node["NodeID"]]:
                    self._employ(node, count, place[host], of_host[host])
                place[host] += 1

    def _employ(self, node: dict[str, Any], count: int, place: int, of: int) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        resources = node["Resources"]
        actor = (
            self._ray.remote(Remote)
            .options(
                num_cpus=max(1, int(resources["CPU"] // count)),
                num_gpus=1 if resources.get("GPU", 0) >= 1 else 0,
                max_concurrency=TASKS_A_WORKER + 2,  # and who asks how far it is, or stops it
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote(self._encoder, self._store, self._how, place, of)
        )
        name = node["NodeManagerHostname"] + (f" {place + 1}" if of > 1 else "")
        bar = tqdm(desc=name, unit="frame", disable=not self._progress)
        self._machines.append(_Machine(node["NodeID"], name, actor, bar, actor.model.remote()))

    def _hand_out(self) -> None:
        """Give each task to the machine that has opened its video, else to the one with the least to do."""
        for task in list(self._queue):
            home = self._homes.get(task.arguments[0])
            machines = self._machines
            if is_address(task.arguments[0]):  # which another machine would have to download again
                machines = [each for each in machines if each.node_id == home] or machines
            free = [machine for machine in machines if machine.has_room(task)]
            if free:
                machine = min(free, key=lambda each: (each.node_id != home, len(each.running)))
                self._queue.remove(task)
                self._homes[task.arguments[0]] = machine.node_id
                machine.running[getattr(machine.actor, task.method).remote(*task.arguments)] = task

    def _count(self, seconds: float = 0) -> None:
        """Ask each machine how many frames it has written; what comes within so many seconds counts now."""
        machines = [machine for machine in self._machines if machine.greeting is None]
        for machine in machines:
            if machine.count is None or seconds:
                machine.count = machine.actor.frames_written.remote()
            if not self._ray.wait([machine.count], timeout=seconds)[0]:
                continue
            try:
                machine.frames = self._ray.get(machine.count)
            except self._ray.exceptions.RayError:  # its tasks tell that it is lost
                continue
            machine.count = None
            machine.bar.update(machine.frames - machine.bar.n)

    def _receive(self, machine: _Machine, reference: Any) -> None:
        """Take what a task has come to, or the machine's greeting; what a lost machine was at begins again."""
        errors = self._ray.exceptions
        task = machine.running.pop(reference, None)
        try:
            result = self._ray.get(reference)
        except errors.RayTaskError as error:
            if task is None:
                raise error.cause from None
            task.future.set_exception(error.cause)
        except (errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError) as error:
            self._lose(machine, task, str(error))
        else:
            if task is not None:
                task.future.set_result(result)
            else:
                machine.greeting = None
                self._check_model(result)

    def _lose(self, machine: _Machine, task: _Task | None, reason: str) -> None:
        self._machines.remove(machine)
        machine.bar.close()
        self._frames += machine.frames
        for each in (*machine.running.values(), *([task] if task else [])):
            each.tries += 1
            if each.tries == TRIES:
                each.future.set_exception(VideoReadError(f"its worker ended {TRIES} times: {reason}"))
                continue
            if each.method == "write":  # some of it may be stored
                source, video_id, _, part = each.arguments
                each.arguments = source, video_id, False, part
            self._queue.appendleft(each)

    def _check_model(self, model: tuple[str, int]) -> None:
        expected = self._encoder.model, self._encoder.dimension
        if model != expected:
            raise ModelError(
                f"encoder must be the same on all machines, got {model[0]!r} instead of {expected[0]!r} on one: have "
                "the same weights there"
            )
