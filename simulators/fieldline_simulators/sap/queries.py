"""Reading: one record or a page of them, with `$select`, `$expand`, `$orderby`, server paging, counts and what changed."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fieldline_simulators.sap.calls import Call, as_json
from fieldline_simulators.sap.errors import Refused, malformed
from fieldline_simulators.sap.expanding import Shape, key_text, shape_of
from fieldline_simulators.sap.expressions import condition, order
from fieldline_simulators.sap.extractors import MODE, keep_link, marked
from fieldline_simulators.sap.model import EntitySet, Row
from fieldline_simulators.sap.resources import Resource, follower, related, resolve
from fieldline_simulators.sap.store import Record, Store
from fieldline_simulators.sap.values import shown
from fieldline_simulators.serving import Reply

_BOTH = frozenset({"$filter", "$select", "$expand", "$orderby", "$top", "$skip", "$skiptoken", "$format"})
_OPTIONS = {False: _BOTH | {"$inlinecount"}, True: _BOTH | {"$count", "$deltatoken", "$search"}}
_COUNT = re.compile(r"\d{1,9}")
_SAFE = "'(),/:$"
_TOKEN = re.compile(r"D(\d{1,15})")


@dataclass(frozen=True, slots=True)
class Reader:
    """Answers questions about the records of a store."""

    store: Store
    page_rows: int
    #: Scheme and host that the links of V2 name, where it is another one than the client's.
    link_host: str = ""

    def read(self, call: Call) -> Reply:
        """What a GET gets; raises Refused."""
        _check_options(call)
        found = resolve(self.store, call)
        if found.tail == "$count":
            return Reply(200, str(len(self._fitting(found, call))).encode(), {"Content-Type": "text/plain"})
        if found.property is not None:
            return _property(call, found)
        if not found.one:
            token = found.since or call.options.get("$deltatoken" if call.v4 else "!deltatoken")
            return self._page(call, found) if token is None else self._changed(call, found, token)
        return self.one(call, found.entity_set, found.present())

    def one(self, call: Call, entity_set: EntitySet, record: Record, status: int = 200) -> Reply:
        """One record."""
        if status == 200 and call.headers.get("if-none-match", "").strip() in (record.etag, "*"):
            return Reply(304, b"", {"ETag": record.etag})
        shape = shape_of(self.store, entity_set, call)
        found = self._shown(call, shape, record)
        headers = {"ETag": record.etag}
        if not call.v4:
            return as_json({"d": found}, status, headers)
        return as_json({"@odata.context": f"{call.root}$metadata#{entity_set.name}/$entity", **found}, status, headers)

    def _fitting(self, found: Resource, call: Call) -> list[Record]:
        given = found.given or {}
        records = [each for each in self.store.all(found.entity_set) if all(each.row[n] == v for n, v in given.items())]
        return list(filter(self._test(found.entity_set, call), records))

    def _test(self, entity_set: EntitySet, call: Call) -> Callable[[Record], bool]:
        wanted = call.options.get("$filter")
        if wanted is None:
            return lambda record: True
        test = condition(wanted, entity_set, follower(self.store), v4=call.v4)
        return lambda record: test(record.row)

    def _page(self, call: Call, found: Resource) -> Reply:
        options, entity_set = call.options, found.entity_set
        shape = shape_of(self.store, entity_set, call)
        fitting = self._fitting(found, call)
        records = self._sorted(fitting, entity_set, options.get("$orderby"), v4=call.v4)
        skip, top = _number(options, "$skip") or 0, _number(options, "$top")
        records = records[skip:] if top is None else records[skip : skip + top]
        size, start = self._size(call), _number(options, "$skiptoken") or 0
        # A full page links to the next one, which may be empty: the server reads no further than the page.
        more = start + size <= len(records) and (top is None or start + size < top)
        page = [self._shown(call, shape, each) for each in records[start : start + size]]
        document: dict[str, Any] = {}
        if options.get("$inlinecount") == "allpages":
            document["__count"] = str(len(fitting))
        if options.get("$count") == "true":
            document["@odata.count"] = len(fitting)
        if more:
            document |= self._next(call, start + size)
        elif "odata.track-changes" in call.preferences and entity_set.tracked and not found.given:
            document |= self._delta(call, entity_set)
        return _collection(call, entity_set, page, document, _applied(call, size, entity_set))

    def _size(self, call: Call) -> int:
        asked = call.preferences.get("odata.maxpagesize", call.preferences.get("maxpagesize", ""))
        return min(int(asked), self.page_rows) if _COUNT.fullmatch(asked) and int(asked) else self.page_rows

    def _sorted(self, records: list[Record], entity_set: EntitySet, wanted: str | None, *, v4: bool) -> list[Record]:
        records = sorted(records, key=lambda record: entity_set.key_of(record.row))
        parts = order(wanted, entity_set, follower(self.store), v4=v4) if wanted is not None else []
        for of, down in reversed(parts):
            values = {id(record): of(record.row) for record in records}
            records.sort(key=lambda record, v=values: _sortable(v[id(record)]), reverse=down)  # type: ignore[misc]
        return records

    def _shown(self, call: Call, shape: Shape, record: Record) -> dict[str, Any]:
        row, v4 = record.row, call.v4
        found = {each.name: shown(each, row[each.name], v4=v4, exact=call.exact) for each in shape.properties}
        uri = f"{call.root}{shape.entity_set.name}({key_text(shape.entity_set, row, v4=v4)})"
        if v4:
            found["@odata.etag"] = record.etag
        else:
            found["__metadata"] = {"id": uri, "uri": uri, "type": f"{self.store.model.namespace}.{shape.entity_set.type}",
                                   "etag": record.etag}  # fmt: skip
        for navigation in shape.entity_set.navigations:
            inner = shape.expanded.get(navigation.name)
            if inner is None:
                if not v4 and shape.links:
                    found[navigation.name] = {"__deferred": {"uri": f"{uri}/{navigation.name}"}}
                continue
            rows = self._expanded(call, inner, related(self.store, navigation, row))
            if not navigation.many:
                found[navigation.name] = rows[0] if rows else None
            else:
                found[navigation.name] = rows if v4 else {"results": rows}
        return found

    def _expanded(self, call: Call, shape: Shape, records: list[Record]) -> list[dict[str, Any]]:
        if shape.options:
            if "$filter" in shape.options:
                test = condition(shape.options["$filter"], shape.entity_set, follower(self.store), v4=True)
                records = [each for each in records if test(each.row)]
            records = self._sorted(records, shape.entity_set, shape.options.get("$orderby"), v4=True)
            skip, top = _number(shape.options, "$skip") or 0, _number(shape.options, "$top")
            records = records[skip:] if top is None else records[skip : skip + top]
        return [self._shown(call, shape, each) for each in records]

    def _next(self, call: Call, start: int) -> dict[str, str]:
        link = _link(call, {**call.options, "$skiptoken": str(start)})
        # Where a path has several segments, clients disagree on what a relative link is relative to.
        return (
            {"@odata.nextLink": f"{call.root}{link}" if "/" in call.path else link}
            if call.v4
            else {"__next": self._absolute(call, link)}
        )

    def _delta(self, call: Call, entity_set: EntitySet) -> dict[str, str]:
        kept = {name: value for name, value in call.options.items() if name in ("$filter", "$select", "$expand")}
        name = "$deltatoken" if call.v4 else "!deltatoken"
        token = f"D{self.store.position}"
        if not call.v4 and keep_link(self.store, entity_set, token):
            return {}
        link = _link(call, {**kept, name: token if call.v4 else f"'{token}'"})
        return {"@odata.deltaLink": link} if call.v4 else {"__delta": self._absolute(call, link)}

    def _absolute(self, call: Call, link: str) -> str:
        if not self.link_host:
            return f"{call.root}{link}"
        return f"{self.link_host.rstrip('/')}/{call.root.partition('://')[2].partition('/')[2]}{link}"

    def _changed(self, call: Call, found: Resource, token: str) -> Reply:
        """What changed behind a token; raises Refused for one that is too old."""
        entity_set, known = found.entity_set, _TOKEN.fullmatch(token.strip("'"))
        if not known or not entity_set.tracked or int(known[1]) > self.store.position:
            raise malformed("The delta token is not valid")
        if int(known[1]) < self.store.oldest:
            raise Refused(410, "/IWFND/CM_BEC/410", "The delta token is too old: read all records again")
        shape, test = shape_of(self.store, entity_set, call), self._test(entity_set, call)
        known_before: dict[Any, Record | None] = {}
        for change in self.store.changes:
            if change.position > int(known[1]) and change.entity_set == entity_set.name:
                known_before.setdefault(change.key, change.before)
        entries = []
        for key, before in known_before.items():
            now = self.store.get(entity_set, key)
            if now is not None and test(now):
                entries.append(self._shown(call, shape, marked(now, "U")))
            elif before is not None and test(before) and MODE in before.row:
                entries.append(self._shown(call, shape, marked(before, "D")))
            elif before is not None and test(before):
                entries.append(_gone(call, entity_set, before.row, "deleted" if now is None else "changed"))
        return _collection(call, entity_set, entries, self._delta(call, entity_set), {}, "/$delta")


def _gone(call: Call, entity_set: EntitySet, row: Row, reason: str) -> dict[str, Any]:
    """How a deleted record is told of, in both versions."""
    id = f"{entity_set.name}({key_text(entity_set, row, v4=call.v4)})"
    return {"@odata.context": f"$metadata#{entity_set.name}/$deletedEntity", "id": id, "reason": reason}


def _property(call: Call, found: Resource) -> Reply:
    kind, row = found.property, found.present().row
    assert kind is not None
    value = shown(kind, row[kind.name], v4=call.v4, exact=True)
    if found.tail:
        return Reply(204) if value is None else Reply(200, str(value).encode(), {"Content-Type": "text/plain;charset=utf-8"})
    if call.v4:
        return as_json({"value": shown(kind, row[kind.name], v4=True, exact=call.exact)})
    return as_json({"d": {kind.name: value}})


def _collection(
    call: Call, entity_set: EntitySet, entries: list[dict[str, Any]], more: Mapping[str, Any], headers: Mapping[str, str],
    kind: str = "",
) -> Reply:  # fmt: skip
    if not call.v4:
        return as_json({"d": {"results": entries, **more}}, headers=headers)
    return as_json({"@odata.context": f"{call.root}$metadata#{entity_set.name}{kind}", "value": entries, **more}, headers=headers)


def _applied(call: Call, size: int, entity_set: EntitySet) -> dict[str, str]:
    said = []
    if "odata.maxpagesize" in call.preferences:
        said.append(f"odata.maxpagesize={size}")
    if "odata.track-changes" in call.preferences and entity_set.tracked:
        said.append("odata.track-changes")
    return {"Preference-Applied": ", ".join(said)} if said else {}


def _link(call: Call, options: Mapping[str, str]) -> str:
    query = "&".join(f"{quote(name, safe='$!-')}={quote(value, safe=_SAFE)}" for name, value in options.items())
    return f"{call.path}?{query}"


def _number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not _COUNT.fullmatch(text):
        raise malformed(f"Invalid value for {name}")
    return int(text)


def _sortable(value: Any) -> tuple[bool, Any]:
    # Nothing comes before everything else.
    return value is not None, value if value is not None else 0


def _check_options(call: Call) -> None:
    unknown: Sequence[str] = [name for name in call.options if name.startswith("$") and name not in _OPTIONS[call.v4]]
    if unknown:
        raise malformed(f"System query option '{unknown[0]}' is not valid")
    if "$search" in call.options:
        raise malformed("System query option '$search' is not supported")
    if call.options.get("$inlinecount", "none") not in ("none", "allpages"):
        raise malformed("Invalid value for $inlinecount")
    if call.options.get("$count", "false") not in ("true", "false"):
        raise malformed("Invalid value for $count")
    if call.options.get("$format", "json") != "json":
        raise Refused(415, "/IWFND/CM_MGW/415", "This server answers in JSON only")
