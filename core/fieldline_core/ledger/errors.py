"""What makes evidence worthless.

LedgerError
├── NoteError    a note or checkpoint is malformed, or not signed as it must be
├── TileError    a tile or entry bundle is not what its tree needs
└── ProofError   a proof does not hold
"""


class LedgerError(ValueError):
    """Something that was given as evidence does not hold."""


class NoteError(LedgerError):
    """A note or checkpoint is malformed, or not signed as it must be."""


class TileError(LedgerError):
    """A tile or entry bundle is not what its tree needs."""


class ProofError(LedgerError):
    """A proof does not hold."""


__all__ = ["LedgerError", "NoteError", "ProofError", "TileError"]
