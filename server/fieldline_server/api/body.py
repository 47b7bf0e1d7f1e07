"""Bodies of requests, bounded while they arrive."""

import asyncio
from pathlib import Path

from fastapi import Request

from fieldline_connectors.bounded import TooLarge
from fieldline_core.errors import Rejected, Unavailable
from fieldline_core.yaml_source import MAX_BYTES as DOCUMENT_BYTES

MAX_BYTES = 1024 * 1024
_LONGEST_S = 30.0


class Slow(Rejected):
    """The body did not arrive in time."""

    code = "request_timeout"


async def read_body(request: Request, max_bytes: int = MAX_BYTES) -> bytes:
    """The body; raises TooLarge as soon as it is known to be, without holding more than the bound."""
    _check_length(request, max_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_LONGEST_S):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise TooLarge(f"the body has more than {max_bytes:,} bytes")
                parts.append(part)
    except TimeoutError:
        raise Slow(f"the body did not arrive within {_LONGEST_S:g} s") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_documents(request: Request) -> str:
    """The body as a text of YAML documents."""
    return (await read_body(request, DOCUMENT_BYTES)).decode(errors="replace")


async def save_body(request: Request, path: Path, max_bytes: int, longest_s: float) -> None:
    """Writes the body to a file; raises TooLarge as soon as it is known to be."""
    _check_length(request, max_bytes)
    size = 0
    try:
        async with asyncio.timeout(longest_s):
            with path.open("wb") as file:
                async for part in request.stream():
                    size += len(part)
                    if size > max_bytes:
                        raise TooLarge(f"the file has more than {max_bytes:,} bytes")
                    file.write(part)
    except TimeoutError:
        raise Slow(f"the file did not arrive within {longest_s:g} s") from None
    except OSError as error:
        raise Unavailable(f"the file cannot be kept while it is looked at: {error.strerror}") from error


def _check_length(request: Request, max_bytes: int) -> None:
    """What the sender says is taken at its word only where it says too much."""
    said = request.headers.get("content-length", "0")
    if not said.isdecimal() or len(said) > 15 or int(said) > max_bytes:
        raise TooLarge(f"the body has more than {max_bytes:,} bytes")
