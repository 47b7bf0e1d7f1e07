"""Resources from bundles and NDJSON: only those of the types that are asked for become objects, one after the other."""

import gzip
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec

from fieldline_connectors.fhir.path import References, Written
from fieldline_core.errors import Rejected

Resource: TypeAlias = dict[str, Any]

MAX_BUNDLE = 1024**3
"""Bytes of one bundle, unpacked."""
MAX_LINE = 64 * 1024**2
"""Bytes of one line of NDJSON."""
_GZIP = b"\x1f\x8b"
_BEGIN = b'{"resourceType":"'


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")
    fullUrl: str = ""  # noqa: N815


class _Bundle(msgspec.Struct):
    resourceType: str  # noqa: N815
    entry: list[_Entry] = []


class _Named(msgspec.Struct):
    resourceType: str = ""  # noqa: N815
    id: str = ""


_bundles = msgspec.json.Decoder(_Bundle)
_names = msgspec.json.Decoder(_Named)
_any = msgspec.json.Decoder()
_NONE: References = {}


class Reader:
    """Reads the resources of some types; the others are passed over without becoming objects.

    `digits` keeps decimal numbers as they are written; `references` finds what the addresses inside a bundle stand for.
    """

    def __init__(self, types: Collection[str], *, digits: bool = False, references: bool = False) -> None:
        self._types = frozenset(types)
        self._digits = digits
        self._references = references

    def file(self, path: Path) -> Iterator[tuple[Resource, References]]:
        """The resources of a file: a bundle, a single resource, or NDJSON (by its name, `….ndjson`), gzipped or not."""
        with path.open("rb") as packed:
            begin = packed.read(2)
            packed.seek(0)
            stream: Any = gzip.GzipFile(fileobj=packed) if begin == _GZIP else packed
            lines = path.name.removesuffix(".gz").endswith((".ndjson", ".jsonl"))
            with _readable(path.name):
                yield from self.lines(stream) if lines else self.bundle(stream.read(MAX_BUNDLE + 1))

    def bundle(self, data: bytes) -> Iterator[tuple[Resource, References]]:
        """The resources of a bundle's JSON, or the resource itself."""
        if len(data) > MAX_BUNDLE:
            raise Rejected(f"a bundle has more than {MAX_BUNDLE:,} bytes: export NDJSON instead")
        with _readable("a bundle"):
            if self._type(data) != "Bundle":
                yield from self._wanted(data, _NONE)
                return
            bundle = _bundles.decode(data)
            references = self._addresses(bundle, data) if self._references else _NONE
            for entry in bundle.entry:
                if memoryview(entry.resource):
                    yield from self._wanted(entry.resource, references)

    def lines(self, stream: IO[bytes]) -> Iterator[tuple[Resource, References]]:
        """The resources of NDJSON, a line each."""
        while line := stream.readline(MAX_LINE + 1):
            yield from self.line(line)

    def line(self, line: bytes) -> Iterator[tuple[Resource, References]]:
        """The resource of a line of NDJSON; none for an empty one."""
        if len(line) > MAX_LINE:
            raise Rejected(f"a line of NDJSON has more than {MAX_LINE:,} bytes")
        with _readable("a line of NDJSON"):
            if line.strip():
                yield from self._wanted(line, _NONE)

    def _wanted(self, raw: bytes | msgspec.Raw, references: References) -> Iterator[tuple[Resource, References]]:
        if self._type(raw) not in self._types:
            return
        resource = json.loads(bytes(raw), parse_float=Written) if self._digits else _any.decode(raw)
        yield resource, references

    def _type(self, raw: bytes | msgspec.Raw) -> str:
        """The resource's type; nearly always it is the first thing that is written."""
        head = bytes(memoryview(raw)[:80])
        if head.startswith(_BEGIN) and (end := head.find(b'"', len(_BEGIN))) > 0:
            return head[len(_BEGIN) : end].decode()
        return _names.decode(raw).resourceType

    def _addresses(self, bundle: _Bundle, data: bytes) -> References:
        if b"urn:uuid:" not in data and b"urn:oid:" not in data:
            return _NONE
        local = [entry for entry in bundle.entry if entry.fullUrl.startswith("urn:") and memoryview(entry.resource)]
        named = ((entry.fullUrl, _names.decode(entry.resource)) for entry in local)
        return {address: (name.resourceType, name.id) for address, name in named if name.id}


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError, json.JSONDecodeError, RecursionError, EOFError, gzip.BadGzipFile):
        raise Rejected(f"{what} is no JSON of FHIR resources, or breaks off") from None
