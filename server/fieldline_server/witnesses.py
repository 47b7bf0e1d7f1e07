"""The witnesses that an installation names: a file on another disk, a webhook, and witnesses of C2SP tlog-witness."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self, TypeAlias

import yaml
from pydantic import Field, HttpUrl, TypeAdapter, ValidationError, field_validator, model_validator

from fieldline_connectors.http import HttpConfig
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import path_text
from fieldline_core.flow import NAME
from fieldline_core.ledger import Kind, VerifierKey
from fieldline_core.pipeline.witness import Witness
from fieldline_core.ports import Document
from fieldline_core.secret import Secret
from fieldline_core.settings import Settings

MOST = 16
_MOST_BYTES = 256 * 1024
Name = Annotated[str, Field(max_length=63, pattern=NAME.pattern)]
Every = Annotated[float, Field(ge=1, le=86_400)]


class FileWitness(Document):
    """A file to which checkpoints are appended, on a disk that Fieldline's operators do not own."""

    file: Name
    """What this witness is called."""
    path: Path
    """Where the file is; its folder must be there."""
    every_s: Every = 60.0
    """Least time between two checkpoints, in seconds."""


class _HttpWitness(HttpConfig):
    timeout_s: float = Field(default=20.0, gt=0, le=60)
    """Longest silence of the witness while it answers, in seconds."""
    total_timeout_s: float = Field(default=60.0, gt=0, le=60)
    """Longest time for a request and its whole answer, in seconds."""
    max_answer_bytes: int = Field(default=64 * 1024, ge=1024, le=1024 * 1024)
    """Largest answer that is read, in bytes."""
    url: HttpUrl
    """Where checkpoints are sent."""
    every_s: Every = 60.0
    """Least time between two checkpoints, in seconds."""


class WebhookWitness(_HttpWitness):
    """An address to which checkpoints are posted, signed by Standard Webhooks."""

    webhook: Name
    """What this witness is called."""
    signing_secrets: tuple[Secret, ...] = Field(min_length=1, max_length=5)
    """Secrets that sign what is sent: `whsec_` (shared) or `whsk_` (private key); several while one is being changed."""


class Cosigner(_HttpWitness):
    """A witness of C2SP tlog-witness: it checks that the log only grew, and cosigns."""

    cosigner: Name
    """What this witness is called here."""
    vkey: str
    """Its public key, `<name>+<8 hex digits>+<base64>`."""

    @field_validator("vkey")
    @classmethod
    def _witness_key(cls, vkey: str) -> str:
        try:
            key = VerifierKey.parse(vkey)
        except Misconfigured as error:
            raise ValueError(str(error)) from None
        if key.kind is not Kind.COSIGNATURE:
            raise ValueError("this is the key of a log, a witness's key begins with the byte 4: ask the witness for its vkey")
        return vkey


Entry: TypeAlias = FileWitness | WebhookWitness | Cosigner


class Witnesses(Document):
    """The file that FIELDLINE_WITNESSES names."""

    witnesses: tuple[Entry, ...] = Field(max_length=MOST)
    """Who is shown the log's checkpoints."""

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [name_of(entry) for entry in self.witnesses]
        if len(set(names)) < len(names):
            raise ValueError("two witnesses have the same name")
        return self


def name_of(entry: Entry) -> str:
    """What a witness is called."""
    match entry:
        case FileWitness():
            return entry.file
        case WebhookWitness():
            return entry.webhook
        case Cosigner():
            return entry.cosigner


def read_witnesses(settings: Settings) -> tuple[Entry, ...]:
    """The witnesses that the settings name; raises Misconfigured where their file cannot be read or is wrong."""
    path = settings.witnesses
    if path is None:
        return ()
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise Misconfigured(f"the file of witnesses {path} is larger than {_MOST_BYTES:,} bytes")
        return TypeAdapter(Witnesses).validate_python(yaml.safe_load(text)).witnesses
    except OSError as error:
        raise Misconfigured(f"the file of witnesses {path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError:
        raise Misconfigured(f"the file of witnesses {path} is no YAML: see docs/how-to/witness-the-log.md") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise Misconfigured(f"the file of witnesses {path} is wrong at {path_text(first['loc'])}: {first['msg']}") from None


def open_witnesses(settings: Settings) -> list[Witness]:
    """The witnesses that the settings name, ready to be asked."""
    from fieldline_server import witnessing

    made: dict[type[Document], Callable[..., Witness]] = {
        FileWitness: witnessing.AppendedFile, WebhookWitness: witnessing.PostedTo, Cosigner: witnessing.CosignedBy,
    }  # fmt: skip
    return [made[type(entry)](entry) for entry in read_witnesses(settings)]
