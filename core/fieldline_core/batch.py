"""The one shape of data: a frame of rows and one key for each."""

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import polars as pl

Held: TypeAlias = Mapping[int, str]
"""Row position -> why that row is set aside, in words that hold no value of the record."""


def key_text(parts: Sequence[object]) -> str:
    """One key as text; a composite key becomes a JSON array of texts."""
    return str(parts[0]) if len(parts) == 1 else json.dumps([str(part) for part in parts], ensure_ascii=False)


def key_parts(key: str, size: int) -> list[str]:
    """The parts of a key made by `key_text`; raises ValueError where there are not `size` of them."""
    parts = [key] if size == 1 else json.loads(key)
    if not isinstance(parts, list) or len(parts) != size:
        raise ValueError(f"a key of {size} parts is expected")
    return [str(part) for part in parts]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows on their way between two systems: `keys[i]` (text) names row i of `frame`."""

    keys: pl.Series
    frame: pl.DataFrame

    def __post_init__(self) -> None:
        if len(self.keys) != self.frame.height and self.frame.width:
            raise ValueError(f"{len(self.keys)} keys for {self.frame.height} rows")

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, keys: Sequence[str] | pl.Series, frame: pl.DataFrame) -> Self:
        """A batch from keys in any sequence."""
        return cls(keys if isinstance(keys, pl.Series) else pl.Series("key", keys, dtype=pl.String), frame)

    def take(self, mask: pl.Series) -> "Batch":
        """The rows where the boolean mask is true, in order."""
        return Batch(self.keys.filter(mask), self.frame.filter(mask))

    def slice(self, offset: int, length: int) -> "Batch":
        """`length` rows from `offset` on."""
        return Batch(self.keys.slice(offset, length), self.frame.slice(offset, length))

    def split(self, size: int) -> list["Batch"]:
        """The same rows in batches of at most `size`."""
        return [self.slice(start, size) for start in range(0, len(self), size)]

    def without(self, held: Collection[int]) -> "Batch":
        """The rows that are not set aside."""
        return self.take(kept(len(self), held)) if held else self

    def last_of_each_key(self) -> tuple["Batch", list[int]]:
        """The batch with each key once (the last row wins), and the positions that were dropped."""
        if self.keys.n_unique() == len(self):
            return self, []
        mask = self.keys.is_last_distinct()
        return self.take(mask), [i for i, keep in enumerate(mask) if not keep]

    def to_bytes(self) -> bytes:
        """The batch as an Arrow IPC stream, compressed; the key is its first column."""
        return frame_bytes(
            self.frame.insert_column(0, self.keys.alias("__key")) if self.frame.width else self.keys.alias("__key").to_frame()
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The batch written by `to_bytes`."""
        frame = frame_from_bytes(data)
        return cls(frame["__key"].alias("key"), frame.drop("__key"))


def kept(rows: int, held: Collection[int]) -> pl.Series:
    """A boolean mask of `rows` entries that is false where a row is set aside."""
    mask = pl.repeat(True, rows, eager=True)
    return mask.scatter(list(held), False) if held else mask


def frame_bytes(frame: pl.DataFrame) -> bytes:
    """A frame as an Arrow IPC stream, compressed by Zstandard, with the values of its own rows and no others."""
    out = io.BytesIO()
    # Of texts Polars would write the buffers whole that a slice or a filter looks into, with the values of the rows left out.
    frame.write_ipc_stream(out, compression="zstd", compat_level=pl.CompatLevel.oldest())
    return out.getvalue()


def frame_from_bytes(data: bytes) -> pl.DataFrame:
    """The frame written by `frame_bytes`."""
    return pl.read_ipc_stream(io.BytesIO(data))


@dataclass(frozen=True, slots=True)
class Sifted:
    """A frame with all rows of its input, and those set aside: their cells are null or meaningless."""

    frame: pl.DataFrame
    held: Held
