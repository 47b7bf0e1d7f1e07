"""Errors as FHIR servers say them: an OperationOutcome, in each vendor's way."""

from typing import Any

from fieldline_simulators.fhir.profiles import Profile


class Refusal(Exception):
    """A request that is answered by an OperationOutcome."""

    def __init__(
        self, status: int, code: str, words: str, expression: str = "", *, id: str = "", vendor_code: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(words)
        self.status, self.code, self.words, self.expression = status, code, words, expression
        self.id, self.vendor_code, self.headers = id, vendor_code, headers or {}

    def body(self, profile: Profile) -> dict[str, Any]:
        """The OperationOutcome."""
        made = outcome("error", self.code, self.words, profile, expression=self.expression, vendor_code=self.vendor_code)
        return {**made, "id": self.id} if self.id and profile.words_in == "details" else made


def outcome(
    severity: str, code: str, words: str, profile: Profile, *, expression: str = "", vendor_code: str = ""
) -> dict[str, Any]:  # fmt: skip
    """An OperationOutcome with one issue."""
    issue: dict[str, Any] = {"severity": severity, "code": code}
    details: dict[str, Any] = {"text": words} if profile.words_in == "details" else {}
    if vendor_code:
        details["coding"] = [{"system": f"urn:fieldline:simulated:{profile.name}", "code": vendor_code}]
    if details:
        issue["details"] = details
    if profile.words_in == "diagnostics":
        issue["diagnostics"] = words
    if expression:
        issue["expression"] = [expression]
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def not_found() -> Refusal:
    """There is no such resource."""
    return Refusal(404, "not-found", "Not found", id="not-found")


def precondition_failed(words: str = "Precondition Failed") -> Refusal:
    """A condition of the request does not hold."""
    return Refusal(412, "processing", words, id="precondition-failed")


def invalid(words: str, expression: str = "") -> Refusal:
    """A request that no server could carry out."""
    return Refusal(400, "invalid", words, expression)


def not_supported(words: str, status: int = 405) -> Refusal:
    """An interaction that this server does not have."""
    return Refusal(status, "not-supported", words)
