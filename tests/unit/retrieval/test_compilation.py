from __future__ import annotations

from typing import Any

from retrieval.compilation import compiled


def test_a_kernel_that_cannot_be_kept_on_disk_runs_all_the_same() -> None:
    made: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", made)  # of no file, so numba has no place to keep it
    assert compiled(made["twice"])(21) == 42
