"""The simulated system as a whole: its options, its store, and what happens to every request."""

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from fieldline_simulators.sap import idocs
from fieldline_simulators.sap.batches import Batches
from fieldline_simulators.sap.business import MODEL
from fieldline_simulators.sap.calls import Call, address, as_json, refusal
from fieldline_simulators.sap.errors import Refused
from fieldline_simulators.sap.faults import Fault, Faults
from fieldline_simulators.sap.metadata import metadata, service_document
from fieldline_simulators.sap.model import Model
from fieldline_simulators.sap.queries import Reader
from fieldline_simulators.sap.sessions import TOKEN_PATH, Sessions
from fieldline_simulators.sap.store import Store
from fieldline_simulators.sap.writes import Writer
from fieldline_simulators.serving import Reply

V2_ROOT = "/sap/opu/odata/sap/Z_PLANNING_SRV/"
V4_ROOT = "/sap/opu/odata4/sap/z_planning/srvd_a2x/sap/z_planning/0001/"

_READING = ("GET", "HEAD")
_WRITING = ("POST", "PATCH", "MERGE", "PUT", "DELETE")


@dataclass(frozen=True, slots=True)
class Options:
    """What a system begins with."""

    seed: int = 7
    state: Path | None = None
    client: str = "100"
    partners: int = 60
    orders: int = 200
    hours: int = 1_000
    #: CSV file of the planning table's hours; None invents them.
    records: Path | None = None
    page_rows: int = 500
    csrf_s: float = 1_800.0
    #: Scheme and host that V2's `__next` names, as a system behind a proxy does.
    link_host: str = ""
    most_parts: int = 1_000
    changeset_rows: int | None = None
    names_culprit: bool = True
    #: Whether IDocs are posted as they come, which the partner profile says (WE20: trigger immediately).
    posts_idocs: bool = False
    #: What it passes over, as some services do: `ieee754compatible` (of Accept), `odata.maxpagesize` (of Prefer).
    ignores: frozenset[str] = frozenset()
    model: Model = MODEL


class System:
    """One system with its records."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.store = Store(options.model, options.state)
        self.faults = Faults(options.seed)
        self.sessions = Sessions(options.client, options.csrf_s, domain=urlsplit(options.link_host).hostname or "")
        self.reader = Reader(self.store, options.page_rows, options.link_host)
        self._writer = Writer(self.store, self.reader, self.faults, {})
        self._batches = Batches(
            self.store, self._carried_out, options.most_parts, options.changeset_rows, names_culprit=options.names_culprit
        )

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes, origin: str) -> Reply:
        """What a request gets, unless a fault strikes it; raises nothing."""
        try:
            return self._answer(method, target, headers, body, origin)
        except Refused as error:
            return _refused(error, v4=target.startswith(V4_ROOT), accept=headers.get("accept", ""))
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return refusal(Refused(500, "SY/500", "The simulator has a fault of its own: see its output"), v4=False)

    def struck(self, method: str, target: str) -> list[Fault]:
        """The faults that a request meets."""
        path = target.partition("?")[0]
        resource = next((path.removeprefix(root) for root in (V2_ROOT, V4_ROOT) if path.startswith(root)), "")
        entity, _, rest = resource.partition("(")
        with self.store.lock:
            return self.faults.of_call(method, path, entity, rest.partition(")")[0].replace("'", ""))

    def close(self) -> None:
        """Closes the state."""
        self.store.close()

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes, origin: str) -> Reply:
        path, options = address(target)
        with self.store.lock:
            if path == TOKEN_PATH:
                return self.sessions.issue(body, headers, origin)
            self.sessions.admit(headers, options)
            if path.rstrip("/") in idocs.PATHS and method == "POST":
                return idocs.accept(self.store, self.faults, body, headers.get("content-type", ""), posted=self.options.posts_idocs)
            root = next((each for each in (V2_ROOT, V4_ROOT) if f"{path}/".startswith(each)), None)
            if root is None:
                raise Refused(404, "ICF/404", "Service cannot be reached", page=True)
            kept = {name: value for name, value in options.items() if name not in ("sap-client", "sap-language")}
            call = Call(method, path[len(root) :], kept, headers, body, f"{origin}{root}", v4=root == V4_ROOT,
                        ignores=self.options.ignores)  # fmt: skip
            return self._in_session(call)

    def _in_session(self, call: Call) -> Reply:
        cookies: tuple[str, ...] = ()
        given: dict[str, str] = {}
        tunnelled = call.headers.get("x-http-method", call.headers.get("x-http-method-override", "")).upper()
        if call.method == "POST" and tunnelled in _WRITING:
            call = replace(call, method=tunnelled)
        if call.method in _READING:
            if call.headers.get("x-csrf-token", "").lower() == "fetch":
                token, cookies = self.sessions.fetch(call.headers)
                given = {"X-CSRF-Token": token}
        else:
            self.sessions.check_token(call.headers)
        made = (
            self._batches.answer(call) if call.path.rstrip("/") == "$batch" and call.method == "POST" else self._carried_out(call)
        )
        version = {"OData-Version": "4.0"} if call.v4 else {"DataServiceVersion": "2.0"}
        return replace(made, headers={**version, **made.headers, **given}, cookies=cookies)

    def _carried_out(self, call: Call) -> Reply:
        """One request, alone or of a batch; raises nothing but what is a fault of the simulator."""
        try:
            if call.method in _READING:
                return self._read(call)
            if call.method not in _WRITING:
                raise Refused(405, "/IWFND/CM_MGW/405", f"Method {call.method[:20]} is not supported")
            with self.store.atomic():
                return self._writer.write(call)
        except Refused as error:
            return refusal(error, v4=call.v4, accept=call.headers.get("accept", ""))

    def _read(self, call: Call) -> Reply:
        model = self.options.model
        match call.path.strip("/"):
            case "":
                return as_json(service_document(model, call.root, v4=call.v4))
            case "$metadata":
                return Reply(200, metadata(model, v4=call.v4).encode(), {"Content-Type": "application/xml;charset=utf-8"})
        return self.reader.read(call)


def _refused(error: Refused, *, v4: bool, accept: str) -> Reply:
    if error.headers.get("X-CSRF-Token"):
        return Reply(error.status, error.message.encode(), {"Content-Type": "text/plain;charset=utf-8", **error.headers})
    return refusal(error, v4=v4, accept=accept)
