"""A model that is loaded: arrays in, a frame of outputs out."""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldline_core.batch import Sifted
from fieldline_core.errors import Rejected, Unavailable
from fieldline_core.ports import Tensors
from fieldline_core.signature import Signature, Tensor
from fieldline_inference.deadlines import DEADLINES
from fieldline_inference.registry import ModelVersion
from fieldline_inference.runtime import CUDA, FAILURES, Runtime, failed_operator, run_options

RUN_BYTES = 8 << 20
"""Bytes of inputs and outputs of one run: larger ones gain no speed, and between its layers a network holds far more than that."""

_TEXT_BYTES = 64
_UNKNOWN_WIDTH = 64


class OnnxModel:
    """One model version on its runtime; may be used by several threads at once."""

    def __init__(self, version: ModelVersion, session: Any, runtime: Runtime, run_bytes: int = RUN_BYTES) -> None:
        self.version = version
        self.digest = version.digest
        self.signature: Signature = version.signature
        self.runtime = runtime
        self._session = session
        self._names = [tensor.name for tensor in self.signature.outputs]
        row_bytes = sum(_row_bytes(tensor) for tensor in (*self.signature.inputs, *self.signature.outputs))
        self._rows_at_once = version.facts.rows_at_once or max(1, run_bytes // max(1, row_bytes))

    def run(self, tensors: Tensors, timeout_s: float) -> Sifted:
        """The outputs, a column for each number: `name`, or `name[0]`, `name[1]` … where an output has several.

        Rows whose outputs are not finite are held. Raises Rejected where the run fails, exceeds the time limit (of all its
        batches together) or gives outputs of another shape than one row for each record.
        """
        rows = self._check(tensors)
        if not rows:
            return _sifted(self._names, [_no_rows(tensor) for tensor in self.signature.outputs])
        options = run_options()
        with DEADLINES.limit(options, timeout_s):
            parts = [self._run_batch(batch, options, timeout_s) for batch in self._batches(tensors, rows)]
        outputs = parts[0] if len(parts) == 1 else [self._join(several) for several in zip(*parts, strict=True)]
        return _sifted(self._names, outputs)

    def _check(self, tensors: Tensors) -> int:
        inputs = self.signature.inputs
        if len(tensors) != len(inputs):
            raise ValueError(f"{self.version} takes {[tensor.name for tensor in inputs]}, given are {sorted(tensors)}")
        rows = -1
        for tensor in inputs:
            array = tensors[tensor.name]
            if not _fits(array, tensor) or rows not in (-1, len(array)):
                given = f"{array.dtype}{array.shape}"
                raise ValueError(f"{self.version} takes {tensor.name} as {tensor.dtype}{tensor.shape}, given is {given}")
            rows = len(array)
        return rows

    def _batches(self, tensors: Tensors, rows: int) -> Iterator[Tensors]:
        if rows <= self._rows_at_once:
            yield tensors
            return
        for start in range(0, rows, self._rows_at_once):
            yield {name: array[start : start + self._rows_at_once] for name, array in tensors.items()}

    def _run_batch(self, batch: Tensors, options: Any, timeout_s: float) -> list[NDArray[Any]]:
        rows = len(next(iter(batch.values())))
        try:
            outputs: list[NDArray[Any]] = self._session.run(self._names, batch, options)
        except FAILURES as error:
            raise self._failure(error, options, timeout_s) from None
        for name, output in zip(self._names, outputs, strict=True):
            if output.shape[:1] != (rows,):
                raise Rejected(f"the output {name} of {self.version} has the shape {output.shape} for {rows} records")
        return outputs

    def _failure(self, error: Exception, options: Any, timeout_s: float) -> Exception:
        if options.terminate:
            return Rejected(f"{self.version} did not end within {timeout_s:g} s")
        if self.runtime.provider == CUDA and ("CUDA" in str(error) or "CUBLAS" in str(error) or "CUDNN" in str(error)):
            return Unavailable(f"the CUDA device failed in {self.version} ({failed_operator(error)})", retry_after=30)
        return Rejected(f"{self.version} failed in its operator {failed_operator(error)}")

    def _join(self, several: tuple[NDArray[Any], ...]) -> NDArray[Any]:
        if len({part.shape[1:] for part in several}) > 1:
            raise Rejected(f"an output of {self.version} changes its width from batch to batch")
        return np.concatenate(several)


def _row_bytes(tensor: Tensor) -> int:
    width = _UNKNOWN_WIDTH if tensor.width is None else tensor.width
    return width * (_TEXT_BYTES if tensor.dtype == "string" else np.dtype(tensor.dtype).itemsize)


def _fits(array: NDArray[Any], tensor: Tensor) -> bool:
    if not (array.dtype.kind in "OU" if tensor.dtype == "string" else array.dtype == tensor.dtype):
        return False
    shape = tensor.shape
    return array.ndim == len(shape) and all(want in (None, size) for want, size in zip(shape, array.shape, strict=True))


def _no_rows(tensor: Tensor) -> NDArray[Any]:
    width = 1 if tensor.width is None else tensor.width
    return np.empty((0, width), dtype=object if tensor.dtype == "string" else tensor.dtype)


def _sifted(names: list[str], outputs: list[NDArray[Any]]) -> Sifted:
    held: dict[int, str] = {}
    columns: list[pl.Series] = []
    for name, output in zip(names, outputs, strict=True):
        numbers = output.reshape(len(output), prod(output.shape[1:]))
        if numbers.dtype.kind == "f" and not (finite := np.isfinite(numbers)).all():
            for row in np.flatnonzero(~finite.all(axis=1)).tolist():
                held.setdefault(row, f"the model's output {name} is not a finite number")
        columns += _columns(name, numbers)
    return Sifted(pl.DataFrame(columns), held)


def _columns(name: str, numbers: NDArray[Any]) -> list[pl.Series]:
    if numbers.shape[1] == 1:
        return [_series(name, numbers[:, 0])]
    return [_series(f"{name}[{position}]", column) for position, column in enumerate(numbers.T)]


def _series(name: str, values: NDArray[Any]) -> pl.Series:
    if values.dtype.kind in "OU":
        return pl.Series(name, values.tolist(), dtype=pl.String)
    return pl.Series(name, values.astype(np.float32) if values.dtype == np.float16 else values)


__all__ = ["RUN_BYTES", "OnnxModel"]
