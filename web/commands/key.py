"""`kvasir key`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.arguments import LocalPath, require_order
from web.keys import Scope, create_key, read_keys, revoke_key

_COLLECTION = click.argument("collection", type=LocalPath())


@click.group("key")
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
    require_order("kvasir key revoke", collection, [key_id])
    key = revoke_key(collection, key_id)
    click.echo(f"key {key.id} ('{key.name}') is revoked", err=True)
