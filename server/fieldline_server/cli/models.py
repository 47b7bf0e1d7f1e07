"""Commands on models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldline_server.cli.app import topic
from fieldline_server.cli.session import AsJson, actor, engine, registry
from fieldline_server.cli.show import show_done, show_facts, show_json, show_rows

if TYPE_CHECKING:
    from fieldline_core.pipeline.engine import Engine
    from fieldline_core.store import Transaction
    from fieldline_inference.registry import Device, ModelVersion

models = topic("models", "Models: versions of ONNX files, and the aliases that name them.")


@models.command("list")
def list_all(
    name: Annotated[str | None, typer.Argument(help="Only versions of this model.")] = None, as_json: AsJson = False
) -> None:
    """Lists the versions of all models, or of one."""
    with engine() as opened:
        found = [_facts(version) for version in registry(opened).versions(name)]
    rows = found if as_json else [row | {"digest": row["digest"][:19]} for row in found]
    show_rows(rows, ("name", "version", "aliases", "inputs", "outputs", "device", "digest"), as_json=as_json,
              none="there are no models: 'fieldline models import FILE' adds one")  # fmt: skip


@models.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="An ONNX file.")],
    name: Annotated[str | None, typer.Option("--name", help="The model's name; the file's, where this is left out.")] = None,
    device: Annotated[str, typer.Option("--device", help="Where it runs: cpu or cuda.")] = "cpu",
    fallback: Annotated[bool, typer.Option("--fallback/--no-fallback", help="Whether the CPU may stand in for the device.")] = True,
    as_json: AsJson = False,
) -> None:
    """Inspects a model in a throw-away process and stores it as the next version."""
    with engine() as opened:
        given: Any = device
        version = import_model(opened, file, name or file.stem, actor(), given, fallback)
    show_done(_facts(version), f"{version} {version.digest}", as_json=as_json)


@models.command()
def alias(
    name: Annotated[str, typer.Argument(help="The model.")],
    alias: Annotated[str, typer.Argument(help="champion or challenger.")],
    version: Annotated[int, typer.Argument(help="The version that it names from now on.")],
    as_json: AsJson = False,
) -> None:
    """Points an alias at a version; flows that name the model by it decide by that version from now on."""
    with engine() as opened:
        from fieldline_server.releases import follow_alias

        given: Any = alias
        moved = follow_alias(opened, registry(opened), name, given, version, actor())
    show_done(_facts(moved), f"{name}@{alias} is version {version} from now on", as_json=as_json)


@models.command()
def show(
    model: Annotated[str, typer.Argument(help="name, name@champion, name@3 or name@sha256:...")], as_json: AsJson = False
) -> None:
    """Shows one version with its inputs and outputs."""
    with engine() as opened:
        version = registry(opened).resolve(model)
    if as_json:
        show_json(
            _facts(version)
            | {"signature": version.signature.model_dump(mode="json"), "facts": version.facts.model_dump(mode="json")}
        )
    else:
        show_facts(_facts(version), as_json=False)


def import_model(
    opened: "Engine", file: Path, name: str, by: str, device: "Device" = "cpu", fallback: bool = True
) -> "ModelVersion":
    """Inspects and stores a model file as the next version, and says so in the audit trail."""
    from fieldline_core.events import record

    def imported(tx: "Transaction", version: "ModelVersion") -> None:
        record(tx, "model.imported", by, {"model": str(version), "digest": version.digest, "device": version.device})

    return registry(opened).import_model(file, name, by, device, fallback, imported)


def _facts(version: "ModelVersion") -> dict[str, Any]:
    signature = version.signature
    return {
        "name": version.name, "version": version.version, "digest": version.digest, "aliases": list(version.aliases),
        "device": version.device, "fallback": version.fallback, "inputs": [_shape(tensor) for tensor in signature.inputs],
        "outputs": [_shape(tensor) for tensor in signature.outputs],
    }  # fmt: skip


def _shape(tensor: Any) -> str:
    return f"{tensor.name} {tensor.dtype}[{','.join('?' if size is None else str(size) for size in tensor.shape)}]"
