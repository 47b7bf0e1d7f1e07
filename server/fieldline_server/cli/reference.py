"""The reference page of the command line, made from the commands themselves."""

from collections.abc import Iterator
from typing import Any

import typer.main

from fieldline_server.cli import app

_CODES = (
    ("0", "Done."),
    ("1", "A problem was found: a document has an error, a run failed, `doctor` found something, a record was refused; "
          "or `diff` or `rerun` found a difference."),
    ("2", "A person must change something first: how the command was called, a setting, or what was configured."),
    ("3", "Something does not answer now; the same command may work later."),
)  # fmt: skip
_FINDING = (
    "Every command finds the installation by `FIELDLINE_DATABASE_URL`, else by what `fieldline up` noted in the data",
    "directory. Results go to standard output, everything else to standard error; `NO_COLOR` is respected.",
)


def reference() -> str:
    """The page in Markdown: every command with its arguments and options."""
    root = typer.main.get_command(app)
    lines = ["# The command line", "", "Made from the code by `fieldline_server.cli.reference`; a test compares the two.", ""]
    lines += [*_FINDING, ""]
    lines += ["| Exit code | Meaning |", "|---|---|", *(f"| {code} | {meaning} |" for code, meaning in _CODES)]
    for path, command in _commands(root, "fieldline"):
        lines += ["", *_section(path, command)]
    return "\n".join(lines) + "\n"


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in sorted(group.commands.items()):
        here = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, here)
        else:
            yield here, command


def _section(path: str, command: Any) -> Iterator[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    yield f"## {' '.join([path, *(_place(each) for each in arguments)])}"
    yield ""
    yield " ".join(command.help.split())
    if arguments or options:
        yield ""
        yield "| | |"
        yield "|---|---|"
    for each in arguments:
        yield f"| `{_place(each)}` | {each.help or ''} |"
    for each in options:
        names = ", ".join(f"`{name}`" for name in (*each.opts, *each.secondary_opts))
        yield f"| {names} | {each.help}{_default(each)} |"


def _place(argument: Any) -> str:
    name = argument.metavar or argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return str(name if argument.required or name.startswith("[") else f"[{name}]")


def _default(option: Any) -> str:
    if option.required:
        return " Required."
    return "" if option.default in (None, False, True, "", []) else f" Default: `{option.default}`."
