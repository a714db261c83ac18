"""The progress bar of `kvasir index` and `kvasir add`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from indexer.datasets import Dataset
from indexer.pipeline import Outcome
from retrieval.terminal import counted, note, one_line, progress_bar


class IndexingBar:
    """A bar on stderr over one or several data sets: pictures done of all, how fast, and how long it will still take.

    total: the pictures of all data sets.
    """

    def __init__(self, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        self._bar = progress_bar(
            TextColumn("indexing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("", total=total, rate="", visible=False)
        self._outcome = Outcome()
        self._before = self._stored_before = self._skipped = 0
        self._start = time.perf_counter()

    def __enter__(self) -> IndexingBar:
        self._bar.start()
        return self

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            stored = self._stored_before + self._outcome.added + self._outcome.completed
            if stored:
                note(f"stopped; {counted(stored, 'picture')} stored, and the same command continues from there")
            else:
                note("stopped before any picture was stored")

    def announce(self, dataset: Dataset, notes: Sequence[str] = ()) -> None:
        """Print what a data set holds, and notes on it."""
        self.say(f"{dataset.name}: {one_line(str(dataset.source))}")
        for line in [*dataset.report.lines(), *notes]:
            self.say(f"  {line}")

    def advance(self, outcome: Outcome) -> None:
        """Show how far a run is; each data set's run has an outcome of its own."""
        if outcome is not self._outcome:  # its first report: what was stored already, when indexing begins
            self._before += self._outcome.done
            self._stored_before += self._outcome.added + self._outcome.completed
            self._outcome, self._skipped = outcome, outcome.done
            self._start = time.perf_counter()
        new = outcome.done - self._skipped
        rate = new / (time.perf_counter() - self._start)
        done = self._before + outcome.done
        self._bar.update(self._task, completed=done, rate=f"{rate:.0f}/s" if new else "", visible=True)
