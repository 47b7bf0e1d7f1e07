"""Commands on API keys and secrets."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fieldline_server.cli.app import topic
from fieldline_server.cli.session import AsJson, actor, engine
from fieldline_server.cli.show import note, show_done, show_json, show_rows

if TYPE_CHECKING:
    from fieldline_core.pipeline.engine import Engine

keys = topic("keys", "API keys: each is shown once and may do what its scopes say.")
secrets = topic("secrets", "Secrets that connections refer to as {secret: store:NAME}; kept encrypted.")


@keys.command("list")
def list_all(as_json: AsJson = False) -> None:
    """Lists the keys without their secrets."""
    with engine() as opened:
        from fieldline_server.keys import list_keys

        found = list_keys(opened)
    columns = ("id", "label", "scopes", "created_by", "created_at", "expires_at", "revoked_at", "last_used_at")
    show_rows(found, columns, as_json=as_json, none="there are no keys: 'fieldline keys make LABEL --scope read'")


@keys.command()
def make(
    label: Annotated[str, typer.Argument(help="What the key is for.")],
    scopes: Annotated[list[str], typer.Option("--scope", help="What it may do; give it several times.")],
    days: Annotated[int | None, typer.Option("--days", min=1, max=3650, help="Days after which it ends.")] = None,
    as_json: AsJson = False,
) -> None:
    """Makes a key and prints it, this once."""
    with engine() as opened:
        from fieldline_server.keys import make_key

        key, row = make_key(opened, label, scopes, actor(), days)
    if as_json:
        show_json({"key": key, "id": row["id"], "scopes": row["scopes"], "expires_at": row["expires_at"]})
    else:
        typer.echo(key)
        note(f"the key {row['id']} may {', '.join(row['scopes'])}; it is not shown again")


@keys.command()
def revoke(id: Annotated[str, typer.Argument(help="The key's id, as 'fieldline keys' lists it.")], as_json: AsJson = False) -> None:
    """Ends a key for good."""
    with engine() as opened:
        from fieldline_core.errors import Misconfigured
        from fieldline_server.keys import revoke_key

        if not revoke_key(opened, id, actor()):
            raise Misconfigured(f"there is no key {id!r} in force: see 'fieldline keys'")
    show_done({"revoked": id}, f"the key {id} is revoked", as_json=as_json)


@secrets.command("set")
def put(name: Annotated[str, typer.Argument(help="The secret's name, lower case.")], as_json: AsJson = False) -> None:
    """Keeps a secret, read from standard input so that no command line or history holds it."""
    from fieldline_core.errors import Misconfigured
    from fieldline_core.flow import NAME

    if len(name) > 63 or not NAME.match(name):
        raise typer.BadParameter("a name has at most 63 lower case letters, digits, '-' and '_', and starts with a letter")
    value = typer.prompt(f"the secret {name}", hide_input=True) if sys.stdin.isatty() else sys.stdin.read().rstrip("\n")
    if not value:
        raise Misconfigured("standard input held no secret")
    with engine() as opened:
        keep_secret(opened, name, value, actor())
    show_done({"secret": name}, f"kept: connections refer to it as {{secret: store:{name}}}", as_json=as_json)


def keep_secret(opened: "Engine", name: str, value: str, by: str) -> None:
    """Seals a secret into the store, in place of an earlier one, and says so in the audit trail."""
    from fieldline_core.events import record

    sealed = opened.keyring.seal(value.encode(), f"secret:{name}")
    with opened.store.transaction("secret.put") as tx:
        tx.run("keys.put_secret", name=name, body=sealed)
        record(tx, "secret.stored", by, {"name": name})
