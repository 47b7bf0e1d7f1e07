"""Pages and their cursors: by key, by a watermark with an overlap, or exactly by PostgreSQL's transactions."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from fieldline_connectors.odbc.config import OdbcQuery
from fieldline_connectors.odbc.connections import Connections, Purpose
from fieldline_connectors.odbc.dialects import Column, Connection, PostgreSql
from fieldline_connectors.odbc.read import Condition, Reading, Rows
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Cursor, Page
from fieldline_core.schema import FieldType

_XIDS = 2**32
_STORED = ("r", "p", "m")


def pages(connections: Connections, query: OdbcQuery, after: Cursor | None, limit: int) -> Iterator[Page]:
    """Pages of at most `limit` rows behind `after`."""
    with connections.use(Purpose.READ) as connection:
        reading = Reading.of(query, connections, connection)
        by_transaction = bool(query.watermark) and _has_transactions(reading, connection)
    if query.watermark is None:
        for rows in reading.stream(connections, (), (after or {}).get("key"), reading.keys, limit):
            yield Page(rows.batch, {"key": list(rows.position)})
    elif by_transaction:
        yield from _by_transaction(reading, connections, dict(after or {}), limit)
    else:
        yield from _by_watermark(reading, connections, query.watermark, after, limit)


def _has_transactions(reading: Reading, connection: Connection) -> bool:
    """Whether the rows carry the transaction that wrote them: those of PostgreSQL's tables do, those of its views do not."""
    query = reading.query
    if not isinstance(reading.dialect, PostgreSql) or not query.table:
        found = False
    else:
        name = reading.dialect.table(query.table)
        row = connection.execute("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(?)", name).fetchone()
        found = row is not None and row[0] in _STORED
    if query.watermark == "xmin" and not found:
        raise Misconfigured(
            f"{query.table or 'the SELECT'}: the watermark xmin is there only for tables of PostgreSQL; name a column"
        )
    return found


def _by_watermark(reading: Reading, connections: Connections, name: str, after: Cursor | None, limit: int) -> Iterator[Page]:
    """In the order of the watermark, from the overlap before the cursor on: rows in the overlap come again."""
    watermark = reading.columns[name]
    order = [watermark, *(key for key in reading.keys if key.name != name)]
    fixed: list[Condition] = [(f"{reading.dialect.quote(name)} IS NOT NULL", ())]
    position = None
    if after:
        low = _shifted(watermark, after["watermark"], reading.query.overlap_s)
        if low == after["watermark"]:
            position = [after["watermark"], *after["key"]]
        else:
            fixed.append(_from(reading, watermark, low))
    for rows in reading.stream(connections, fixed, position, order, limit):
        yield Page(rows.batch, {"watermark": rows.position[0], "key": list(rows.position[1:])})


def _by_transaction(reading: Reading, connections: Connections, after: dict[str, Any], limit: int) -> Iterator[Page]:
    """By windows of transactions, each of which had ended when its window was read, so that no late commit is missed.

    A window is all row versions whose transaction is at least `from` and below `to`; `to` is the oldest transaction that
    still runs (`pg_snapshot_xmin`), and the next window begins there. The watermark only narrows what must be searched.
    """
    if after.get("key"):
        yield from _window(reading, connections, after, limit)
        after = _ended(after)
    with connections.use(Purpose.READ) as connection:
        asked = "SELECT txid_snapshot_xmin(s), txid_snapshot_xmax(s) FROM (SELECT txid_current_snapshot() AS s) AS now"
        oldest, next_one = connection.execute(asked).fetchone()
    begin = after.get("from")
    # A cursor from another server (restored, replicated) may lie ahead of this one's transactions: then all is read again.
    restarted = begin is not None and begin > oldest
    window = {"from": None if restarted else begin, "to": oldest, "next": next_one, "high": after.get("high")}
    yield from _window(reading, connections, window, limit)


def _window(reading: Reading, connections: Connections, window: dict[str, Any], limit: int) -> Iterator[Page]:
    name = reading.query.watermark
    watermark = reading.columns[name] if name and name != "xmin" else None
    fixed = [_within(window)]
    low = window.get("low")
    if low is None and watermark and window["from"] is not None and window["high"] is not None:
        low = _shifted(watermark, window["high"], reading.query.overlap_s)
    if low is not None and watermark:
        fixed.append(_from(reading, watermark, low))
    high = window["high"]
    for rows in reading.stream(connections, fixed, window.get("key"), reading.keys, limit):
        high = _highest(watermark, rows, high)
        cursor = {**window, "low": low, "high": high, "key": list(rows.position)}
        yield Page(rows.batch, cursor if rows.more else _ended(cursor))


def _ended(window: Mapping[str, Any]) -> dict[str, Any]:
    """The cursor behind a window that was read to its end."""
    return {"from": window["to"], "high": window["high"]}


def _within(window: Mapping[str, Any]) -> Condition:
    """The rows of a window; their transaction ids are 32 bits of the 64 that count, so all is compared as distances."""
    distance = f"((CAST(q.xmin::text AS bigint) - CAST(? AS bigint)) & {_XIDS - 1})"
    begin, end = window["from"], window["to"]
    if begin is None or end - begin >= _XIDS // 2:
        return f"NOT ({distance} < CAST(? AS bigint))", [end, window["next"] - end]
    return f"{distance} < CAST(? AS bigint)", [begin, end - begin]


def _from(reading: Reading, watermark: Column, low: str) -> Condition:
    return f"{reading.dialect.quote(watermark.name)} >= {reading.dialect.placeholder(watermark)}", [reading.bound(watermark, low)]


def _highest(watermark: Column | None, rows: Rows, high: str | None) -> str | None:
    """The highest value of the watermark so far, as the database wrote it; `infinity` does not count."""
    if watermark is None:
        return high
    values = rows.raw[watermark.name].drop_nulls()
    if watermark.type in (FieldType.DATE, FieldType.DATETIME):
        newest = values.filter(values.str.contains(r"^\d")).max()
        return max((str(text) for text in (newest, high) if text is not None), default=None)
    numbers = [Decimal(str(value)) for value in (*values, *([high] if high else []))]
    return str(max(numbers)) if numbers else None


def _shifted(watermark: Column, text: str, seconds: int) -> str:
    """The watermark, so many seconds earlier where it is a time."""
    try:
        if watermark.type is FieldType.DATE:
            return str(date.fromisoformat(text) - timedelta(days=-(-seconds // 86_400)))
        if watermark.type is FieldType.DATETIME and seconds:
            return str(datetime.fromisoformat(text) - timedelta(seconds=seconds))
    except (ValueError, OverflowError):
        raise Misconfigured(
            f"the watermark {watermark.name} holds a time that no calendar has: leave such rows out by `where`"
        ) from None
    return text
