"""`kvasir key`."""

from __future__ import annotations

from pathlib import Path
from shlex import join

import click

from retrieval.arguments import LocalPath, is_collection, require_collection_first
from web.keys import Scope, create_key, read_keys, revoke_key

_COLLECTION = click.argument("collection", type=LocalPath())


class _KeyGroup(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and is_collection(Path(args[0])):
            meant = args[1:2] if args[1:2] and args[1] in self.commands else ["list"]
            rest = [*meant, args[0], *args[2:]]
            ctx.fail(f"{args[0]} is the collection, which comes after the command: `kvasir key {join(rest)}`")
        return super().resolve_command(ctx, args)


@click.group("key", cls=_KeyGroup)
def command() -> None:
    """Make, list and revoke the API keys of a collection.

    Example:  kvasir key create kvasir.collection --name laboratory
    """


@command.command("create")
@_COLLECTION
@click.option("--name", default="unnamed", show_default=True, help="Who or what the key is for.")
@click.option("--read-only", is_flag=True, help="The key may read but neither add nor remove images.")
def create(collection: Path, name: str, read_only: bool) -> None:
    """Make a key. It is shown once; only its hash is stored."""
    scope: Scope = "read" if read_only else "write"
    key, secret = create_key(collection, name, scope)
    click.echo(secret)
    click.echo(f"key {key.id} ('{name}', {scope}) for {collection}; it cannot be shown again", err=True)


@command.command("list")
@_COLLECTION
def show(collection: Path) -> None:
    """List the keys: id, what they may do, when they were made, for whom."""
    for key in read_keys(collection):
        click.echo(f"{key.id}  {key.scope:<5}  {key.created}  {key.name}")


@command.command("revoke")
@_COLLECTION
@click.argument("key_id")
def revoke(collection: Path, key_id: str) -> None:
    """Forget a key; a running server refuses it at once."""
    require_collection_first("kvasir key revoke", collection, key_id)
    key = revoke_key(collection, key_id)
    click.echo(f"key {key.id} ('{key.name}') is revoked", err=True)
