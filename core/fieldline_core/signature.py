"""What a model takes and gives, as its file declares it."""

from math import prod

from pydantic import BaseModel, ConfigDict


class Tensor(BaseModel):
    """One input or output of a model; a dimension that is only known when it runs is None."""

    model_config = ConfigDict(frozen=True)

    name: str
    dtype: str
    """`float32`, `int64`, `bool`, `string` …, as numpy names it but for `string`."""
    shape: tuple[int | None, ...]
    """Rows first."""

    @property
    def width(self) -> int | None:
        """How many values each row has, or None where the model's file does not say."""
        per_row = self.shape[1:]
        return None if None in per_row else prod(size for size in per_row if size is not None)

    def columns(self) -> tuple[str, ...] | None:
        """`name`, or `name[0]`, `name[1]` … where a row has several values; None where the width is unknown."""
        match self.width:
            case None:
                return None
            case 1:
                return (self.name,)
            case width:
                return tuple(f"{self.name}[{position}]" for position in range(width))


class Signature(BaseModel):
    """The inputs and outputs of a model."""

    model_config = ConfigDict(frozen=True)

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def input(self, name: str) -> Tensor | None:
        """The input of that name."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def output(self, column: str) -> Tensor | None:
        """The output that gives this column; one of unknown width gives `name` and every `name[i]`."""
        return next((tensor for tensor in self.outputs if _gives(tensor, column)), None)

    def output_columns(self) -> tuple[str, ...]:
        """The columns of all outputs, in order; an output of unknown width stands as `name[…]`."""
        return tuple(column for tensor in self.outputs for column in tensor.columns() or (f"{tensor.name}[…]",))


def _gives(tensor: Tensor, column: str) -> bool:
    known = tensor.columns()
    if known is not None:
        return column in known
    position = column.removeprefix(tensor.name)
    return column.startswith(tensor.name) and (not position or (position[0] + position[-1] == "[]" and position[1:-1].isdecimal()))


__all__ = ["Signature", "Tensor"]
