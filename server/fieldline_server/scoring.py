"""Synchronous scoring: requests join only what waits already, so that no one waits to be joined."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from fieldline_core.batch import Batch
from fieldline_core.errors import FieldlineError, Misconfigured, Unavailable
from fieldline_core.flow import Release
from fieldline_core.pipeline.decide import Decisions
from fieldline_core.pipeline.engine import Engine
from fieldline_core.pipeline.score import Given, answer
from fieldline_inference.registry import Registry
from fieldline_server.metrics import Metrics

MOST_TOGETHER = 256
"""Records that are scored together, and records of one request."""
MOST_WAITING = 2048
"""Records that may wait; beyond it requests are refused at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one record was answered: fields and outputs, or why it is held back."""

    key: str
    fields: Mapping[str, Any] | None
    outputs: Mapping[str, Any] | None
    held: str | None
    release: str
    clock: str
    decision: tuple[int, int]
    """The chunk and the row of the decision."""


@dataclass(slots=True, eq=False)
class _Asked:
    release: Release
    records: Given
    by: str
    keys: frozenset[str]
    answers: "Future[list[Answer]]" = field(default_factory=Future)


class Scorer:
    """One thread that scores for all waiting callers of this process, each batch under one release."""

    def __init__(self, engine: Engine, registry: Registry, metrics: Metrics) -> None:
        self._engine = engine
        self._registry = registry
        self._metrics = metrics
        self._waiting: deque[_Asked] = deque()
        self._records = 0
        self._changed = threading.Condition()
        self._ended = False
        self._fits: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="scorer", daemon=True)

    def start(self) -> None:
        """Begins to score."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the batch under way; who still waits is refused."""
        with self._changed:
            self._ended = True
            left, self._waiting = list(self._waiting), deque()
            self._changed.notify()
        _refuse([asked for asked in left if asked.answers.set_running_or_notify_cancel()], _ending())
        if self._thread.is_alive():
            self._thread.join()

    def ask(self, release: Release, records: Given, by: str) -> "Future[list[Answer]]":
        """The answers to come, in the order of the records (each key once); raises Unavailable where too many wait."""
        keys = records.keys if isinstance(records, Batch) else (key for key, _ in records)
        asked = _Asked(release, records, by, frozenset(keys))
        with self._changed:
            if self._ended:
                raise _ending()
            if self._records + len(records) > MOST_WAITING:
                raise Unavailable(f"{self._records} records wait to be scored already", retry_after=1.0)
            self._waiting.append(asked)
            self._records += len(records)
            self._changed.notify()
        return asked.answers

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._answer(batch)
            except FieldlineError as error:
                _refuse(batch, error)
            except Exception as error:
                if len(batch) == 1:
                    _refuse(batch, error)
                # A request that meets a bug must not take those down that it was joined with.
                for asked in batch if len(batch) > 1 else ():
                    self._answer_alone(asked)

    def _answer_alone(self, asked: _Asked) -> None:
        try:
            self._answer([asked])
        except Exception as error:
            _refuse([asked], error)

    def _next(self) -> list[_Asked]:
        """What waits for the release of the oldest request; empty at the end."""
        batch: list[_Asked] = []
        while not batch:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if self._ended:
                    return []
                chosen = _joined(self._waiting)
                self._waiting = deque(asked for asked in self._waiting if asked not in chosen)
                self._records -= sum(len(asked.records) for asked in chosen)
            # A caller that has given up is not scored.
            batch = [asked for asked in chosen if asked.answers.set_running_or_notify_cancel()]
        return batch

    def _answer(self, batch: Sequence[_Asked]) -> None:
        release = batch[0].release
        self._check_device(release)
        callers = [(asked.by, len(asked.keys)) for asked in batch]
        made = answer(self._engine, release, _together(batch), callers)
        answers = _answers(made, release)
        self._metrics.joined.observe(len(answers))
        first = 0
        for asked in batch:
            asked.answers.set_result(answers[first : first + len(asked.records)])
            first += len(asked.records)

    def _check_device(self, release: Release) -> None:
        """A model that only a GPU pool can hold would be loaded, or fail to be, in the process that others wait for."""
        if release.id in self._fits:
            return
        for pin in release.models:
            if pin.device == "cuda" and not self._registry.resolve(f"{pin.name}@{pin.version}").fallback:
                raise Misconfigured(
                    f"the model {pin.name}@{pin.version} runs on a GPU only and cannot be scored while a caller waits: "
                    "import it with a fallback, or start a run of the flow"
                )
        self._fits.add(release.id)


def _ending() -> Unavailable:
    return Unavailable("Fieldline is ending; ask again", retry_after=5.0)


def _refuse(batch: Sequence[_Asked], error: Exception) -> None:
    for asked in batch:
        asked.answers.set_exception(error)


def _joined(waiting: Sequence[_Asked]) -> list[_Asked]:
    """The oldest request and those behind it that fit; a key is decided once in a batch, and in the order it was asked."""
    chosen: list[_Asked] = []
    keys: set[str] = set()
    rows = 0
    for asked in waiting:
        if asked.release.id != waiting[0].release.id or type(asked.records) is not type(waiting[0].records):
            continue
        if chosen and (rows + len(asked.records) > MOST_TOGETHER or not keys.isdisjoint(asked.keys)):
            break
        chosen.append(asked)
        keys |= asked.keys
        rows += len(asked.records)
    return chosen


def _together(batch: Sequence[_Asked]) -> Given:
    """The records of all requests, which are of one form."""
    rows = [asked.records for asked in batch if isinstance(asked.records, Batch)]
    if rows:
        return Batch(pl.concat([each.keys for each in rows]), pl.concat([each.frame for each in rows]))
    return [each for asked in batch if not isinstance(asked.records, Batch) for each in asked.records]


def _answers(made: Decisions, release: Release) -> list[Answer]:
    fields, outputs = _rows(made.fields, len(made.batch)), _rows(made.outputs, len(made.batch))
    clock, chunk = made.clock.isoformat(), made.chunk or 0
    return [
        Answer(key, None, None, made.held[row][1], release.digest, clock, (chunk, row))
        if row in made.held
        else Answer(key, fields[row], outputs[row], None, release.digest, clock, (chunk, row))
        for row, key in enumerate(made.batch.keys)
    ]


def _rows(frame: Any, rows: int) -> list[dict[str, Any]]:
    return frame.to_dicts() if frame.height == rows else [{}] * rows
