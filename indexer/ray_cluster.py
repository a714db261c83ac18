"""Embedding on the machines of a Ray cluster: workers embed shards, this process stores them in the collection.

Every node has its worker, which loads the encoders once and reads pictures in as many threads as it has cores. Workers
ask for a fraction of a CPU and are counted by the nodes that are alive: a pool of fixed size would wait for ever for
the CPUs of a node that died. A shard whose worker died goes to another one; nothing else of the run is lost.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from indexer.datasets import Dataset, Item
from indexer.embedding import Embedded, EmbeddedPicture, Embedder, ShippedVectors, Task
from indexer.errors import ClusterError
from indexer.shards import SHARD, Shard, ShardFolder, cut
from retrieval.collection import CollectionWriter, SpaceDefinition, tower_folder
from retrieval.collection.folder import SHARDS
from retrieval.errors import RetrievalError
from retrieval.headers import examine
from retrieval.large_pictures import RUN_PIXELS, LargePictures
from retrieval.sources import open_stored
from retrieval.spaces import Space, open_space

log = logging.getLogger(__name__)

LOCAL = "local"
"""In place of an address: a cluster of this machine alone, started for the run."""
_CPUS = 0.5
"""What a node's workers ask Ray for together: little, so that a node that does other work takes them as well."""
_ATTEMPTS = 4
"""Workers that may die with the same shard, or lose its files, before the run ends."""
_POLL_SECONDS = 1.0
_CLOSE_SECONDS = 5.0
"""How long workers may take to delete their files before they are ended."""


class RayNotInstalledError(ClusterError):
    """Ray is not installed."""


class RayUnreachableError(ClusterError):
    """There is no Ray cluster at an address, or it refuses this process."""


class WorkersLostError(ClusterError):
    """No node can embed pictures, or every worker that embedded one shard has died."""


@dataclass(frozen=True)
class _Job:
    """What a worker needs: spaces with the files of their encoders, where pictures lie, where shards are stored."""

    release: str
    definitions: tuple[SpaceDefinition, ...]
    towers: Mapping[str, Mapping[str, bytes]]
    source: Path
    kind: str
    shards: str
    shipped: frozenset[str]
    required: bool


@dataclass(frozen=True)
class _ShardVectors:
    """Shipped vectors of a shard's pictures by file, read where the data set was opened."""

    spaces: frozenset[str]
    required: bool
    by_file: Mapping[str, Mapping[str, NDArray[Any]]]

    def __contains__(self, item: Item) -> bool:
        return item.file in self.by_file

    def vectors(self, item: Item) -> Mapping[str, NDArray[Any]]:
        return self.by_file.get(item.file, {})


class _IsolatedDecoding(LargePictures):
    """Decodes every picture in another process, so that one that kills its process is found and rejected."""

    def takes(self, data: bytes, max_pixels: int) -> bool:
        examine(data, max_pixels)
        return True


class Worker:
    """Ray's actor on a node. share: which of how many workers of the node it is; each takes its part of the cores."""

    def __init__(self, job: _Job, share: tuple[int, int]) -> None:
        self._job = job
        self._opened = ExitStack()
        at, workers = share
        if workers > 1:
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, cores[at::workers] or cores)

    def start(self) -> None:
        """Load the encoders. Raises WorkersLostError for another release, and what opening spaces and sources does."""
        job = self._job
        if job.release != _release():
            raise WorkersLostError(f"has kvasir-retrieval {_release()}, not {job.release}; install the same everywhere")
        self._folder = folder = Path(self._opened.enter_context(tempfile.TemporaryDirectory(prefix="kvasir-")))
        for name, files in job.towers.items():
            tower_folder(folder, name).mkdir(parents=True)
            for file, data in files.items():
                (tower_folder(folder, name) / file).write_bytes(data)
        self._spaces = {space.name: open_space(folder, space, "indexing") for space in job.definitions}
        for space in self._spaces.values():
            space.warm_up()
        self._source = open_stored(job.source, job.kind)
        self._shards = ShardFolder(job.shards)

    def embed(self, shard: Shard, shipped: Mapping[str, Mapping[str, NDArray[Any]]], isolated: bool) -> None:
        """Embed and store a shard; isolated: decode in a subprocess. Raises ShardError, DiskFullError, EncoderError."""
        large = _IsolatedDecoding() if isolated else LargePictures(least_pixels=RUN_PIXELS)
        vectors = _ShardVectors(self._job.shipped, self._job.required, shipped) if self._job.shipped else None
        embedder = Embedder(lambda item: self._source.read(item.file), self._spaces, self._folder, vectors, large)
        try:
            self._shards.store(shard, [made for batch in embedder.embedded(shard.tasks) for made in batch])
        finally:
            large.stop()

    def close(self) -> None:
        """Delete the files of the encoders: Ray kills workers, so nothing of theirs runs at exit."""
        self._opened.close()


@dataclass(frozen=True, eq=False)
class _Placed:
    """A worker on a node."""

    node: str
    share: tuple[int, int]
    actor: Any


@dataclass
class RayCluster:
    """A connected cluster, see `ray_cluster`.

    shards: location of finished shards, which every node can reach; None: in the collection's folder. workers: on each
    node. size: pictures in a shard. say: takes lines for a person.
    """

    shards: str | None = None
    workers: int = 1
    size: int = SHARD
    say: Callable[[str], None] = field(default=log.info)

    def embedded(
        self,
        dataset: Dataset,
        tasks: Sequence[Task],
        writer: CollectionWriter,
        spaces: Sequence[Space],
        shipped: ShippedVectors | None,
    ) -> Generator[Embedded, None, None]:
        """The results of tasks, shard by shard in order; those that an earlier run has finished are not made again.

        Raises WorkersLostError, ShardError and what a worker's encoders and disk raise.
        """
        definitions = tuple(space.definition for space in spaces)
        location = self.location(writer)
        folder = ShardFolder(location)
        shards = cut(dataset.items, tasks, definitions, self.size)
        finished = folder.finished()
        job = _Job(
            _release(),
            definitions,
            {name: files for name in (space.name for space in definitions) if (files := _tower(writer.path, name))},
            dataset.source,
            dataset.kind,
            location,
            shipped.spaces if shipped is not None else frozenset(),
            shipped is not None and shipped.required,
        )
        run = _Run(job, shards, finished, shipped, self)
        try:
            for at, shard in enumerate(shards):
                results = run.wait_for(at, folder)
                yield [(task, _with_copies(result, writer)) for task, result in results]
                folder.delete(shard)
            folder.clear()
        finally:
            run.stop()

    def location(self, writer: CollectionWriter) -> str:
        """The folder of a collection's shards; a location that several collections share has one for each."""
        if self.shards is None:
            return str(writer.path / SHARDS)
        mark = hashlib.sha256(f"{writer.path}\n{writer.manifest.created}".encode()).hexdigest()[:12]
        return f"{self.shards.rstrip('/')}/kvasir-{writer.path.name}-{mark}"


class _Run:
    """The shards of one run and the workers that embed them."""

    def __init__(
        self,
        job: _Job,
        shards: Sequence[Shard],
        finished: frozenset[str],
        shipped: ShippedVectors | None,
        cluster: RayCluster,
    ) -> None:
        self._ray = _import_ray()
        self._shards = shards
        self._shipped = shipped
        self._cluster = cluster
        self._job = self._ray.put(job)
        self._waiting = deque(at for at, shard in enumerate(shards) if shard.name not in finished)
        self._done = {at for at, shard in enumerate(shards) if shard.name in finished}
        if self._done:
            cluster.say(f"{len(self._done):,} of {len(shards):,} shards were finished by an earlier run")
        self._attempts: Counter[int] = Counter()
        self._suspects: set[int] = set()  # whose workers died: perhaps of a picture
        self._placed: list[_Placed] = []
        self._idle: list[_Placed] = []
        self._running: dict[Any, tuple[int | None, _Placed]] = {}
        self._deaths: Counter[str] = Counter()
        self._excluded: dict[str, str] = {}

    def wait_for(self, at: int, folder: ShardFolder) -> Embedded:
        """The results of one shard, while the next ones are embedded."""
        self._advance(0)  # so that workers that have ended a shard go on while this one is stored
        while True:
            while at not in self._done:
                self._advance(_POLL_SECONDS)
            if (results := folder.load(self._shards[at])) is not None:
                return results
            self._done.discard(at)
            self._requeue(
                at, f"its files are not in {folder.location} or are damaged; every node must reach that place"
            )

    def stop(self) -> None:
        """End the workers."""
        self._end(self._placed)

    def _end(self, workers: Sequence[_Placed]) -> None:
        closing = [worker.actor.close.remote() for worker in workers]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_SECONDS)
        for worker in workers:
            self._ray.kill(worker.actor)

    def _advance(self, seconds: float) -> None:
        """Wait for one call to end, and give the workers more to do."""
        if not self._waiting and not self._running:
            return
        self._place()
        self._submit()
        for reference in self._ray.wait(list(self._running), timeout=seconds)[0]:
            at, worker = self._running.pop(reference)
            try:
                self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                cause = error.cause if isinstance(error.cause, RetrievalError) else None
                if at is not None:
                    raise cause or ClusterError(f"a worker failed: {error.cause!r}") from error
                self._exclude(worker, str(cause or repr(error.cause)))
            except (self._ray.exceptions.RayActorError, self._ray.exceptions.ActorUnschedulableError) as error:
                self._on_worker_death(at, worker, error)
            else:
                self._idle.append(worker)
                if at is None:
                    self._idle.append(worker)  # its next shard waits with it, so that it never waits for one
                else:
                    self._done.add(at)
                    self._deaths[worker.node] = 0
        self._submit()

    def _place(self) -> None:
        """Start the workers of nodes that have none, and forget those of nodes that died."""
        alive = {
            node["NodeID"]: node["Resources"]
            for node in self._ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0) > 0
        }
        self._idle = [worker for worker in self._idle if worker.node in alive]
        self._placed = [worker for worker in self._placed if worker.node in alive or self._is_running(worker)]
        if not alive.keys() - self._excluded.keys():
            reasons = "; ".join(self._excluded.values()) or "no node has a CPU"
            raise WorkersLostError(f"no node of the cluster can embed pictures: {reasons}")
        count = self._cluster.workers
        present = {(worker.node, worker.share) for worker in self._placed}
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        for node in sorted(alive.keys() - self._excluded.keys()):
            gpus = min(1.0, alive[node].get("GPU", 0) / count)
            for share in ((number, count) for number in range(count)):
                if (node, share) in present:
                    continue
                actor = (
                    self._ray.remote(Worker)
                    .options(num_cpus=_CPUS / count, num_gpus=gpus, scheduling_strategy=strategy(node, soft=False))
                    .remote(self._job, share)
                )
                worker = _Placed(node, share, actor)
                self._placed.append(worker)
                self._running[actor.start.remote()] = None, worker

    def _is_running(self, worker: _Placed) -> bool:
        return any(other is worker for _, other in self._running.values())

    def _submit(self) -> None:
        while self._idle and self._waiting:
            at, worker = self._waiting.popleft(), self._idle.pop()
            shard = self._shards[at]
            shipped = {}
            if self._shipped is not None:
                wanted = [task.item for task in shard.tasks if task.wanted & self._shipped.spaces]
                shipped = {item.file: self._shipped.vectors(item) for item in wanted if item in self._shipped}
            reference = worker.actor.embed.remote(shard, shipped, isolated=at in self._suspects)
            self._running[reference] = at, worker

    def _exclude(self, worker: _Placed, reason: str) -> None:
        self._end([worker])
        self._excluded[worker.node] = f"node {worker.node[:8]}: {reason}"
        self._cluster.say(f"warning: {self._excluded[worker.node]}")
        self._placed = [other for other in self._placed if other is not worker]

    def _on_worker_death(self, at: int | None, worker: _Placed, error: Exception) -> None:
        """Take a dead worker off the list; its shard is embedded by another."""
        if any(other is worker for other in self._placed):
            self._placed = [other for other in self._placed if other is not worker]
            self._idle = [other for other in self._idle if other is not worker]
            self._deaths[worker.node] += 1
            self._cluster.say(f"warning: a worker on node {worker.node[:8]} died; its shards go to others")
        if self._deaths[worker.node] >= _ATTEMPTS:
            self._excluded[worker.node] = f"node {worker.node[:8]}: its workers die ({_first_line(error)})"
        if at is not None:
            self._suspects.add(at)
            self._requeue(at, _first_line(error))

    def _requeue(self, at: int, reason: str) -> None:
        self._attempts[at] += 1
        files = self._shards[at].tasks
        if self._attempts[at] >= _ATTEMPTS:
            raise WorkersLostError(
                f"the shard from {files[0].item.file} to {files[-1].item.file} failed {_ATTEMPTS} times ({reason})"
            )
        self._waiting.appendleft(at)


@contextmanager
def ray_cluster(
    address: str,
    shards: str | None = None,
    *,
    workers: int = 1,
    size: int = SHARD,
    say: Callable[[str], None] = log.info,
) -> Iterator[RayCluster]:
    """A connection to a Ray cluster, or one of this machine alone for LOCAL; ended with the block where it is new.

    The other arguments: see RayCluster. Raises RayNotInstalledError, RayUnreachableError.
    """
    ray = _import_ray()
    connected = ray.is_initialized()
    if not connected:
        options: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
        try:
            with _listening_here(ray) if address == LOCAL else nullcontext():
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise RayUnreachableError(f"no Ray cluster answers at {address} ({_first_line(error)})") from error
    try:
        yield RayCluster(shards, workers, size, say)
    finally:
        if not connected:
            ray.shutdown()


@contextmanager
def _listening_here(ray: Any) -> Iterator[None]:
    """Let what Ray starts within listen at 127.0.0.1 alone, as on macOS and Windows, and not at every address.

    Ray has a variable for it, which it reads when it is imported, and which what it starts reads then. Either way it
    asks for a token, which it makes and passes on itself.
    """
    constants = ray._private.ray_constants
    name, reachable = constants.ENABLE_RAY_CLUSTERS_ENV_VAR, constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(name)
    os.environ[name], constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
        constants.ENABLE_RAY_CLUSTER = reachable


def _import_ray() -> Any:
    if find_spec("ray") is None:
        raise RayNotInstalledError("Ray is not installed; install it with: pip install 'kvasir-retrieval[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to a server
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of its own future
    import ray
    import ray.util.scheduling_strategies

    return ray


def _with_copies(
    result: EmbeddedPicture | RetrievalError, writer: CollectionWriter
) -> EmbeddedPicture | RetrievalError:
    """As one process has it: computed vectors are those of a stored image of the same bytes, if there is one."""
    if isinstance(result, RetrievalError) or result.new is None:
        return result
    return result.with_copies(writer.vectors_of_content(result.sha256))


def _tower(collection: Path, name: str) -> dict[str, bytes]:
    """The files of a space's converted encoder; none where it has none."""
    folder = tower_folder(collection, name)
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*")) if file.is_file()}


def _release() -> str:
    try:
        return version("kvasir-retrieval")
    except PackageNotFoundError:
        return "from source"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
