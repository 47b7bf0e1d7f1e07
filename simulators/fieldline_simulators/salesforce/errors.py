"""An error as Salesforce words it: in a REST answer, in a row of a collection, and in a bulk job's results."""

from collections.abc import Mapping, Sequence
from typing import Any


class ApiError(Exception):
    """One error with its code; `fields` is there for errors of a record only."""

    def __init__(
        self, code: str, message: str, fields: Sequence[str] | None = None, status: int = 400,
        headers: Mapping[str, str] | None = None, more: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status
        self.fields = None if fields is None else list(fields)
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def as_rest(self) -> list[dict[str, Any]]:
        """The body of a REST answer."""
        error: dict[str, Any] = {"message": self.message, "errorCode": self.code, **self.more}
        if self.fields is not None:
            error["fields"] = self.fields
        return [error]

    def as_row(self) -> dict[str, Any]:
        """The error of one record of a collection."""
        return {"statusCode": self.code, "message": self.message, "fields": self.fields or [], **self.more}

    def as_text(self) -> str:
        """The column `sf__Error` of a bulk job's failed results."""
        return f"{self.code}:{self.message}:{','.join(self.fields or [])} --"


def not_found(message: str = "The requested resource does not exist") -> ApiError:
    """Nothing is there."""
    return ApiError("NOT_FOUND", message, status=404)
