from __future__ import annotations

import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from retrieval.arguments import ImageId, LocalPath, require_collection_first, require_order, space_option
from retrieval.collection import CollectionWriter


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    with CollectionWriter(tmp_path / "my c", create=True):
        pass
    return tmp_path / "my c"


def test_swapped_arguments_are_told_with_the_command_that_was_meant(collection: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(click.UsageError) as last:
        require_order("kvasir index", data, [collection], last=True)
    assert (
        last.value.message == f"{collection} is the collection, which comes last: `kvasir index {data} '{collection}'`"
    )
    with pytest.raises(click.UsageError) as first:
        require_order("kvasir add", Path("a.jpg"), [Path("b.jpg"), collection])
    assert first.value.message.endswith(f"which comes first: `kvasir add '{collection}' b.jpg a.jpg`")


def test_two_collections_are_not_called_swapped(collection: Path, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"is the collection, and is given twice; give a picture or folder"):
        require_order("kvasir search", collection, [collection], last=True)
    other = shutil.copytree(collection, tmp_path / "other")
    with pytest.raises(
        click.UsageError, match=r"other is a collection, as .*my c is; give a picture or folder instead"
    ):
        require_order("kvasir search", collection, [other], last=True)


def test_a_name_may_be_that_of_a_collection_too(collection: Path) -> None:
    require_collection_first("kvasir learn", collection, str(collection))
    with pytest.raises(click.UsageError, match=r"which comes first: `kvasir learn '.*my c' findings`"):
        require_collection_first("kvasir learn", Path("findings"), str(collection))


def test_arguments_in_order_pass(collection: Path, tmp_path: Path) -> None:
    require_order("kvasir index", collection, [tmp_path], last=True)
    require_order("kvasir search", collection, ["5"], last=True)


@click.command()
@click.argument("path", type=LocalPath())
@click.argument("ids", type=ImageId(), nargs=-1)
@space_option("Spaces.")
def example(path: Path, ids: tuple[int, ...], spaces: tuple[str, ...]) -> None:
    click.echo(f"{path} {ids} {spaces}")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["c"], "c () ()"),
        (["c", "3", "17"], "c (3, 17) ()"),
        (["c", "--space", "a,b"], "c () ('a', 'b')"),
        (["c", "--space", "a", "--space", "b , c"], "c () ('a', 'b', 'c')"),
    ],
)
def test_paths_ids_and_spaces_are_parsed(arguments: list[str], shown: str) -> None:
    assert CliRunner().invoke(example, arguments).output == f"{shown}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://x/c"], "http://x/c is a web address"),
        (["c", "x"], "'x' is not an image id; ids are whole numbers from 0 on"),
        (["c", "1.5"], "'1.5' is not an image id"),
        (["c", "--space", "a,,b"], "a name is empty in 'a,,b'"),
        (["c", "--space", ""], "a name is empty"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], message: str) -> None:
    ended = CliRunner().invoke(example, arguments)
    assert ended.exit_code == 2
    assert message in ended.output


def test_a_collection_in_the_place_of_an_id_is_told(collection: Path) -> None:
    ended = CliRunner().invoke(example, ["17", str(collection)])
    assert ended.exit_code == 2
    assert "is a collection, which comes first; ids come after it" in ended.output
