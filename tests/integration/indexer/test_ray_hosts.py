"""Two hosts in network namespaces: one dies in the middle of a run, and the collection is that of one process."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import numpy as np
import pytest
from PIL import Image

from indexer.datasets import open_dataset
from indexer.run import run_dataset
from retrieval.collection import Collection, CollectionWriter

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
PORT = 6399
ROOT = Path(__file__).resolve().parents[3]

DRIVER = """
    import sys
    from pathlib import Path
    from indexer import ray_cluster
    from indexer.datasets import open_dataset
    from indexer.run import run_dataset
    from retrieval.collection import CollectionWriter

    data, path, spec, address = sys.argv[1:]
    submit, wait_for, begun = ray_cluster._Run._submit, ray_cluster._Run.wait_for, []

    def submit_to_both(run):
        '''The first shards go out once both hosts have a worker that is ready.'''
        if begun or len({worker.node for worker in run._idle}) == 2:
            begun.append(True)
            submit(run)

    def wait_after_the_kill(run, at, folder):
        results = wait_for(run, at, folder)
        if at == 0:
            print("kill", flush=True)
            sys.stdin.readline()
        return results

    ray_cluster._Run._submit, ray_cluster._Run.wait_for = submit_to_both, wait_after_the_kill
    with (
        open_dataset(Path(data)) as dataset,
        CollectionWriter(Path(path), name="t", create=True) as writer,
        ray_cluster.ray_cluster(address, size=4, say=lambda line: print(line, flush=True)) as cluster,
    ):
        outcome = run_dataset(dataset, writer, encoders=(spec,), machines=cluster).outcome
        print("added", outcome.added, flush=True)
"""


def sh(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=90)


def pids(name: str) -> list[int]:
    return [int(pid) for pid in sh("ip", "netns", "pids", name).stdout.split()]


def end_all(name: str) -> None:
    """Kill what runs in a namespace, until nothing does: a process that is killed may just have started another."""
    while left := pids(name):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two namespaces with a cable between them: 10.213.7.1 and 10.213.7.2."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need `ip` and root")
    mark = secrets.token_hex(3)
    names = f"kv{mark}a", f"kv{mark}b"
    made: list[str] = []
    try:
        for name in names:
            if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
                pytest.skip("this kernel or container allows no network namespaces")
            made.append(name)
        linked = ["ip", "link", "add", "eth9", "netns", names[0], "type", "veth", "peer", "eth9", "netns", names[1]]
        if subprocess.run(linked, capture_output=True).returncode:
            pytest.skip("this kernel or container allows no virtual cables")
        for number, name in enumerate(names, 1):
            sh("ip", "-n", name, "addr", "add", f"10.213.7.{number}/24", "dev", "eth9")
            sh("ip", "-n", name, "link", "set", "lo", "up")
            sh("ip", "-n", name, "link", "set", "eth9", "up")
        yield names
    finally:
        for name in made:
            end_all(name)
            sh("ip", "netns", "del", name)


def test_a_host_that_dies_in_the_middle_is_made_up_for(
    hosts: tuple[str, str], tmp_path: Path, draw: Callable[..., Image.Image], tiny_spec: str
) -> None:
    data = tmp_path / "data"
    for number in range(40):
        (data / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        draw(number).save(data / f"class{number % 2}" / f"{number:02}.png")
    with open_dataset(data) as dataset, CollectionWriter(tmp_path / "one", name="t", create=True) as writer:
        run_dataset(dataset, writer, encoders=(tiny_spec,))

    first, second = hosts
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "5000",
        "RAY_health_check_failure_threshold": "4",
    }
    folder = Path("/tmp") / f"{first}-ray"  # sockets in it have names of 107 bytes at most
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--object-store-memory=100000000"]
    starts = [
        [*ray, "--head", "--node-ip-address=10.213.7.1", f"--port={PORT}", f"--temp-dir={folder}",
         "--include-dashboard=false"],
        [*ray, f"--address=10.213.7.1:{PORT}", "--node-ip-address=10.213.7.2"],
    ]  # fmt: skip
    try:
        for name, start in zip(hosts, starts, strict=True):
            command = ["ip", "netns", "exec", name, *start]
            started = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
            assert started.returncode == 0, started.stdout + started.stderr
        command = ["ip", "netns", "exec", first, sys.executable, "-W", "ignore", "-c", textwrap.dedent(DRIVER)]
        command += [str(data), str(tmp_path / "two"), tiny_spec, f"10.213.7.1:{PORT}"]
        log = tmp_path / "log"
        with (
            log.open("w") as errors,
            subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as driver,
        ):
            assert driver.stdin is not None
            assert driver.stdout is not None
            lines = []
            deadline = Timer(300, driver.kill)
            deadline.start()
            try:
                for line in driver.stdout:
                    lines.append(line.strip())
                    if line == "kill\n":
                        sh("ip", "-n", second, "link", "set", "eth9", "down")
                        end_all(second)
                        print("go", file=driver.stdin, flush=True)
            finally:
                deadline.cancel()
        said = "\n".join([*lines, log.read_text()])
        assert driver.returncode == 0, said
        assert any("a worker on node" in line and "died" in line for line in lines), said
        assert lines[-1] == "added 40", said
    finally:
        end_all(first)
        shutil.rmtree(folder, ignore_errors=True)
    one, two = Collection.open(tmp_path / "one"), Collection.open(tmp_path / "two")
    assert list(one.images.files) == list(two.images.files)
    for space in one.spaces:
        assert np.array_equal(one.vectors(space.name)[1], two.vectors(space.name)[1])
    assert not (tmp_path / "two" / "shards").exists()
