"""A collection is restored again and again under a running server: each response is of one state, none is an error.

By hand `pytest tests/faults/test_restore.py --rounds 60` restores so often.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from retrieval.backup import restore_backup, write_backup
from retrieval.collection import CollectionWriter


def test_no_response_mixes_two_states(
    serve: Callable[..., Any],
    drawn_in_two_spaces: Path,
    tmp_path: Path,
    rounds: Callable[[int], int],
    tally: Callable[..., None],
) -> None:
    collection = Path(shutil.copytree(drawn_in_two_spaces, tmp_path / "c"))
    states = [tmp_path / "all.tar", tmp_path / "fewer.tar"]
    write_backup(collection, states[0])
    with CollectionWriter(collection) as writer:
        writer.remove([1, 2, 3])
        writer.set_clusters(dict.fromkeys((4, 5, 6), 4), {})
    write_backup(collection, states[1])
    server = serve(collection, "--rate", "off")
    over = threading.Event()
    seen: Counter[str] = Counter()
    faults: list[str] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not over.is_set():
                response = client.get("/api/v1/images/0/similar?k=1000")
                seen[str(response.status_code)] += 1
                if response.status_code != 200:
                    faults.append(response.text)
                    continue
                hits = response.json()["hits"]
                ids = {hit["id"] for hit in hits}
                clusters = {hit["cluster"] for hit in hits if hit["id"] in (4, 5, 6)}
                fewer = not ids & {1, 2, 3}
                if not (fewer and clusters == {4}) and not ({1, 2, 3} <= ids and len(clusters) == 3):
                    faults.append(f"a mixture: {sorted(ids)[:8]}, clusters {clusters}")
                seen["fewer" if fewer else "all"] += 1

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        count = rounds(3)
        for turn in range(count):
            restore_backup(states[turn % 2], collection, replace=True)
            over.wait(1.5)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not faults, faults[:3]
    assert seen["fewer"]
    tally(restored=count, responses=seen["200"], all=seen["all"], fewer=seen["fewer"], mixtures=0)
