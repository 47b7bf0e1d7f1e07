"""The three errors, by what has to happen next; anything else is a bug and is loud.

FieldlineError
├── Misconfigured    a person must change something
├── Unavailable      try later
└── Rejected         set this row (or request) aside
"""


class FieldlineError(Exception):
    """An error whose message is written for the user: it names the thing, the place and the fix.

    `sent` says that what was asked for, or a part of it, may have taken effect all the same.
    """

    code = "error"
    sent = False


class Misconfigured(FieldlineError):
    """A person must change something before this can work."""

    code = "misconfigured"

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class Unavailable(FieldlineError):
    """The other side cannot answer now; trying later may work. `retry_after` is the wait in seconds that it asked for."""

    code = "unavailable"

    def __init__(self, message: str, retry_after: float | None = None, *, sent: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.sent = sent


class Paced(Unavailable):
    """Fieldline itself puts a request off, and has not sent it: no attempt, and nothing that the other side has failed in."""


class StoreUnavailable(Unavailable):
    """Fieldline's own database does not answer: leases end by themselves, and work goes on when it is back."""


class Rejected(FieldlineError):
    """This row or request is refused for good; the others go on."""

    code = "rejected"


class Fenced(Exception):
    """Another worker holds the lease now: stop, send nothing."""
