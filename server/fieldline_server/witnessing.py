"""How a checkpoint is handed to each kind of witness, and what its answer means."""

import base64
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from fieldline_connectors.http import answer, guarded_client, reason
from fieldline_connectors.webhook import messages
from fieldline_core.errors import Misconfigured, Unavailable
from fieldline_core.ledger import Checkpoint, NoteError, VerifierKey, decode_base64, open_note
from fieldline_core.pipeline.witness import Forked, Shown
from fieldline_server.witnesses import Cosigner, FileWitness, WebhookWitness

_LAST_LINE_BYTES = 1 << 20
_CLOCKS_DIFFER_S = 86_400


class AppendedFile:
    """A file with one line of JSON for each checkpoint."""

    def __init__(self, config: FileWitness) -> None:
        self.name, self.every_s, self._path = config.file, config.every_s, config.path

    def show(self, shown: Shown) -> Sequence[str]:
        """Appends the checkpoint, on disk when this returns; raises Forked where the file's last one is not of this log."""
        try:
            with self._opened() as file:
                torn = self._check_last(file, shown)
                line = {
                    "origin": shown.origin,
                    "size": shown.size,
                    "at": datetime.now(UTC).isoformat(),
                    "note": shown.note.decode(),
                }
                file.write(b"\n" * torn + json.dumps(line, ensure_ascii=False).encode() + b"\n")
                os.fsync(file.fileno())
        except OSError as error:
            raise Unavailable(f"the witness file {self._path} cannot be written: {error.strerror}") from None
        return ()

    def close(self) -> None:
        """Nothing: the file is open only while it is written."""

    def _opened(self) -> Any:
        made = not self._path.exists()
        # In one write each, so that a crash leaves no more than one torn line.
        file = open(os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644), "r+b", buffering=0)  # noqa: SIM115
        if made:
            _sync(self._path.parent)
        return file

    def _check_last(self, file: Any, shown: Shown) -> bool:
        """Whether the last line was torn off; raises Forked where the last whole one is of another log."""
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_LINE_BYTES))
        *lines, rest = file.read().split(b"\n")
        checkpoint = _last_checkpoint(lines)
        if checkpoint is not None:
            if checkpoint.origin != shown.origin:
                raise Misconfigured(
                    f"{self._path} holds checkpoints of {checkpoint.origin}, another log: give this one its own file"
                )
            _check_continues(self.name, checkpoint, shown)
        return bool(rest)


def _last_checkpoint(lines: Sequence[bytes]) -> Checkpoint | None:
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError, NoteError):
            return Checkpoint.parse(str(json.loads(line)["note"]).partition("\n\n")[0] + "\n")
    return None


def _check_continues(name: str, old: Checkpoint, shown: Shown) -> None:
    if old.size > shown.size:
        raise _cut_off(name, old.size, shown.size)
    if shown.root(old.size) != old.root:
        raise Forked(f"the witness {name} has a checkpoint of {old.size:,} entries that this log does not continue: "
                     "its past was changed, or it was restored from another copy")  # fmt: skip


def _cut_off(name: str, seen: int, size: int) -> Forked:
    return Forked(f"the witness {name} has a checkpoint of {seen:,} entries, and the log has {size:,}: it was cut off, "
                  "or restored from an older copy")  # fmt: skip


class PostedTo:
    """An address that takes checkpoints as signed webhooks."""

    def __init__(self, config: WebhookWitness) -> None:
        self.name, self.every_s, self._config = config.webhook, config.every_s, config

    def show(self, shown: Shown) -> Sequence[str]:
        """Posts the checkpoint; a receiver that has seen another log answers 409."""
        data = {"origin": shown.origin, "size": shown.size, "note": shown.note.decode()}
        body = json.dumps({"type": "log.checkpoint", "data": data}, ensure_ascii=False).encode()
        # The same for each repeat, so that the receiver can tell one.
        number = sha256(shown.note).hexdigest()
        headers = messages.headers(self._config.signing_secrets, number, datetime.now(UTC), body)
        response = self._client.post(str(self._config.url), content=body, headers=headers)
        if response.status_code == HTTPStatus.CONFLICT:
            raise Forked(f"the witness {self.name} has seen another log: {reason(response)}")
        answer(response)
        return ()

    def close(self) -> None:
        """Closes the connections."""
        _close(self)

    @cached_property
    def _client(self) -> httpx.Client:
        return guarded_client(self._config)


class CosignedBy:
    """A witness that checks the log's growth itself, and signs what it has seen."""

    def __init__(self, config: Cosigner) -> None:
        self.name, self.every_s, self._config = config.cosigner, config.every_s, config
        self._key = VerifierKey.parse(config.vkey)

    def show(self, shown: Shown) -> Sequence[str]:
        """Asks for a cosignature; where the witness knows the log by another size, once more from there."""
        old = shown.seen
        for last in (False, True):
            if old > shown.size:
                raise _cut_off(self.name, old, shown.size)
            response = self._ask(shown, old)
            asked, old = old, _size_of(response, old)
            if old == asked or last:
                return [self._cosignature(response, shown)]
        raise AssertionError

    def close(self) -> None:
        """Closes the connections."""
        _close(self)

    def _ask(self, shown: Shown, old: int) -> httpx.Response:
        proof = [base64.b64encode(each).decode() for each in (shown.proof(old) if old else ())]
        head = "".join(f"{line}\n" for line in (f"old {old}", *proof, ""))
        url = f"{str(self._config.url).rstrip('/')}/add-checkpoint"
        return self._client.post(url, content=head.encode() + shown.note, headers={"content-type": "text/plain; charset=utf-8"})

    def _cosignature(self, response: httpx.Response, shown: Shown) -> str:
        """The witness's line for the checkpoint; raises what its answer means instead."""
        match response.status_code:
            case HTTPStatus.CONFLICT | HTTPStatus.UNPROCESSABLE_ENTITY:
                raise Forked(
                    f"the witness {self.name} does not see that the log only grew since it cosigned last: {reason(response)}"
                )
            case HTTPStatus.FORBIDDEN:
                raise Misconfigured(
                    f"the witness {self.name} does not know the log's key: give it what 'fieldline audit key' shows"
                )
            case HTTPStatus.NOT_FOUND:
                raise Misconfigured(f"the witness {self.name} does not know the log {shown.origin}: have it added there")
        lines = answer(response).content.decode(errors="replace").splitlines(keepends=True)
        found = [line for line in lines if _names(line, self._key)]
        text = shown.note.decode().rpartition("\n\n")[0] + "\n"
        try:
            (signature,) = open_note(f"{text}\n{''.join(found[:1])}".encode(), [self._key]).signatures
        except NoteError as error:
            raise Unavailable(f"the witness {self.name} gave no cosignature that holds for its key: {error}") from None
        if abs(time.time() - (signature.time or 0)) > _CLOCKS_DIFFER_S:
            raise Unavailable(f"the witness {self.name} cosigned for another day: one of the two clocks is wrong")
        return found[0]

    @cached_property
    def _client(self) -> httpx.Client:
        return guarded_client(self._config)


def _size_of(response: httpx.Response, asked: int) -> int:
    """The size that the witness has instead of the one that it was asked for."""
    if response.status_code != HTTPStatus.CONFLICT or "text/x.tlog.size" not in response.headers.get("content-type", ""):
        return asked
    digits = response.text.strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise Unavailable(f"{reason(response)}, and a size that is no number")
    return int(digits)


def _names(line: str, key: VerifierKey) -> bool:
    """Whether a signature line is of this key, by its name and number."""
    name, _, data = line.removeprefix("\N{EM DASH} ").strip().partition(" ")
    try:
        return name == key.name and decode_base64(data)[:4] == key.id
    except ValueError:
        return False


def _close(witness: PostedTo | CosignedBy) -> None:
    if client := witness.__dict__.pop("_client", None):
        client.close()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
