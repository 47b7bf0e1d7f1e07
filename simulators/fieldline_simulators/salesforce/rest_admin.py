"""What only a simulator has: orders to fail, rights, rules, fields, and the records for the web page.

GET  /                              the page
GET  /_sim/status                   what is in the org, and which calls were made
GET|PUT /_sim/faults                the faults that are set; a PUT replaces them (see faults.py)
GET  /_sim/changes?after=&limit=    the event log
POST /_sim/changes/forget           {"until": position}: what the end of the retention would do
PUT  /_sim/users/{username}/access  {"fields": {"Lead.AnnualRevenue": "hidden|read|edit"}, "api_enabled": true}
POST /_sim/sessions                 {"username", "client_id"}: an access token and a refresh token without a login
DELETE /_sim/sessions               ends every session
PUT  /_sim/apps/{client_id}         {"client_secret", "certificate", "run_as", "approved"}
PUT  /_sim/rules                    a list of {"object", "condition", "message", "field"}; conditions as in WHERE
PUT  /_sim/behaviour                {"assignment_rule", "duplicate_rule", "sandbox", "check_audience", "password_login"}
PUT  /_sim/usage                    {"used", "limit"}: the API calls of the last 24 hours
POST /_sim/fields                   {"object", "name", "type", ...}: a custom field
POST /_sim/recordtypes              {"object", "name", "values": {field: [...]}}: a record type that allows fewer values
POST /_sim/csv/{object}             records from CSV
GET|PATCH /_sim/records/{object}    records for the page; a person changes one
"""

from dataclasses import asdict, fields, replace
from importlib.resources import files
from typing import Any

from fieldline_simulators.salesforce import dml
from fieldline_simulators.salesforce.calls import Answer, Call, Routes, as_json, as_text
from fieldline_simulators.salesforce.changes import Expired
from fieldline_simulators.salesforce.errors import ApiError, not_found
from fieldline_simulators.salesforce.load_csv import load_csv
from fieldline_simulators.salesforce.org import Behaviour, Rule
from fieldline_simulators.salesforce.record_types import add_record_type
from fieldline_simulators.salesforce.rest_auth import issue, read_key
from fieldline_simulators.salesforce.rules import read_rule
from fieldline_simulators.salesforce.schema import Field, Row
from fieldline_simulators.salesforce.sessions import App

routes = Routes()
_PAGE_ROWS = 100


def _wrong(words: str) -> ApiError:
    return ApiError("SIMULATOR", words)


@routes.on("GET", "/", session=False)
def page(call: Call) -> Answer:
    """The web page."""
    return as_text(
        (files(__package__) / "page.html").read_text(), kind="text/html;charset=UTF-8", headers={"Cache-Control": "no-store"}
    )


@routes.on("GET", "/_sim/status", session=False)
def status(call: Call) -> Answer:
    """What is in the org."""
    org = call.org
    counts = {name: sum(1 for _ in table.live()) for name, table in org.tables.items()}
    usage = {"used": org.usage.used(org.now()), "limit": org.usage.limit}
    jobs = [job.as_dict() for job in call.jobs.all.values()]
    return as_json({"org_id": org.org_id, "records": counts, "api_calls": usage, "latest_change": org.feed.latest, "jobs": jobs,
                    "users": [row["Username"] for row in org.tables["User"].live()], "apps": list(org.apps),
                    "behaviour": asdict(org.behaviour), "rules": [asdict(rule) for rule in org.rules]})  # fmt: skip


@routes.on("GET", "/_sim/faults", session=False)
def faults(call: Call) -> Answer:
    """The faults that are set."""
    return as_json(call.org.faults.as_list())


@routes.on("PUT", "/_sim/faults", session=False)
def set_faults(call: Call) -> Answer:
    """Replaces the faults."""
    orders = call.json()
    if not isinstance(orders, list) or not all(isinstance(each, dict) for each in orders):
        raise _wrong("faults are a list of objects")
    try:
        call.org.faults.set(orders)
    except ValueError as error:
        raise _wrong(str(error)) from None
    call.org.save()
    return faults(call)


@routes.on("GET", "/_sim/changes", session=False)
def changes(call: Call) -> Answer:
    """The event log behind a position."""
    after, limit = (
        int(text) if text.isdecimal() else 0 for text in (call.query.get("after", "0"), call.query.get("limit", "1000"))
    )
    try:
        found = call.org.feed.read(after, limit)
    except Expired as error:
        raise ApiError("EXPIRED", str(error)) from None
    return as_json({"latest": call.org.feed.latest, "changes": [each.as_dict() for each in found]})


@routes.on("POST", "/_sim/changes/forget", session=False)
def forget_changes(call: Call) -> Answer:
    """Ends the retention of changes."""
    call.org.feed.forget(int(call.document()["until"]))
    call.org.save()
    return Answer(204)


@routes.on("PUT", "/_sim/users/{username}/access", session=False)
def set_access(call: Call, username: str) -> Answer:
    """Sets what a user may see and write."""
    access, asked = call.org.actor(_user(call, username)["Id"]).access, call.document()
    for path, right in (asked.get("fields") or {}).items():
        name, _, field = path.partition(".")
        found = call.org.kind(name).get(field)
        if found is None or right not in ("hidden", "read", "edit"):
            raise _wrong(f"{path}: {right}: fields are written Lead.AnnualRevenue, and rights are hidden, read and edit")
        access.set(f"{call.org.kind(name).name}.{found.name}", right)
    access.api_enabled = bool(asked.get("api_enabled", access.api_enabled))
    call.org.save()
    return as_json(access.as_dict())


def _user(call: Call, username: str) -> Row:
    user = call.org.user(username)
    if user is None:
        raise not_found(f"no user {username}")
    return user


@routes.on("POST", "/_sim/sessions", session=False)
def begin_session(call: Call) -> Answer:
    """Gives an access token without a login."""
    user = _user(call, str(call.document().get("username")))
    return as_json({**issue(call, user, ""), "refresh_token": call.org.sessions.refresh_token(user["Id"])}, 201)


@routes.on("DELETE", "/_sim/sessions", session=False)
def end_sessions(call: Call) -> Answer:
    """Ends every session."""
    ended = call.org.sessions.end_all()
    call.org.save()
    return as_json({"ended": ended})


@routes.on("PUT", "/_sim/apps/{client_id}", session=False)
def set_app(call: Call, client_id: str) -> Answer:
    """Registers an app."""
    asked = {name: value for name, value in call.document().items() if name in {each.name for each in fields(App)}}
    try:
        defaults: dict[str, Any] = {"client_secret": ""}
        app = App(**{**defaults, **asked, "client_id": client_id})
        if app.certificate:
            read_key(app.certificate)
    except ValueError as error:
        raise _wrong(f"certificate: {error}") from None
    call.org.apps[client_id] = app
    call.org.save()
    return Answer(204)


@routes.on("PUT", "/_sim/rules", session=False)
def set_rules(call: Call) -> Answer:
    """Replaces the validation rules."""
    try:
        rules = [Rule(**each) for each in call.json()]
    except TypeError as error:
        raise _wrong(str(error)) from None
    for rule in rules:
        read_rule(call.org, rule)
    call.org.rules = rules
    call.org.save()
    return Answer(204)


@routes.on("PUT", "/_sim/behaviour", session=False)
def set_behaviour(call: Call) -> Answer:
    """Switches on or off what an administrator can."""
    asked = call.document()
    unknown = set(asked) - {each.name for each in fields(Behaviour)}
    if unknown:
        raise _wrong(f"no such behaviour: {', '.join(sorted(unknown))}")
    call.org.behaviour = replace(call.org.behaviour, **asked)
    call.org.save()
    return as_json(asdict(call.org.behaviour))


@routes.on("PUT", "/_sim/usage", session=False)
def set_usage(call: Call) -> Answer:
    """Sets how many API calls were made, and how many may be."""
    asked, usage = call.document(), call.org.usage
    usage.limit = int(asked.get("limit", usage.limit))
    if "used" in asked:
        usage.set_used(int(asked["used"]), call.org.now())
    return as_json({"used": usage.used(call.org.now()), "limit": usage.limit})


@routes.on("POST", "/_sim/fields", session=False)
def add_field(call: Call) -> Answer:
    """Adds a custom field."""
    asked: dict[str, Any] = {"length": 255, "type": "string", **call.document()}
    name = str(asked.pop("object", ""))
    asked |= {key: tuple(asked[key]) for key in ("values", "refers_to") if key in asked}
    try:
        added = Field(**asked)
    except TypeError as error:
        raise _wrong(str(error)) from None
    if not added.custom:
        raise _wrong(f"{added.name}: the name of a custom field ends with __c")
    call.org.add_field(name, added)
    return Answer(204)


@routes.on("POST", "/_sim/recordtypes", session=False)
def set_record_type(call: Call) -> Answer:
    """Adds a record type, or replaces it."""
    asked = call.document()
    made = add_record_type(call.org, str(asked.get("object")), str(asked.get("name")), asked.get("values") or {})
    return as_json({"id": made}, 201)


@routes.on("POST", "/_sim/csv/{object}", session=False)
def load(call: Call, object: str) -> Answer:
    """Loads records from CSV."""
    return as_json({"loaded": load_csv(call.org, object, call.body.decode("utf-8-sig", "replace"))}, 201)


@routes.on("GET", "/_sim/records/{object}", session=False)
def list_records(call: Call, object: str) -> Answer:
    """The records with the newest scores first, and behind them the ones that were changed last."""
    table, words = call.org.table(object), call.query.get("search", "").lower()
    rows = [
        row
        for row in table.live()
        if not words or any(words in str(row.get(each) or "").lower() for each in ("Name", "Company", "Id"))
    ]
    rows.sort(key=lambda row: (row.get("Fieldline_Scored_At__c") or "", row["LastModifiedDate"], row["Id"]), reverse=True)
    kind = table.kind
    told = [{"name": each.name, "label": each.title, "type": each.type, "editable": each.updateable, "values": each.values}
            for each in kind.fields.values() if each.type != "address"]  # fmt: skip
    return as_json(
        {"object": kind.name, "total": len(rows), "fields": told, "records": rows[:_PAGE_ROWS], "latest": call.org.feed.latest}
    )


@routes.on("PATCH", "/_sim/records/{object}/{id}", session=False)
def edit(call: Call, object: str, id: str) -> Answer:
    """Changes a record as a person does."""
    # A page of another site cannot send this kind of content without being asked first.
    if not call.headers.get("content-type", "").startswith("application/json"):
        raise ApiError("UNSUPPORTED_MEDIA_TYPE", "Content-Type is application/json", status=415)
    values: dict[str, Any] = call.document()
    with call.org.transaction(call.org.administrator()) as tx:
        dml.update(tx, object, id, values)
    return Answer(204)
