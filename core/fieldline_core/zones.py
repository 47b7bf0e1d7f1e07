"""Zones: what a batch's evidence holds at all, in 47 bytes beside it, so that a search opens those batches only that it has to.

A zone is sealed under the batch's own key: in clear, the least and the greatest score of a batch of one would be a person's score.
"""

import math
import os
import struct
from collections.abc import Set
from dataclasses import dataclass
from typing import Self

import polars as pl
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fieldline_core.receipts import Outcome

SCORED, HELD = "scored", "held"
OUTCOMES = (SCORED, HELD, *(outcome.value for outcome in Outcome))
"""What can become of a record: when it is decided on, then at a target. Their order is that of the bits: new ones come behind."""
_FORMAT = struct.Struct(">BddH")
_VERSION, _NONCE_BYTES, _USE = 1, 12, b"evidence:zone"
_SLACK, _SMALLEST = 1e-6, 1e-40


@dataclass(frozen=True, slots=True)
class Zone:
    """Which outcomes a batch has, and between which scores; NaN where it has none."""

    low: float
    high: float
    outcomes: Set[str]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Self:
        """The zone of the rows that were not erased."""
        if frame["key"].null_count():
            frame = frame.filter(frame["key"].is_not_null())
        name = score_column(frame)
        low, high = (frame[name].min(), frame[name].max()) if name else (None, None)
        return cls(_number(low), _number(high), _outcomes(frame))

    def may_hold(self, outcomes: Set[str], score: tuple[float, float] | None) -> bool:
        """Whether a row can have one of these outcomes (any, where there are none) and a score in this range."""
        if outcomes and not outcomes & self.outcomes:
            return False
        # What is compared exactly is the column in its own precision.
        return score is None or (self.high >= score[0] - _slack(score[0]) and self.low <= score[1] + _slack(score[1]))

    def seal(self, cipher: AESGCM) -> bytes:
        """Its ciphertext under the batch's key."""
        bits = sum(1 << place for place, outcome in enumerate(OUTCOMES) if outcome in self.outcomes)
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + cipher.encrypt(nonce, _FORMAT.pack(_VERSION, self.low, self.high, bits), _USE)


def open_zone(key: bytes, sealed: bytes) -> Zone | None:
    """The zone of a ciphertext; None where it cannot be read, which is no reason to pass its batch by."""
    try:
        version, low, high, bits = _FORMAT.unpack(AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _USE))
    except (InvalidTag, ValueError, struct.error):
        return None
    return Zone(low, high, {name for place, name in enumerate(OUTCOMES) if bits >> place & 1}) if version == _VERSION else None


def score_column(frame: pl.DataFrame) -> str | None:
    """The column that `score:` means: the output named score, or else the first output that is a number."""
    outputs = [name for name in frame.columns if name.startswith("output.")]
    first = ["output.score"] if "output.score" in outputs else []
    return next((name for name in first + outputs if frame[name].dtype.is_numeric()), None)


def _outcomes(frame: pl.DataFrame) -> Set[str]:
    if "outcome" in frame.columns:
        return set(frame["outcome"].unique())
    held = frame.height - frame["held.stage"].null_count() if "held.stage" in frame.columns else 0
    return {name for name, count in ((HELD, held), (SCORED, frame.height - held)) if count}


def _number(value: object) -> float:
    return math.nan if value is None else float(value)  # type: ignore[arg-type]


def _slack(bound: float) -> float:
    return 0.0 if math.isinf(bound) else abs(bound) * _SLACK + _SMALLEST
