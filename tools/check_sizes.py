"""Holds files and functions to the sizes that CONTRIBUTING.md promises, and says which exceed them."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOTS = ("core", "connectors", "mappings", "inference", "server", "simulators", "tests", "tools")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40


def findings(path: Path, text: str) -> Iterator[str]:
    """What is too long in one file; a test may be long, because it tells one story."""
    lines = len(text.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{path}: {lines} lines, at most {MAX_FILE_LINES}"
    if path.parts[0] == "tests":
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"


def main() -> int:
    """Checks the project that this file belongs to."""
    project = Path(__file__).resolve().parents[1]
    found = [
        finding
        for root in ROOTS
        for path in sorted((project / root).rglob("*.py"))
        for finding in findings(path.relative_to(project), path.read_text())
    ]
    print("\n".join(found) or "sizes: all files and functions are within bounds")  # noqa: T201
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
