"""An evaluation as tables in a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from retrieval.evaluation.bootstrap import LEVEL
from retrieval.evaluation.comparison import Comparison, NotSameQueriesError
from retrieval.evaluation.feedback import FeedbackCurve
from retrieval.evaluation.generalisation import Figure, Standing
from retrieval.evaluation.mark_bias import HITS, MarkBias
from retrieval.evaluation.result import Evaluation
from retrieval.evaluation.space_result import SpaceResult
from retrieval.evaluation.speed import Speed, speed_rows, speed_sentence
from retrieval.report.summary import overview_name, summary_lines
from retrieval.report.tables import LEARNING, feedback_headings, feedback_rows, learning_rows, transfer_rows
from retrieval.terminal import display_width, one_line

WIDE = 110
"""Width from which a terminal also shows the counts and what each measure means."""
_BY_K = (
    ("precision", "share of the first k that is relevant"),
    ("recall", "share of what is relevant in the first k"),
    ("recall ceiling", "what a perfect ranking reaches"),
    ("hit", "queries with a relevant hit up to k"),
    ("AP", "precision at each relevant hit, averaged"),
    ("nDCG", "relevant hits weigh less further down"),
    ("mMV", "queries whose class the first k elect"),
)
_OPTIONAL = ("hit@10", "prec@10", "MCC", "prec@1")
"""Columns of the table of all spaces that a narrow terminal does without, the least important first."""
_GAP = 2
"""Blanks between two columns."""
_WHOLE_LIST = ("mAP", "MAP@R", "R-precision", "MRR")


def print_evaluation(result: Evaluation, console: Console, *, full: bool = True) -> None:
    """Print an evaluation, what matters most last: all spaces in order. full: with the tables of each of several."""
    if full or len(result.spaces) == 1:
        for space in result.spaces:
            _print_space(space, console)
    else:
        _print_protocol(result, console)
    for sentence in result.gap_sentences():
        console.print(Text(one_line(sentence)))
    if result.speeds:
        _print(_speeds(result.speeds), console)
    for way, figures in result.figures.items():
        _print(_learning(way, figures), console)
    if result.transfer:
        _print(_transfer(result.transfer), console)
        for name, of_space in result.transfer.items():
            if of_space.chances is not None:
                console.print(Text(one_line(f"Chances of {name} there: {of_space.chances.sentence()}.")))
    if result.feedback:
        _print(_feedback(result.feedback), console)
    if len(result.spaces) > 1:
        _print(_overview(result, console.width), console)
        try:
            _print_summary(result.comparison(), console)
        except NotSameQueriesError as error:
            console.print(Text(f"Not compared: {error}."))


def _print_protocol(result: Evaluation, console: Console) -> None:
    """The lines that hold for all spaces once, and those of a single one after its name."""
    lines = [summary_lines(space) for space in result.spaces]
    common = [line for line in lines[0] if all(line in others for others in lines[1:])]
    for line in common:
        console.print(Text(one_line(line)))
    for space, (_, *own) in zip(result.spaces, lines, strict=True):
        bias = space.mark_bias.sentence() if space.mark_bias else None
        for line in own:
            if line not in (*common, bias):
                console.print(Text(one_line(f"{space.space}: {line}")))
    biases = {space.space: space.mark_bias for space in result.spaces if space.mark_bias is not None}
    if biases:
        _print(_device(biases), console)


def _device(biases: Mapping[str, MarkBias]) -> Table:
    alone = next(iter(biases.values())).alone
    table = _table(
        f"Device: of the first {HITS} hits, those with the query's mark, each beside its chance; marks and frame size "
        f"alone have a precision@1 of {alone:.3f}"
    )
    table.add_column("", overflow="fold", min_width=16)
    for column in ("all", "chance", "in its class", "chance", "in others", "chance"):
        table.add_column(column, justify="right")
    for name, bias in biases.items():
        shares = (bias.share, bias.chance, bias.within, bias.within_chance, bias.across, bias.across_chance)
        table.add_row(_breakable(name), *(f"{share:.0%}" for share in shares))
    return table


def _learning(way: str, figures: Sequence[Figure]) -> Table:
    table = _table(f"Learned by {way}, and not: P@1 and mAP over queries ({LEVEL:.0%} interval), least P@1 of a class")
    for heading in LEARNING:
        first, last = heading == LEARNING[0], heading == LEARNING[-1]
        table.add_column(
            heading,
            overflow="fold",
            min_width=16 if first else None,
            justify="left" if first else "right",
            no_wrap=not (first or last),
        )
    for cells in learning_rows(figures):
        table.add_row(*cells)
    return table


def _transfer(transfer: Mapping[str, Standing]) -> Table:
    table = _table("Pictures of other sources as queries: P@1 and mAP over queries, of the class means, of each class")
    table.add_column("", overflow="fold", min_width=16)
    for column in ("queries", "P@1", "by chance", "mAP"):
        table.add_column(column, justify="right", no_wrap=True)
    for cells in transfer_rows(transfer):
        table.add_row(_breakable(cells[0]), *cells[1:])
    return table


def _feedback(curves: Sequence[FeedbackCurve]) -> Table:
    users = curves[0].users
    table = _table(f"Simulated marks on hits: precision@{users.shown} of images not shown yet")
    table.add_column("", overflow="fold", min_width=14)
    for heading in feedback_headings(curves)[1:]:
        # In 80 columns, with the interval of the gain
        short = heading.removeprefix("after ").removesuffix(" marks" if heading.startswith("without") else "")
        table.add_column(short, justify="right", no_wrap=True)
    for cells in feedback_rows(curves):
        table.add_row(_breakable(cells[0]), *cells[1:])
    return table


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print contenders, best first, with intervals, and which of their differences are significant."""
    table = _table(
        f"{comparison.measure}, mean of the class means, {LEVEL:.0%} interval; {comparison.queries:,} queries in "
        f"{comparison.clusters:,} clusters"
    )
    table.add_column("", overflow="fold", min_width=16)
    table.add_column(comparison.measure, justify="right", no_wrap=True)
    table.add_column("interval", no_wrap=True)
    for standing in comparison.standings:
        interval = f"{standing.low:.4f} to {standing.high:.4f}"
        table.add_row(_breakable(standing.name), f"{standing.mean:.4f}", interval)
    _print(table, console)
    _print_summary(comparison, console)


def _print_summary(comparison: Comparison, console: Console) -> None:
    for sentence in comparison.summary():
        console.print(Text(one_line(sentence)))


def _print_space(space: SpaceResult, console: Console) -> None:
    wide = console.width >= WIDE
    console.rule(Text(one_line(space.space), style="bold"), align="left", characters="─")
    for line in summary_lines(space):
        console.print(Text(one_line(line)))
    console.print()
    _print(_by_k(space, wide=wide), console)
    _print(_whole_list(space), console)
    _print(_per_class(space), console)
    _print(_votes(space, wide=wide), console)
    _print(_confusion(space), console)


def _by_k(space: SpaceResult, *, wide: bool) -> Table:
    table = _table("The first k hits: mean over queries (mean of the class means)")
    table.add_column("", no_wrap=True)
    for k in space.ks:
        table.add_column(f"k = {k}", justify="right", no_wrap=True)
    if wide:
        table.add_column("", style="dim", no_wrap=True)
    for name, meaning in _BY_K:
        ceiling = name == "recall ceiling"
        cells = [_both(space, f"{name}@{k}") for k in space.ks]
        table.add_row(
            "  its ceiling" if ceiling else f"{name}@k",
            *cells,
            *[meaning] * wide,
            style="dim" if ceiling else "",
        )
    return table


def _whole_list(space: SpaceResult) -> Table:
    table = _table("The whole list")
    table.add_column("", no_wrap=True)
    for name in _WHOLE_LIST:
        table.add_column(name, justify="right", no_wrap=True)
    means, intervals = [space.means(name) for name in _WHOLE_LIST], space.intervals
    table.add_row("mean over queries", *[_number(mean.micro) for mean in means])
    if intervals:
        table.add_row(
            f"  {intervals.level:.0%} interval",
            *[_interval(intervals.micro[name]) for name in _WHOLE_LIST],
            style="dim",
        )
    table.add_row("mean of the class means", *[_number(mean.macro) for mean in means])
    if intervals:
        table.add_row(
            f"  {intervals.level:.0%} interval",
            *[_interval(intervals.macro[name]) for name in _WHOLE_LIST],
            style="dim",
        )
    return table


def _per_class(space: SpaceResult) -> Table:
    table = _table("Each class as queries")
    table.add_column("", overflow="fold", min_width=12)
    k = space.class_k
    columns = {
        "mAP": "mAP",
        "R-prec": "R-precision",
        "MRR": "MRR",
        f"prec@{k}": f"precision@{k}",
        f"rec@{k}": f"recall@{k}",
        f"hit@{k}": f"hit@{k}",
    }
    for heading in ("queries", *columns):
        table.add_column(heading, justify="right", no_wrap=True)
    means = [space.means(measure) for measure in columns.values()]
    queries = space.confusion.sum(axis=1)
    for c in _present(space):
        table.add_row(
            Text(one_line(space.class_names[c])), f"{queries[c]:,}", *[_number(mean.per_class[c]) for mean in means]
        )
    table.add_section()
    table.add_row("all queries", f"{queries.sum():,}", *[_number(mean.micro) for mean in means])
    table.add_row("mean of classes", "", *[_number(mean.macro) for mean in means])
    return table


def _votes(space: SpaceResult, *, wide: bool) -> Table:
    table = _table(f"Classification by the {space.vote_k} nearest, each voting with its similarity")
    table.add_column("", overflow="fold", min_width=12)
    counts = ("TP", "TN", "FP", "FN") if wide else ()
    for heading in (*counts, "recall", "prec", "spec", "acc", "F1", "MCC"):
        table.add_column(heading, justify="right", no_wrap=True)
    scores, overall = space.class_scores, space.overall_scores
    ratios = (scores.recall, scores.precision, scores.specificity, scores.accuracy, scores.F1, scores.MCC)
    for c in _present(space):
        cells = [f"{getattr(scores, count)[c]:,.0f}" for count in counts]
        table.add_row(Text(one_line(space.class_names[c])), *cells, *[_number(ratio[c]) for ratio in ratios])
    table.add_section()
    macro = (overall.macro_recall, overall.macro_precision, overall.macro_specificity, overall.accuracy)
    row = [_number(value) for value in (*macro, overall.macro_F1, overall.MCC)]
    table.add_row("all (multi-class MCC)", *[""] * len(counts), *row)
    return table


def _confusion(space: SpaceResult) -> Table:
    table = _table("Confusion: rows are the true class, columns the voted one")
    table.add_column("", overflow="fold")
    present = _present(space)
    none = len(space.class_names)
    voted = [c for c in range(none + 1) if c in present or space.confusion[:, c].any()]
    for c in voted:
        table.add_column("none" if c == none else _letter(c), justify="right", no_wrap=True)
    for c in voted:
        if c == none:
            continue
        cells = [Text(f"{space.confusion[c, d]:,}", style="bold" if c == d else "") for d in voted]
        table.add_row(Text(one_line(f"{_letter(c)}  {space.class_names[c]}")), *cells)
    return table


def _speeds(speeds: Sequence[Speed]) -> Table:
    (first, *headings), *rows = speed_rows(speeds)
    table = _table(speed_sentence(speeds))
    table.add_column(first, overflow="fold", min_width=16)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for space, *cells in rows:
        table.add_row(_breakable(space), *cells)
    return table


def _overview(result: Evaluation, width: int) -> Table:
    """All spaces, best first. width: of the terminal; columns that would break a space's name are left out."""
    protocol = result.spaces[0].protocol
    table = _table(f"All spaces, best mAP first: means of the class means, {protocol}")
    table.add_column("", overflow="fold", min_width=16)
    spaces = result.best_first()
    columns: dict[str, list[str]] = {}
    for measure in result.overview_measures:
        cells = [_number(space.means(measure).macro) for space in spaces]
        columns[measure.replace("precision", "prec")] = cells
        if measure == "mAP":
            intervals = [space.intervals for space in spaces]
            columns[f"{LEVEL:.0%} interval"] = [_interval(ends.macro["mAP"]) if ends else "" for ends in intervals]
    columns["MCC"] = [_number(float(space.overall_scores.MCC)) for space in spaces]
    names = [_breakable(overview_name(space)) for space in spaces]
    longest = max(display_width(word) for name in names for word in name.split(" "))
    for optional in _OPTIONAL:
        needed = sum(_GAP + max(map(len, (heading, *cells))) for heading, cells in columns.items())
        if longest + needed + _GAP > width:
            columns.pop(optional, None)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in zip(names, *columns.values(), strict=True):
        table.add_row(*row)
    return table


def _present(space: SpaceResult) -> list[int]:
    return [c for c, count in enumerate(space.confusion.sum(axis=1)) if count]


def _print(table: Table, console: Console) -> None:
    """A table under its title, which rich would otherwise fold to the table's width.

    In a terminal too narrow for it, its lines break: better than figures that lack their ends.
    """
    title, table.title = table.title, None
    console.print(Text(str(title), style="italic"))
    wanted = Measurement.get(console, console.options.update(max_width=1000), table)
    # rich's own minimum counts the longest word alone, of columns that do not wrap as well.
    least = wanted.maximum - sum(_spare(column) for column in table.columns if not column.no_wrap)
    width = console.width
    console.width = max(width, least)
    console.print(table, soft_wrap=least > width)
    console.width = width


def _spare(column: Column) -> int:
    """By how much a column that wraps may be narrower than its widest cell."""
    texts = [str(text) for text in (column.header, *column.cells)]
    needed = column.min_width or max(cell_len(word) for text in texts for word in text.split() or [""])
    return max(0, max(map(cell_len, texts)) - needed)


def _table(title: str) -> Table:
    return Table(
        title=title,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )


def _breakable(space: str) -> str:
    """A fusion's name with spaces, at which a terminal breaks a line."""
    return space.replace("+", " + ")


def _letter(c: int) -> str:
    return chr(ord("a") + c) if c < 26 else str(c)


def _both(space: SpaceResult, measure: str) -> str:
    means = space.means(measure)
    return f"{_number(means.micro)} ({_number(means.macro)})"


def _interval(ends: NDArray[np.float64]) -> str:
    return f"{_number(ends[0])}-{_number(ends[1])}"


def _number(value: SupportsFloat) -> str:
    number = float(value)
    return "–" if math.isnan(number) else f"{number:.3f}"
