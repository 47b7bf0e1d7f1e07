"""The fields of a frame as formulas take them: each read once as its type, with what cannot be read marked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import polars as pl

from fieldline_core.schema import FieldType
from fieldline_mappings.formula.columns import widened
from fieldline_mappings.formula.scope import Slot
from fieldline_mappings.formula.terms import NOW, TODAY, Reasons, Term
from fieldline_mappings.formula.types import Type
from fieldline_mappings.reading import KINDS, Reading, Steps

_EXPECTED = {
    "number": "a number", "integer": "a whole number", "text": "a text", "boolean": "true or false",
    "date": "a date (YYYY-MM-DD)", "datetime": "a date and time (YYYY-MM-DDThh:mm:ss)", "time": "a time (hh:mm:ss)",
}  # fmt: skip


@dataclass(slots=True)
class Reader:
    """Reads the fields that are asked for from frames with this schema."""

    schema: Mapping[str, pl.DataType]
    zone: str
    zero_blanks: bool
    _readings: dict[Reading, None] = field(default_factory=dict)
    _steps: dict[Reading, Steps] = field(default_factory=dict)

    def term(self, slot: Slot, reasons: Reasons, *, exact: bool = False, readable: bool = False) -> Term:
        """The value of a field; `exact` keeps whole numbers as Int64; `readable` says that all of it can be read."""
        assert slot.field is not None
        reading = Reading(slot.name, KINDS[slot.field])
        self._readings[reading] = None
        error = None
        if not readable and not reading.certain(self.schema.get(slot.name)):
            error = pl.when(reading.unreadable).then(reasons.code(f"field {slot.name!r} is not {_EXPECTED[reading.type]}"))
        value = reading.value.cast(pl.Float64) if slot.field is FieldType.INTEGER and not exact else reading.value
        if slot.type is Type.NUMBER and self.zero_blanks and not exact:
            value = value.fill_null(0.0) if error is None else pl.when(~reading.unreadable).then(value.fill_null(0.0))
        return Term(slot.type, value, error, error_weight=0 if error is None else 1)

    def read(self, frame: pl.DataFrame, clock: datetime | pl.Series | None = None) -> tuple[pl.DataFrame, bool]:
        """The frame with each field beside it as the type that it is read as, and the clock: one moment, or one for each row.

        Says, too, whether all of it could be read; where not, what cannot be is marked.
        """
        ready, left = self._ready(frame)
        ready += [] if clock is None else _clock(clock, self.zone, frame.height)
        frame = frame.hstack(ready) if ready else frame
        steps = [self._made(reading) for reading in left]
        texts = {expression.meta.output_name(): expression for step in steps for expression in step.texts}
        frame = widened(frame, texts.values()) if texts else frame
        values = [each for step in steps for each in step.values]
        frame = widened(frame, values) if values else frame
        flags = [each for step in steps for each in step.flags]
        frame = widened(frame, flags) if flags else frame
        return frame, not any(frame[reading.unreadable_name].any() for reading in left if reading.unreadable_name in frame.columns)

    def _made(self, reading: Reading) -> Steps:
        if reading not in self._steps:
            self._steps[reading] = reading.steps(self.schema.get(reading.field), self.zone)
        return self._steps[reading]

    def marked(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame that was read with a mark for each field, those of which all could be read among them."""
        readable = pl.Series([False]).new_from_index(0, frame.height)
        names = [reading.unreadable_name for reading in self._readings if reading.unreadable_name not in frame.columns]
        return frame.hstack([readable.alias(name) for name in names])

    def _ready(self, frame: pl.DataFrame) -> tuple[list[pl.Series], list[Reading]]:
        """Columns that are taken as they are, and what has to be read."""
        ready: list[pl.Series] = []
        left: list[Reading] = []
        for reading in self._readings:
            column = reading.at_once(frame[reading.field]) if reading.field in self.schema else None
            if column is None:
                left.append(reading)
            else:
                ready.append(column.alias(reading.value_name))
        return ready, left


def _clock(clock: datetime | pl.Series, zone: str, height: int) -> list[pl.Series]:
    if isinstance(clock, pl.Series):
        today = clock.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.date()
        return [clock.alias(NOW), today.alias(TODAY)]
    moment = clock if clock.tzinfo else clock.replace(tzinfo=UTC)
    now, today_there = moment.astimezone(UTC).replace(tzinfo=None), moment.astimezone(ZoneInfo(zone)).date()
    constants = pl.Series(NOW, [now], pl.Datetime("us")), pl.Series(TODAY, [today_there], pl.Date)
    return [constant.new_from_index(0, height) for constant in constants]
