"""Kill -9 before and after each call of a push: searches find the state before or after, the next push completes it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each push and each check is a process of its own, forked before anything was connected, so that imports are paid once.
WORKER = """
    import os, random, signal, sys, traceback
    from pathlib import Path
    import numpy as np
    import pymilvus
    from indexer.vector_import import import_vectors, named_space
    from indexer.vector_table import VectorTable
    from retrieval.collection import Collection, CollectionWriter
    from retrieval.errors import RemoteStaleError
    from retrieval.index.engines import connect
    from retrieval.index.milvus.client import Client
    from retrieval.search import Searcher

    path, address, seed, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    generator = random.Random(seed)
    steps = list(range(2, 31))  # before each call and, as the halves, after it
    generator.shuffle(steps)

    def forked(work):
        '''The exit status of a process that works; -9 for one that killed itself.'''
        child = os.fork()
        if not child:
            try:
                work()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def die_at(step):
        calls, call = [0], Client.call
        def counted(self, *arguments, **options):
            calls[0] += 1
            if calls[0] == step:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(self, *arguments, **options)
            if calls[0] + 0.5 == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        Client.call = counted

    def push(step, rebuild):
        def work():
            if step:
                die_at(step)
            opened = Collection.open(path)
            connect(address).push(opened, opened.spaces[0], None, lambda *_: None, rebuild)
        return work

    def found(searcher, k):
        return [[(hit.id, hit.score) for hit in hits] for hits in searcher.search([0, 1], k)]

    def check(states, may_be_stale, complete):
        def work():
            engine = connect(address)
            for state in states:
                for k in (5, len(state)):
                    try:
                        there = found(Searcher(state, engine=engine), k)
                    except RemoteStaleError:
                        assert may_be_stale
                        continue
                    assert there == found(Searcher(state), k)
            if complete:
                assert list(engine.compare(states[-1], states[-1].spaces[0], True)) == []
                assert len(engine._client.call("list_collections")) == 1
        return work

    def change(round):
        with CollectionWriter(path) as writer:
            ids = Collection.open(path).images.ids
            writer.remove([int(ids[-1]), int(ids[len(ids) // 2])])
            vectors = np.random.default_rng(round).standard_normal((3, 8)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            table = VectorTable.of([f"{round} {n}" for n in range(3)], None)
            import_vectors(writer, vectors, table, named_space("one"))

    kills, pushed = 0, False
    for round in range(rounds):
        before = Collection.open(path)
        change(round)
        now = Collection.open(path)
        step = steps[round % len(steps)] / 2
        status = forked(push(step, rebuild=round % 3 == 2))
        assert status in (0, -signal.SIGKILL), status
        kills += status != 0
        assert forked(check([before, now], may_be_stale=not pushed, complete=False)) == 0, (round, step)
        if status == 0 or generator.random() < 0.6:
            assert forked(push(0, False)) == 0, (round, step)
            assert forked(check([before, now], may_be_stale=False, complete=True)) == 0, (round, step)
            pushed = True
    print(kills)
"""


@pytest.fixture
def server(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[str]:
    """The address of milvus-lite as a server, which goes on when a push is killed."""
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    port = free_port()
    command = [sys.executable, "-m", "milvus_lite", "server", "--host", "127.0.0.1"]
    command += ["--data-dir", str(tmp_path / "lite"), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield f"milvus://127.0.0.1:{port}?timeout=60"
        process.kill()


def test_killed_between_any_two_calls(
    server: str,
    tmp_path: Path,
    vector_collection: Callable[..., Path],
    rounds: Callable[[int], int],
    tally: Callable[..., None],
) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = vector_collection(tmp_path / "c", {"one": vectors})
    seed, count = int.from_bytes(os.urandom(4)), rounds(29)
    command = [sys.executable, "-c", textwrap.dedent(WORKER), str(path), server, str(seed), str(count)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, f"seed {seed}: {run.stderr}"
    tally(seed=seed, rounds=count, kills=int(run.stdout))
