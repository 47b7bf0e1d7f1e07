"""What an administrator sets up on the event bus, and how events are published by REST.

GET    /_sim/bus                 platform events, channels and limits
PUT    /_sim/bus                 {"keepalive_s", "idle_s", "clients", "deliveries", "delivered"}
PUT    /_sim/events/{name}       {"Record_Id__c": "string"}: the fields of a platform event
POST   /_sim/events/{name}       {"Record_Id__c": "00Q..."}: publishes one
PUT    /_sim/channels/{name}     ["Lead", "Account"]: what a channel carries, whose name ends with __chn
POST   /_sim/gaps                {"object", "kind": "GAP_UPDATE", "ids"}: a gap event; GAP_OVERFLOW goes without ids
POST   /services/data/vX/sobjects/{name}__e    publishes a platform event, as flows and Apex do

Faults (see faults.py) strike calls by their path, such as /eventbus.v1.PubSub/Subscribe, and the responses of a subscription by
/eventbus.v1.PubSub/Subscribe/deliver; their object is the topic.
"""

from collections.abc import Mapping
from typing import Any

from fieldline_simulators.salesforce.calls import DATA, Answer, Call, Routes, as_json
from fieldline_simulators.salesforce.errors import ApiError, not_found
from fieldline_simulators.salesforce.pubsub_bus import MOST_CLIENTS, TYPES, new_event_id, publish, tell_gap
from fieldline_simulators.salesforce.schema import Field
from fieldline_simulators.salesforce.values import read_value

routes = Routes()
_SETTABLE = ("keepalive_s", "idle_s", "clients", "deliveries", "delivered")
_SHORTEST_S = 0.01
_LENGTHS = {"string": 255, "textarea": 131_072}


def _wrong(words: str) -> ApiError:
    return ApiError("SIMULATOR", words)


@routes.on("GET", "/_sim/bus", session=False)
def show_bus(call: Call) -> Answer:
    """What is set up."""
    return as_json(call.org.bus.as_dict())


@routes.on("PUT", "/_sim/bus", session=False)
def set_bus(call: Call) -> Answer:
    """Sets limits."""
    asked, bus = call.document(), call.org.bus
    for name, value in asked.items():
        if name not in _SETTABLE or isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise _wrong(f"{name}: what can be set are {', '.join(_SETTABLE)}, to numbers")
    bus.keepalive_s = max(_SHORTEST_S, float(asked.get("keepalive_s", bus.keepalive_s)))
    bus.idle_s = max(_SHORTEST_S, float(asked.get("idle_s", bus.idle_s)))
    bus.clients = min(MOST_CLIENTS, int(asked.get("clients", bus.clients)))
    bus.deliveries, bus.delivered = int(asked.get("deliveries", bus.deliveries)), int(asked.get("delivered", bus.delivered))
    call.org.save()
    return show_bus(call)


@routes.on("PUT", "/_sim/events/{name}", session=False)
def define_event(call: Call, name: str) -> Answer:
    """Defines a platform event."""
    fields = call.document()
    if not name.endswith("__e") or not all(each.endswith("__c") and str(kind) in TYPES for each, kind in fields.items()):
        raise _wrong(f"an event's name ends with __e, and its fields' with __c; types are {', '.join(sorted(TYPES))}")
    # Events of before are told by the new definition too, so what they hold must still fit.
    known = call.org.bus.events.get(name, {})
    if changed := [each for each, kind in fields.items() if known.get(each, kind) != kind]:
        raise _wrong(f"{', '.join(changed)}: the type of a field cannot change")
    call.org.bus.events[name] = dict(fields)
    call.org.save()
    return Answer(204)


@routes.on("PUT", "/_sim/channels/{name}", session=False)
def define_channel(call: Call, name: str) -> Answer:
    """Defines a channel."""
    members = call.json()
    if not name.endswith("__chn") or not isinstance(members, list):
        raise _wrong("a channel's name ends with __chn, and it carries a list of objects, or of events")
    names = [str(each) for each in members]
    call.org.bus.channels[name] = [each if each in call.org.bus.events else call.org.kind(each).name for each in names]
    call.org.save()
    return Answer(204)


@routes.on("POST", "/_sim/events/{name}", session=False)
def publish_now(call: Call, name: str) -> Answer:
    """Publishes a platform event as the administrator."""
    return as_json({"id": _publish(call, name, call.document())}, 201)


@routes.on("POST", "/_sim/gaps", session=False)
def tell_of_gap(call: Call) -> Answer:
    """Writes a gap event."""
    asked = call.document()
    ids = asked.get("ids")
    given = [str(each) for each in ids] if isinstance(ids, list) else []
    tell_gap(call.org, str(asked.get("object")), str(asked.get("kind")), given)
    return Answer(204)


@routes.on("POST", f"{DATA}/sobjects/{{name}}__e")
def publish_by_rest(call: Call, name: str) -> Answer:
    """Publishes a platform event; what is answered as its id is none of a record."""
    event_id = _publish(call, f"{name}__e", call.document())
    errors = [{"statusCode": "OPERATION_ENQUEUED", "message": event_id, "fields": []}]
    return as_json({"id": "e00xx0000000001AAA", "success": True, "errors": errors}, 201)


def _publish(call: Call, name: str, values: Mapping[str, Any]) -> str:
    found = next((each for each in call.org.bus.events if each.lower() == name.lower()), None)
    if found is None:
        raise not_found()
    kinds = call.org.bus.events[found]
    for unknown in set(values) - set(kinds) - {"attributes"}:
        raise ApiError("INVALID_FIELD", f"No such column '{unknown}' on sobject of type {found}", [])
    read = {
        name: read_value(Field(name, kinds[name], length=_LENGTHS.get(kinds[name], 0)), value)
        for name, value in values.items()
        if name in kinds
    }
    event_id = new_event_id()
    publish(call.org, call.acting() if call.actor.user_id else call.org.administrator(), found, [(event_id, read)])
    return event_id
