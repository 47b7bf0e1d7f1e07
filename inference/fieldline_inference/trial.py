"""A model's signature: as its session declares it, and as a trial record shows it."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldline_core.errors import Rejected
from fieldline_core.signature import Signature, Tensor
from fieldline_inference.limits import MIB, Limits
from fieldline_inference.runtime import FAILURES, failed_operator, out_of_memory, run_options

_SAME_NAME = ("bool", "float16", "int16", "int32", "int64", "int8", "string", "uint16", "uint32", "uint64", "uint8")
DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64"} | {f"tensor({name})": name for name in _SAME_NAME}

_DYNAMIC = "export it with a dynamic first dimension"


def declared_signature(session: Any, limits: Limits) -> Signature:
    """The signature as the file declares it."""
    inputs = tuple(_tensor(value, "input") for value in session.get_inputs())
    if not inputs:
        raise Rejected("the model takes no input")
    if sum(tensor.width or 1 for tensor in inputs) > limits.values:
        raise Rejected(f"the model takes more than {limits.values:,} values for each record")
    return Signature(inputs=inputs, outputs=tuple(_tensor(value, "output") for value in session.get_outputs()))


def rows_at_once(signature: Signature) -> int | None:
    """1 where the model takes one record a run, None where it takes any number."""
    fixed = {tensor.shape[0] for tensor in signature.inputs} - {None}
    if fixed - {1}:
        raise Rejected(f"the model takes exactly {max(size or 0 for size in fixed)} records a run: {_DYNAMIC}")
    return 1 if fixed else None


def try_records(session: Any, declared: Signature, limits: Limits) -> tuple[Signature, list[str]]:
    """The signature with the shapes that a trial of one record, and of two, gave; and warnings.

    Raises Rejected where an output does not give one row for each record, or a record's row depends on those beside it.
    """
    at_once = rows_at_once(declared)
    try:
        one = _run(session, declared, 1, limits)
    except FAILURES as error:
        _check_memory(error, limits)
        return _rows_open(declared), [f"a record of zeros fails in {failed_operator(error)}: the outputs could not be tried"]
    try:
        two = _run(session, declared, at_once or 2, limits)
    except FAILURES as error:
        _check_memory(error, limits)
        raise Rejected(f"the model takes one record but not more ({failed_operator(error)}): {_DYNAMIC}") from None
    outputs = tuple(_seen(tensor, a, b, at_once or 2) for tensor, a, b in zip(declared.outputs, one, two, strict=True))
    seen = Signature(inputs=_rows_open(declared).inputs, outputs=outputs)
    _check_columns(seen, limits)
    warnings = [f"the model takes one record a run, which is slow: {_DYNAMIC}"] if at_once else []
    return seen, warnings


def _tensor(value: Any, kind: str) -> Tensor:
    name = value.name
    if value.type.startswith(("seq(map(", "map(")):
        raise Rejected(f"the {kind} {name} is a list of dictionaries: export the model with zipmap=False")
    if value.type not in DTYPES:
        raise Rejected(f"the {kind} {name} has the type {value.type}, which Fieldline does not know")
    if kind == "input" and not value.shape:
        raise Rejected(f"the input {name} has no dimension for records: {_DYNAMIC}")
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in value.shape)
    return Tensor(name=name, dtype=DTYPES[value.type], shape=shape)


def _run(session: Any, signature: Signature, rows: int, limits: Limits) -> list[NDArray[Any]]:
    options = run_options()
    timer = threading.Timer(limits.trial_s, lambda: setattr(options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        inputs = {tensor.name: _zeros(tensor, rows, limits) for tensor in signature.inputs}
        return [np.asarray(output) for output in session.run(None, inputs, options)]
    except FAILURES:
        if options.terminate:
            raise Rejected(f"the model does not score one record within {limits.trial_s:g} s") from None
        raise
    finally:
        timer.cancel()


def _zeros(tensor: Tensor, rows: int, limits: Limits) -> NDArray[Any]:
    shape = (rows, *(1 if size is None else size for size in tensor.shape[1:]))
    if tensor.dtype == "string":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, dtype=tensor.dtype)


def _check_memory(error: Exception, limits: Limits) -> None:
    if out_of_memory(error):
        raise Rejected(f"the model wants more than {limits.memory_bytes // MIB:,} MiB of memory to score one record") from None


def _rows_open(signature: Signature) -> Signature:
    def opened(tensor: Tensor) -> Tensor:
        return tensor.model_copy(update={"shape": (None, *tensor.shape[1:])})

    return Signature(inputs=tuple(map(opened, signature.inputs)), outputs=tuple(map(opened, signature.outputs)))


def _seen(tensor: Tensor, one: NDArray[Any], two: NDArray[Any], rows: int) -> Tensor:
    if one.shape[:1] != (1,) or two.shape[:1] != (rows,) or one.ndim != two.ndim:
        raise Rejected(f"the output {tensor.name} does not give one row for each record")
    if one.shape[1:] == two.shape[1:] and not all(_same(two[row : row + 1], one) for row in range(rows)):
        raise Rejected(f"the output {tensor.name} of a record changes with the records beside it, or from run to run")
    shape = tuple(a if a == b else None for a, b in zip(one.shape[1:], two.shape[1:], strict=True))
    return tensor.model_copy(update={"shape": (None, *shape)})


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    # Rounding differs with the size of a batch, and a label can turn over with it where two classes tie.
    return a.dtype.kind != "f" or np.allclose(a, b, rtol=1e-2, atol=1e-5, equal_nan=True)


def _check_columns(signature: Signature, limits: Limits) -> None:
    if sum(tensor.width or 1 for tensor in signature.outputs) > limits.columns:
        raise Rejected(f"the model gives more than {limits.columns:,} numbers for each record")
    columns = signature.output_columns()
    if len(set(columns)) < len(columns):
        raise Rejected("two outputs of the model give columns of the same name: rename one of them")
