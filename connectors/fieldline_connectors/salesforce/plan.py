"""A query with the types of its fields, as the org describes them: what is needed to ask for pages of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fieldline_connectors.salesforce.config import CHANGED_AT, SalesforceQuery
from fieldline_connectors.salesforce.describe import FieldInfo, ObjectInfo
from fieldline_connectors.salesforce.errors import NOT_SEEN
from fieldline_connectors.salesforce.org import Org
from fieldline_connectors.salesforce.records import Column, ListColumn
from fieldline_connectors.salesforce.soql import Child, Selection
from fieldline_core.errors import Misconfigured
from fieldline_core.findings import did_you_mean
from fieldline_core.schema import FieldType

_STAMP = "SystemModstamp"


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read: columns, lists, and the texts that SOQL needs for them."""

    query: SalesforceQuery
    selection: Selection
    info: ObjectInfo
    key: FieldInfo
    columns: tuple[Column, ...]
    lists: tuple[ListColumn, ...]
    children: tuple[Child, ...]

    @classmethod
    def of(cls, query: SalesforceQuery, org: Org) -> "Reading":
        """The query, checked against what the org has; asked anew once, because an administrator may just have mended it."""
        try:
            return _made(query, org)
        except Misconfigured:
            org.forget()
            return _made(query, org)

    @property
    def flat(self) -> tuple[str, ...]:
        """The fields to select: those of the batch, the key, and the position in the reading order."""
        extra = ["Id", *([_STAMP] if self.query.changes_only else []), self.key.name]
        return tuple(dict.fromkeys([*(column.path for column in self.columns), *extra]))

    def select(self, conditions: Sequence[str] = (), order: str = "") -> str:
        """SOQL for the records under the query's own condition and these."""
        return self.selection.text([*self.flat, *(child.text() for child in self.children)], conditions, order)

    def count(self, conditions: Sequence[str] = ()) -> str:
        """SOQL that counts the same records."""
        return self.selection.text(["COUNT()"], conditions)


def _made(query: SalesforceQuery, org: Org) -> Reading:
    selection = query.selection
    info = org.object(selection.object)
    lists = {child.name.lower(): child for child in selection.children}
    wanted = selection.fields if query.fields is None else query.fields
    # It is asked for to be compared, of any object; the few that do not have it are written without that.
    absent = {CHANGED_AT} if CHANGED_AT.lower() not in info.fields and CHANGED_AT not in selection.fields else set()
    names = [name for name in wanted if name.lower() not in lists and name not in absent]
    children = [child for child in selection.children if query.fields is None or child.name.lower() in _lower(wanted)]
    found = tuple(Column(name, *_resolved(org, info, name)) for name in dict.fromkeys(names))
    columns = [_list(org, info, child, _asked_for(child, wanted)) for child in children]
    key = info.fields.get(query.key.lower())
    if key is None:
        raise _unknown(info, query.key)
    return Reading(query, selection, info, key, found, tuple(columns), tuple(children))


def _lower(names: Sequence[str]) -> set[str]:
    return {name.lower() for name in names}


def _asked_for(child: Child, wanted: Sequence[str]) -> str:
    """The list's name as the mapping spells it."""
    return next((name for name in wanted if name.lower() == child.name.lower()), child.name)


def _list(org: Org, info: ObjectInfo, child: Child, name: str) -> ListColumn:
    entry = info.children.get(child.name.lower())
    if entry is None:
        known = ", ".join(sorted(written for _, written in info.children.values())[:20])
        raise Misconfigured(f"{info.name} has no list {child.name} that belongs to it; it has {known or 'none'}")
    rows = org.object(entry[0])
    return ListColumn(name, entry[1], tuple(Column(field, *_resolved(org, rows, field)) for field in child.fields))


def _resolved(org: Org, info: ObjectInfo, path: str) -> tuple[str, FieldType]:
    """The path as the org spells it, and the type of what is there."""
    *relations, last = path.split(".")
    spelled = []
    for relation in relations:
        field = info.relationship(relation)
        if field is None or not field.refers_to:
            raise _unknown(info, relation)
        spelled.append(str(field.relationship))
        info = org.object("User" if relation.lower() in ("owner", "createdby", "lastmodifiedby") else field.refers_to[0])
    found = info.fields.get(last.lower())
    if found is None:
        raise _unknown(info, last)
    if not found.flat:
        raise Misconfigured(f"the field {path} of {info.name} holds several values at once ({found.kind}): read its parts instead")
    return ".".join([*spelled, found.name]), found.type


def _unknown(info: ObjectInfo, name: str) -> Misconfigured:
    meant = did_you_mean(name, [field.name for field in info.fields.values()])
    return Misconfigured(f"the field {name} of {info.name} {NOT_SEEN}{'. ' + meant if meant else ''}")
