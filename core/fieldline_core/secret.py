"""Secrets: references in configuration, values only at the moment of use."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from fieldline_core.errors import Misconfigured

_WRITTEN_WITHIN_S = (0.05, 0.2, 0.0)


class Secret:
    """A secret that never shows itself: a literal (tests, generated values) or a reference such as `env:SF_KEY`."""

    __slots__ = ("_literal", "reference")

    from_store: ClassVar[Callable[[str], str] | None] = None
    """Set by the wiring: the value behind `store:NAME`."""

    def __init__(self, literal: str | None = None, *, reference: str = "") -> None:
        self._literal = literal
        self.reference = reference

    def reveal(self) -> str:
        """The value; raises Misconfigured, naming the reference, where it cannot be had."""
        if self._literal is not None:
            return self._literal
        kind, _, name = self.reference.partition(":")
        match kind:
            case "env" if name in os.environ:
                return os.environ[name]
            case "env":
                raise Misconfigured(f"the secret {self.reference} is not set: export {name} where Fieldline runs")
            case "file":
                return _file(name)
            case "store" if Secret.from_store:
                return Secret.from_store(name)
        raise Misconfigured(f"the secret reference {self.reference!r} is unknown: use env:NAME, file:/path or store:NAME")

    def __repr__(self) -> str:
        return f"Secret({self.reference or '***'})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.reference, self._literal) == (other.reference, other._literal)

    def __hash__(self) -> int:
        return hash((self.reference, self._literal))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda s: {"secret": s.reference or "***"}),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["secret"],
            "additionalProperties": False,
            "x-secret": True,
            "properties": {"secret": {"type": "string", "pattern": "^(env|file|store):.+", "examples": ["env:ERP_PASSWORD"]}},
        }

    @classmethod
    def _validate(cls, value: Any) -> "Secret":
        if isinstance(value, Secret):
            return value
        if isinstance(value, dict) and set(value) == {"secret"} and isinstance(value["secret"], str) and ":" in value["secret"]:
            return cls(reference=value["secret"])
        raise ValueError("a secret is written as a reference, {secret: env:NAME} or {secret: file:/path}, never as its value")


def _file(name: str) -> str:
    for wait_s in _WRITTEN_WITHIN_S:
        try:
            text = Path(name).read_text().rstrip("\n")
        except OSError as error:
            raise Misconfigured(f"the secret file {name} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Misconfigured(f"the secret file {name} is no text in UTF-8: write the secret into it as text") from None
        if text:
            return text
        # A file that is written anew in its place is empty for a moment; what is misconfigured waits for minutes.
        time.sleep(wait_s)
    raise Misconfigured(f"the secret file {name} is empty: write the secret into it")
