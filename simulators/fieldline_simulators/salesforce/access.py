"""Who acts, and what that user may see and write."""

from dataclasses import dataclass, field
from typing import Any

from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.schema import Field, SObject


@dataclass(slots=True)
class Access:
    """The rights of one user; fields are written `Lead.AnnualRevenue`."""

    hidden: set[str] = field(default_factory=set)
    readonly: set[str] = field(default_factory=set)
    api_enabled: bool = True

    def sees(self, kind: SObject, each: Field) -> bool:
        """Whether the field is there at all for this user."""
        return f"{kind.name}.{each.name}" not in self.hidden

    def writes(self, kind: SObject, each: Field) -> bool:
        """Whether field-level security lets this user change the field."""
        return f"{kind.name}.{each.name}" not in self.readonly

    def set(self, path: str, right: str) -> None:
        """Gives a right to a field: hidden, read or edit."""
        for rights, name in ((self.hidden, "hidden"), (self.readonly, "read")):
            (rights.add if right == name else rights.discard)(path)

    def as_dict(self) -> dict[str, Any]:
        """For the store."""
        return {"hidden": sorted(self.hidden), "readonly": sorted(self.readonly), "api_enabled": self.api_enabled}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "Access":
        """From the store."""
        return cls(set(saved["hidden"]), set(saved["readonly"]), saved["api_enabled"])


@dataclass(frozen=True, slots=True)
class Actor:
    """A user in one request, with what the request's headers ask for."""

    user_id: str
    access: Access
    api: str = ""
    version: str = ""
    client: str = ""
    auto_assign: bool = True
    allow_duplicates: bool = False

    @property
    def origin(self) -> str:
        """What change events name as the origin."""
        if not self.api:
            return ""
        return f"com/salesforce/api/{self.api}/{self.version}" + (f";client={self.client}" if self.client else "")

    def field(self, kind: SObject, name: str) -> Field:
        """The field of a record that is written; one that is hidden is answered as one that is not there."""
        found = kind.get(name)
        if found is None or not self.access.sees(kind, found):
            raise ApiError("INVALID_FIELD", f"No such column '{name}' on sobject of type {kind.name}", [])
        return found
