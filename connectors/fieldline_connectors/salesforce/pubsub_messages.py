"""The messages of the Pub/Sub API that a subscriber needs, made from a table of their fields.

The table is an extract of Salesforce's `pubsub_api.proto` (CC0). What it leaves out is passed over when it arrives.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "eventbus.v1"
LATEST, CUSTOM = 0, 2

_FIELDS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "TopicRequest": {"topic_name": (1, "string")},
    "TopicInfo": {"topic_name": (1, "string"), "can_subscribe": (4, "bool"), "schema_id": (5, "string")},
    "SchemaRequest": {"schema_id": (1, "string")},
    "SchemaInfo": {"schema_json": (1, "string"), "schema_id": (2, "string")},
    "FetchRequest": {
        "topic_name": (1, "string"), "replay_preset": (2, "int32"), "replay_id": (3, "bytes"), "num_requested": (4, "int32"),
    },
    "ProducerEvent": {"id": (1, "string"), "schema_id": (2, "string"), "payload": (3, "bytes")},
    "ConsumerEvent": {"event": (1, "ProducerEvent"), "replay_id": (2, "bytes")},
    "FetchResponse": {"events": (1, "ConsumerEvent*"), "latest_replay_id": (2, "bytes"), "pending_num_requested": (4, "int32")},
}  # fmt: skip
_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING, "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL, "int32": FieldDescriptorProto.TYPE_INT32,
}  # fmt: skip


def _field(name: str, number: int, kind: str) -> FieldDescriptorProto:
    """One field; a kind with a star is a list, and what is no scalar is another message."""
    single = kind.rstrip("*")
    label = FieldDescriptorProto.LABEL_OPTIONAL if single == kind else FieldDescriptorProto.LABEL_REPEATED
    made = FieldDescriptorProto(name=name, number=number, label=label)
    if single in _SCALARS:
        made.type = _SCALARS[single]
    else:
        made.type, made.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{single}"
    return made


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="fieldline/pubsub_api.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _FIELDS.items():
        file.message_type.add(name=name, field=[_field(each, *described) for each, described in fields.items()])
    # A pool of its own: other software in this process may have the whole of Salesforce's file in the common one.
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _FIELDS}


_made = _classes()
TopicRequest, TopicInfo = _made["TopicRequest"], _made["TopicInfo"]
SchemaRequest, SchemaInfo = _made["SchemaRequest"], _made["SchemaInfo"]
FetchRequest, FetchResponse = _made["FetchRequest"], _made["FetchResponse"]

__all__ = [
    "CUSTOM", "FetchRequest", "FetchResponse", "LATEST", "PACKAGE", "SchemaInfo", "SchemaRequest", "TopicInfo", "TopicRequest",
]  # fmt: skip
