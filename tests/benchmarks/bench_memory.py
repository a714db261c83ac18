"""Memory and time of commands at growing sizes: import, a further import, verify, duplicates, remove, opening.

    python tests/benchmarks/bench_memory.py [--sizes 10000,100000,1000000] [--dimension 512] [--scratch DIR]

Vectors are random, of unit length, written block by block. Each command runs in a process of its own, started by a
small one: what is printed is its largest resident memory, mapped files included, and what that is above the imports
alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

BLOCK = 16_384
FURTHER = 1_000
"""Rows of the further import."""
LAUNCHER = """
import json, os, sys, time
start = time.perf_counter()
null = os.open(os.devnull, os.O_WRONLY)
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024, seconds]))
"""
"""A process's peak counts what its parent had when it was started, so the parent is one that has nothing."""
KVASIR = "from retrieval.command_line import main; main()"
IMPORTS = "import retrieval, indexer.commands.import_vectors, indexer.verification, indexer.near_duplicates"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/bench-memory"))
    options = parser.parse_args()
    imports = measured("-c", IMPORTS)[0]
    print(f"imports alone: {imports:.0f} MiB")
    for count in map(int, options.sizes.split(",")):
        folder = options.scratch / str(count)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        measure(folder, count, options.dimension, imports)
        shutil.rmtree(folder)


def measure(folder: Path, count: int, dimension: int, imports: float) -> None:
    first, further = (written(folder, name, start, rows, dimension) for name, start, rows in (
        ("first", 0, count), ("further", count, FURTHER)))  # fmt: skip
    collection = str(folder / "c")
    commands = {
        "index --vectors": ["index", *first, "--space", "s", collection],
        f"index --vectors, {FURTHER:,} more": ["index", *further, "--space", "s", collection],
        "verify": ["verify", collection],
        "duplicates": ["duplicates", collection],
        "remove": ["remove", collection, str(count // 2)],
        "verify after it": ["verify", collection],
        "info": ["info", collection],
    }
    print(f"{count:,} vectors of {dimension} numbers")
    for name, arguments in commands.items():
        peak, seconds = measured("-c", KVASIR, *arguments)
        print(f"  {name:<32} {peak:6.0f} MiB, {peak - imports:6.0f} above the imports, {seconds:7.2f} s")


def written(folder: Path, name: str, start: int, count: int, dimension: int) -> list[str]:
    """The options that name the files of some vectors and of their table."""
    vectors, table = folder / f"{name}.npy", folder / f"{name}.csv"
    array = np.lib.format.open_memmap(vectors, "w+", np.float32, (count, dimension))
    with table.open("w") as stream:
        stream.write("file,class\n")
        for at in range(0, count, BLOCK):
            size = min(BLOCK, count - at)
            block = np.random.default_rng([start, at]).standard_normal((size, dimension), np.float32)
            array[at : at + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
            stream.writelines(f"{start + row:08d}.jpg,class {row % 8}\n" for row in range(at, at + size))
    return ["--vectors", str(vectors), "--table", str(table)]


def measured(*arguments: str) -> tuple[float, float]:
    """Peak resident memory in MiB and seconds of Python with arguments. Raises where it fails."""
    command = [sys.executable, "-S", "-c", LAUNCHER, sys.executable, *arguments]
    code, peak, seconds = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if code:
        raise RuntimeError(f"{arguments} ended with {code}")
    return peak, seconds


if __name__ == "__main__":
    main()
