from __future__ import annotations

from retrieval.evaluation.speed import Speed, speed_rows, speed_sentence

SPEED = Speed("s", 24, 0.01, 0.02, 0.001, 0.025, 2, 300 * 2**20, 5 * 2**20)


def test_frames_per_second_are_of_the_whole_path_and_of_each_stage() -> None:
    assert SPEED.frames_per_second == 40
    assert SPEED.stages == (100, 50, 1000)
    assert speed_rows([SPEED])[1] == ["s", "40.0", "100", "50", "1,000", "5.0"]


def test_the_sentence_states_cores_images_and_peak_memory() -> None:
    sentence = speed_sentence([SPEED, Speed("t", 24, 1, 1, 1, 1, 2, 400 * 2**20, 1)])
    assert "2 cores, medians of 24" in sentence
    assert "Peak memory of all together 400 MiB" in sentence
