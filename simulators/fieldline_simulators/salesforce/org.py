"""The org: its records, users, rules, faults and event log, changed in transactions and kept in a file if one is given."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from fieldline_simulators.salesforce.access import Access, Actor
from fieldline_simulators.salesforce.changes import RETAINED, Change, Feed
from fieldline_simulators.salesforce.errors import not_found
from fieldline_simulators.salesforce.faults import Faults
from fieldline_simulators.salesforce.ids import make_id
from fieldline_simulators.salesforce.objects import standard_schema
from fieldline_simulators.salesforce.outbound import Outbound
from fieldline_simulators.salesforce.pubsub_bus import Bus
from fieldline_simulators.salesforce.schema import Field, Row, SObject
from fieldline_simulators.salesforce.sessions import App, Sessions, Usage
from fieldline_simulators.salesforce.store import Store
from fieldline_simulators.salesforce.table import Table
from fieldline_simulators.salesforce.values import timestamp

PASSWORD, SECURITY_TOKEN = "simulated", "TOKEN"


@dataclass(frozen=True, slots=True)
class Options:
    """What an org is made with."""

    seed: int = 7
    leads: int = 3000
    state: Path | None = None
    daily_limit: int = 100_000
    session_s: float = 7200.0
    page_rows: int = 2000
    #: How long a bulk job is InProgress at least.
    bulk_s: float = 0.0
    #: The rows of a page of a bulk query's results, where the client does not ask for less.
    bulk_rows: int = 10_000


@dataclass(slots=True)
class Rule:
    """A validation rule: a record that fits the condition, written as in a WHERE clause, is refused with the message."""

    object: str
    condition: str
    message: str
    field: str = ""


@dataclass(slots=True)
class Behaviour:
    """What an administrator of the org has switched on."""

    #: Lead assignment rules run on a write that does not forbid it by `Sforce-Auto-Assign: FALSE`.
    assignment_rule: bool = False
    #: A lead with the e-mail address of another is refused as a duplicate.
    duplicate_rule: bool = False
    #: What `Organization.IsSandbox` says.
    sandbox: bool = False
    #: Assertions are taken with the audience of this kind of org only: test.salesforce.com for a sandbox.
    check_audience: bool = False
    #: Users may log in with a password, as in orgs of old.
    password_login: bool = False


def utc_now() -> datetime:
    """Now."""
    return datetime.now(UTC)


class Org:
    """One org; whoever reads or writes it holds its lock."""

    def __init__(self, options: Options, now: Callable[[], datetime] = utc_now) -> None:
        self.options, self.now = options, now
        self.lock = threading.RLock()
        self.schema = standard_schema()
        self.tables = {name: Table(kind) for name, kind in self.schema.objects.items()}
        self.feed = Feed()
        self.faults = Faults(options.seed)
        self.sessions = Sessions(options.seed, options.session_s)
        self.usage = Usage(options.daily_limit)
        self.apps: dict[str, App] = {}
        self.access: dict[str, Access] = {}
        self.rules: list[Rule] = []
        #: The values of each pick list that a record type allows, where those are not all.
        self.allowed: dict[str, dict[str, Sequence[str]]] = {}
        self.behaviour = Behaviour()
        self.bus, self.outbound = Bus(), Outbound()
        self.org_id = make_id("00D", options.seed)
        self.rule_tests: dict[tuple[str, str, date], Callable[[Row], bool]] = {}
        self.cursors: dict[str, Any] = {}
        self.schema_changed = now().replace(microsecond=0)
        self._counters: dict[str, int] = {}
        self._commits = 0
        self._under_way: Transaction | None = None
        self.store = Store(options.state) if options.state else None
        self.is_new = not self._load()

    def kind(self, name: str) -> SObject:
        """The object of this name; raises NOT_FOUND."""
        found = self.schema.get(name)
        if found is None:
            raise not_found()
        return found

    def table(self, name: str) -> Table:
        """The records of an object; raises NOT_FOUND."""
        return self.tables[self.kind(name).name]

    def row_of(self, record_id: str | None) -> Row | None:
        """The record of any object that has this id."""
        kind = self.schema.of_id(record_id) if record_id else None
        return self.tables[kind.name].rows.get(record_id or "") if kind else None

    def next_id(self, prefix: str) -> str:
        """The next id of an object."""
        self._counters[prefix] = self._counters.get(prefix, 0) + 1
        return make_id(prefix, self._counters[prefix])

    def user(self, username: str) -> Row | None:
        """The user of this name."""
        return next(iter(self.tables["User"].find_live("Username", username)), None)

    def accepts_password(self, password: str) -> bool:
        """Whether a password opens a user's account; with or without the security token behind it."""
        return self.behaviour.password_login and password in (PASSWORD, PASSWORD + SECURITY_TOKEN)

    def actor(self, user_id: str, **asked: Any) -> Actor:
        """A user who acts."""
        return Actor(user_id, self.access.setdefault(user_id, Access()), **asked)

    def administrator(self) -> Actor:
        """The first user, as the page and the seed act."""
        return self.actor(next(iter(self.tables["User"].rows)), auto_assign=False, allow_duplicates=True)

    def add_field(self, object_name: str, added: Field) -> None:
        """Adds a custom field."""
        kind = self.kind(object_name)
        kind.add(added)
        table = self.tables[kind.name]
        table.rows = {each: {**row, added.name: row.get(added.name, added.default)} for each, row in table.rows.items()}
        table.add_index(added)
        self._custom.append((kind.name, added))
        self.schema_changed = self.now().replace(microsecond=0)
        self.save()

    @contextmanager
    def transaction(self, actor: Actor) -> Iterator["Transaction"]:
        """A transaction that ends with the block: everything in it, or nothing; one inside another ends with the outer one."""
        with self.lock:
            outer = self._under_way
            made = Transaction(self, actor, outer.undo, outer.drafts, outer.beside) if outer else Transaction(self, actor)
            begun, self._under_way = made.mark(), made
            try:
                yield made
                if outer is None:
                    self._commit(made)
            except BaseException:
                made.back_to(begun)
                raise
            finally:
                self._under_way = outer

    def save(self, **more: Any) -> None:
        """Writes the settings, and what else is given, to the file."""
        if self.store:
            self.store.save(settings=self._settings(), **more)

    def close(self) -> None:
        """Writes what is left and closes the file."""
        with self.lock:
            if self.store:
                self.save()
                self.store.close()

    def _commit(self, done: "Transaction") -> None:
        changes = self._changes(done) if done.drafts else []
        if self.store and (done.undo or done.drafts or done.beside):
            rows = {row_id: (table.kind.name, table.rows[row_id]) for table, row_id, _ in done.undo}
            records = [(row_id, name, row) for row_id, (name, row) in rows.items()]
            self.save(records=records, changes=[each.as_dict() for each in changes], **done.beside)
        self.feed.append(changes)

    def _changes(self, done: "Transaction") -> list[Change]:
        self._commits += 1
        key = hashlib.sha256(f"{self.options.seed}:{self._commits}".encode()).hexdigest()[:36]
        at_ms, actor = int(self.now().timestamp() * 1000), done.actor
        # Positions have gaps, as replay ids do: nobody may count with them.
        first = self.feed.latest + 1 + self._commits % 3
        return [
            Change(
                first + at,
                self._commits,
                key,
                at + 1,
                at_ms,
                name,
                record_id,
                kind,
                values,
                actor.origin,
                actor.client,
                actor.user_id,
            )
            for at, (name, record_id, kind, values) in enumerate(done.drafts)
        ]

    def _settings(self) -> dict[str, Any]:
        return {
            "counters": self._counters, "commits": self._commits, "forgotten": self.feed.earliest,
            "sessions": self.sessions.as_dict(), "usage": self.usage.as_dict(), "faults": self.faults.as_list(),
            "apps": [asdict(app) for app in self.apps.values()], "rules": [asdict(rule) for rule in self.rules],
            "access": {user: access.as_dict() for user, access in self.access.items()}, "behaviour": asdict(self.behaviour),
            "fields": [[name, {**asdict(each), "formula": None}] for name, each in self._custom],
            "allowed": self.allowed, "bus": self.bus.as_dict(), "outbound": self.outbound.as_list(),
        }  # fmt: skip

    def _load(self) -> bool:
        self._custom: list[tuple[str, Field]] = []
        saved = self.store.settings() if self.store else None
        if not self.store or saved is None:
            return False
        for name, made in saved["fields"]:
            lists = {"values": tuple(made["values"]), "refers_to": tuple(made["refers_to"])}
            self._custom.append((name, Field(**{**made, **lists})))
            self.schema.objects[name].add(self._custom[-1][1])
            self.tables[name].add_index(self._custom[-1][1])
        for name, row in self.store.records():
            self.tables[name].put(row)
        self._counters, self._commits = saved["counters"], saved["commits"]
        self.sessions.load(saved["sessions"])
        self.usage.load(saved["usage"])
        self.faults.load(saved["faults"])
        self.apps = {app["client_id"]: App(**app) for app in saved["apps"]}
        self.rules = [Rule(**rule) for rule in saved["rules"]]
        self.access = {user: Access.from_dict(access) for user, access in saved["access"].items()}
        self.behaviour = Behaviour(**saved["behaviour"])
        self.allowed = saved.get("allowed", {})
        self.bus = Bus(**saved["bus"])
        self.outbound.load(saved["outbound"])
        self.feed.append([Change(**each) for each in self.store.changes(RETAINED)])
        self.feed.forget(saved["forgotten"])
        return True


@dataclass(slots=True)
class Transaction:
    """What one request changes: visible at once, taken back where it fails, announced when it is committed."""

    org: Org
    actor: Actor
    undo: list[tuple[Table, str, Row | None]] = field(default_factory=list)
    drafts: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)
    #: What the store writes together with the records, such as the state of a bulk job.
    beside: dict[str, Any] = field(default_factory=dict)
    at: str = ""

    def __post_init__(self) -> None:
        self.at = timestamp(self.org.now())

    def put(self, table: Table, row: Row, kind: str, values: dict[str, Any]) -> None:
        """Writes a record, and notes the change."""
        self.undo.append((table, row["Id"], table.rows.get(row["Id"])))
        table.put(row)
        self.drafts.append((table.kind.name, row["Id"], kind, values))

    def mark(self) -> tuple[int, int]:
        """A point to come back to."""
        return len(self.undo), len(self.drafts)

    def back_to(self, mark: tuple[int, int]) -> None:
        """Takes back what was done since a point."""
        while len(self.undo) > mark[0]:
            table, record_id, old = self.undo.pop()
            table.restore(record_id, old)
        del self.drafts[mark[1] :]
