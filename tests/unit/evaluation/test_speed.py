from __future__ import annotations

from retrieval.evaluation.speed import Speed


def test_frames_per_second_are_of_the_whole_path() -> None:
    speed = Speed("s", 24, 0.01, 0.02, 0.001, 0.025, 2, 300 * 2**20, 5 * 2**20)
    assert speed.frames_per_second == 40
    assert speed.sentence() == (
        "40.0 frames per second from file to hits on 2 cores; decode 100, embed 50, search 1000 per second; "
        "peak memory 300 MiB, vectors 5.0 MiB"
    )
