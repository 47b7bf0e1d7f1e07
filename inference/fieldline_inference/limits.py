"""How much a model may ask for while it is inspected."""

from pydantic import BaseModel, ConfigDict

MIB = 1 << 20


class Limits(BaseModel):
    """Bounds of one inspection; the process that inspects is ended where it goes beyond them."""

    model_config = ConfigDict(frozen=True)

    memory_bytes: int = 4096 * MIB
    cpu_s: int = 60
    wall_s: float = 120.0
    trial_s: float = 10.0
    """Time limit of one trial run."""
    open_files: int = 64
    file_bytes: int = 2048 * MIB
    """Most bytes of the model file, and of each file beside it."""
    nodes: int = 200_000
    tensors: int = 10_000
    """Most inputs, and most outputs."""
    name_characters: int = 512
    values: int = 10_000_000
    """Most values that the inputs take for one record."""
    columns: int = 10_000
    """Most numbers that the outputs give for one record."""


__all__ = ["Limits"]
