"""`kvasir reasons`: why an image is a hit, and the test by which that may be shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrieval.arguments import LocalPath, space_option
from retrieval.disk import new_file
from retrieval.errors import OutputError
from retrieval.terminal import TaskBars, note, one_line, progress_bar

if TYPE_CHECKING:
    from retrieval.reasons.telling import Reasons
    from retrieval.search import Searcher


class OverlayError(OutputError):
    """There is no agreement that an overlay could show, or it cannot be written."""


@click.command("reasons")
@click.argument("arguments", metavar="[FILE|ID IMAGE-ID] COLLECTION", nargs=-1, required=True)
@space_option("Only these spaces, separated by commas.  [default: all that are compared]")
@click.option(
    "--pairs",
    default=100,
    show_default=True,
    type=click.IntRange(min=20),
    help="Of the test, and as many others that choose the way.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the test's pairs.")
@click.option(
    "--out", type=LocalPath(dir_okay=False), metavar="PNG", help="Write both pictures with the cells that agree."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    arguments: tuple[str, ...], spaces: tuple[str, ...], pairs: int, seed: int, out: Path | None, as_json: bool
) -> None:
    """Test on COLLECTION whether it can be told where two pictures agree; or tell why IMAGE-ID is like FILE or ID.

    The test erases the cells of a picture that are said to matter; its outcome is stored with the collection, and
    without it, or where it fails, agreement is not shown. Descriptors need no test: their shares sum to the distance.

    Example:  kvasir reasons kvasir.collection

    Example:  kvasir reasons polyp.jpg 17 kvasir.collection --space JCD --out agreement.png
    """
    from retrieval.search import open_collection

    *pair, place = arguments
    if len(pair) not in (0, 2):
        raise click.UsageError("give a picture file or an ID, the ID of an image, and COLLECTION; or COLLECTION alone")
    searcher = open_collection(LocalPath(exists=True, file_okay=False).convert(place, None, None))
    opened = searcher.collection
    chosen = searcher.space_names(spaces) if spaces else [space.name for space in opened.manifest.compared]
    if pair:
        _tell(searcher, pair[0], pair[1], chosen, out, as_json)
        return
    if out is not None:
        raise click.UsageError("--out shows a pair: give a picture file or an ID, and the ID of an image")
    _test(searcher, chosen, pairs, seed, as_json)


def _test(searcher: Searcher, spaces: list[str], pairs: int, seed: int, as_json: bool) -> None:
    from retrieval.disk import require_writable
    from retrieval.reasons.testing import run_test

    require_writable(searcher.collection.path)
    with progress_bar(transient=True) as bar:
        advance = TaskBars(bar).advance
        embeddings = [name for name in spaces if searcher.space(name).shipped is None]
        outcomes = [run_test(searcher, name, pairs, seed, advance) for name in embeddings]
    if as_json:
        click.echo(json.dumps({"reasons": [outcome.to_dict() for outcome in outcomes]}, indent=2))
        return
    for outcome in outcomes:
        for one in outcome.tried:
            on = ", on other pairs" if one.confirms else ""
            click.echo(f"{one_line(outcome.space)}, {one.way}{on}: {'passed' if one.passed else 'failed'}: {one}")
        if outcome.passed is None:
            click.echo(f"{one_line(outcome.space)}: {outcome}")
    if not outcomes:
        note("these are spaces of descriptors, whose shares need no test")


def _tell(searcher: Searcher, query: str, image: str, spaces: list[str], out: Path | None, as_json: bool) -> None:
    from retrieval.query import Part

    if not image.isdecimal():
        raise click.UsageError(f"IMAGE-ID is the number of an image of COLLECTION, not '{image}'")
    part = Part(image_id=int(query)) if query.isdecimal() else Part(picture=Path(query))
    told = searcher.reasons(part, int(image), spaces)
    if as_json:
        click.echo(json.dumps(told.to_dict(), indent=2, allow_nan=False))
    else:
        for line in _lines(told):
            click.echo(line)
    if out is not None:
        _write(told, out)


def _lines(told: Reasons) -> list[str]:
    lines = []
    for name, agreement in told.agreements.items():
        lines.append(f"{one_line(name)}: similarity {agreement.similarity:.3f}; --out shows where they agree")
        lines.append(f"  tested here: {agreement.test}")
    for name, shares in told.shares.items():
        lines.append(f"{one_line(name)}: distance {shares.distance:.4g}. {shares.sentence}")
        for facet in shares.facets:
            parts = [f"{group.name} {group.share:.0%}" for group in facet.groups if group.share >= 0.005]
            lines.append(f"  {facet.name.lower()}: {', '.join(parts) or 'nothing'}")
    return lines + [f"{one_line(name)}: {one_line(why)}" for name, why in told.unshown.items()]


def _write(told: Reasons, out: Path) -> None:
    if not told.agreements:
        raise OverlayError(f"{out} is not written: no space shows where the two agree")
    sheet = told.overlay()
    try:
        with new_file(out, sync=False) as stream:
            sheet.save(stream, "PNG")
    except OSError as error:
        raise OverlayError(f"{out} cannot be written ({error.strerror or error})") from error
    note(f"{out}: where they agree in {one_line(next(iter(told.agreements)))}")
