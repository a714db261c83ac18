"""Arguments and options that several commands share, with messages for the mistakes that people make in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from shlex import join
from typing import Any

import click

from retrieval.sources.address import expanded, location_url, remote_reason
from retrieval.sources.folder import COLLECTION_FILES


class LocalPath(click.Path):
    """A path on this machine; a web address is refused with the remedy."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Fails for a web address, and as `click.Path` does."""
        if reason := remote_reason(value):
            self.fail(reason, param, ctx)
        return super().convert(value, param, ctx)


class PicturesPath(LocalPath):
    """A path on this machine, or the address of a folder that fsspec reads, such as s3://bucket/pictures."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path or address. Fails for other web addresses, and as `click.Path` does."""
        return Path(value) if location_url(value) else super().convert(value, param, ctx)


class NumberOrPath(LocalPath):
    """A whole number from 1 on, or an existing path; a folder whose name is a number is given as `./5000`."""

    name = "number or path"

    def __init__(self) -> None:
        super().__init__(exists=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number or the path. Fails for 0, and as `LocalPath` does."""
        text = str(value)
        if not text.isascii() or not text.isdecimal():
            return super().convert(value, param, ctx)
        if int(text) < 1:
            self.fail("one query at least", param, ctx)
        return int(text)


class MemorySize(click.ParamType):  # type: ignore[type-arg]  # generic only in later versions
    """A number of bytes: 600M, 2G, 1.5GB or a plain number."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes. Fails for what is no positive size."""
        matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", str(value).strip(), re.IGNORECASE)
        size = float(matched[1]) * 1000 ** " kmgt".index(matched[2].lower() or " ") if matched else 0
        if size < 1:
            raise click.BadParameter(f"{value!r} is not a size; give one such as 600M or 2G", ctx, param)
        return int(size)


class FiniteRange(click.FloatRange):
    """A finite number in a range; click takes NaN for one in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Fails for NaN and infinity, and as `click.FloatRange` does."""
        number = float(super().convert(value, param, ctx))
        if not isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class ImageId(click.ParamType):  # type: ignore[type-arg]  # generic only in later versions
    """An image id, a whole number from 0 on; a collection in its place is reported as swapped."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The id. Fails for what is no whole number."""
        text = str(value).strip()
        if text.isascii() and text.isdecimal():
            return int(text)
        if is_collection(Path(text)):
            reason = f"{text} is a collection, which comes first; ids come after it"
        else:
            reason = f"{text!r} is not an image id; ids are whole numbers from 0 on"
        raise click.BadParameter(reason, ctx, param)


class TextEncoding(click.ParamType):  # type: ignore[type-arg]  # generic only in later versions
    """The name of a text encoding that Python knows."""

    name = "encoding"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Python's name of the encoding. Fails for any other text."""
        from retrieval.sources.zip_names import ZipEncodingError, checked_encoding

        try:
            return checked_encoding(str(value))
        except ZipEncodingError as error:
            raise click.BadParameter(str(error), ctx, param) from None


zip_encoding_option = click.option(
    "--zip-encoding",
    type=TextEncoding(),
    help="Encoding of the names in a zip that does not state it, such as cp932, gbk or cp850.  [default: guessed]",
)
map_option = click.option(
    "--map",
    "class_maps",
    multiple=True,
    metavar="OLD=NEW,…|FILE.csv|known",
    help="Count classes under other names: pairs, a table of old and new names, or the known synonyms of Kvasir and "
    "HyperKvasir. May be given several times.",
)


engine_option = click.option(
    "--engine",
    metavar="ADDRESS",
    help="Search in a vector engine that `kvasir push` has brought the collection to, such as milvus://localhost:19530.",
)


def fuse_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--fuse`: a tuple of fusions as `Fusion.parse` reads them, as parameter `fusions`."""
    from retrieval.fusion import DEFAULT_METHOD, METHODS

    others = ", ".join(sorted(set(METHODS) - {DEFAULT_METHOD}))
    return click.option(
        "--fuse",
        "fusions",
        multiple=True,
        metavar="A+B",
        help="Also these spaces fused, as a search in several spaces fuses them; A=2+B gives A twice the weight, "
        f"METHOD:A+B fuses by another method than {DEFAULT_METHOD}: {others}. May be given several times.",
    )


def is_collection(path: Path) -> bool:
    """Whether a path is the folder of a collection."""
    return all((expanded(path) / name).is_file() for name in COLLECTION_FILES)


def require_order(
    command: str,
    collection: Path,
    others: Sequence[str | Path],
    *,
    last: bool = False,
    instead: str = "give a picture or folder instead",
    options: Sequence[str | Path] = (),
) -> None:
    """Raise UsageError where a collection stands in the place of another argument.

    command: such as `kvasir add`. last: whether COLLECTION is the last argument, else the first. instead: what to give
    in the place of a second collection. options: those that the command needs, for the command that is suggested.
    """
    misplaced = [str(other) for other in others if is_collection(Path(other))]
    if not misplaced:
        return
    if str(collection) == misplaced[0]:
        raise click.UsageError(f"{collection} is the collection, and is given twice; {instead}")
    if is_collection(collection):
        raise click.UsageError(f"{misplaced[0]} is a collection, as {collection} is; {instead}")
    rest = [str(other) for other in others if str(other) != misplaced[0]]
    meant = [*rest, str(collection), misplaced[0]] if last else [misplaced[0], *rest, str(collection)]
    meant += map(str, options)
    place = "last" if last else "first"
    raise click.UsageError(f"{misplaced[0]} is the collection, which comes {place}: `{command} {join(meant)}`")


def require_collection_first(command: str, collection: Path, name: str) -> None:
    """Raise UsageError where a collection stands in the place of a name; a name may be that of a collection too."""
    if not is_collection(collection):
        require_order(command, collection, [name])


def split_names(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    """Names that are given by repeating an option, separated by commas, or both, in their order."""
    names = [name.strip() for value in values for name in value.split(",")]
    if not all(names):
        raise click.BadParameter(f"a name is empty in {', '.join(values)!r}", ctx, param)
    return tuple(names)


def space_option(
    text: str, flag: str = "--space", *, metavar: str = "NAMES", name: str = "spaces"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--space` or another flag: a tuple of names, as parameter `name`. The names of spaces hold no comma."""
    return click.option(flag, name, multiple=True, metavar=metavar, callback=split_names, help=text)


class ViewsText(click.ParamType):  # type: ignore[type-arg]  # generic only in later versions
    """Views of a picture as `retrieval.learn.views.views_named` reads them."""

    name = "views"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself. Fails where no views are called so."""
        from retrieval.learn.views import UnknownViewsError, views_named

        try:
            views_named(str(value))
        except UnknownViewsError as error:
            raise click.BadParameter(str(error), ctx, param) from None
        return str(value)


def views_option(default: str | None, note: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--views` of the commands that learn from pictures, as parameter `views`; note: at the end of the help."""
    return click.option(
        "--views",
        type=ViewsText(),
        default=default,
        show_default=default is not None,
        metavar="KIND[:N],…|none",
        help="Also learn from N views of each picture: its central part; varied in part, turn, light and colour; or as "
        "other sources might give it, reencoded, resized, boxed (a box in the corner), unboxed, bordered, lettered, or "
        f"sources for all of these.{note}",
    )
