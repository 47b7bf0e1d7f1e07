"""The messages of `eventbus.v1`, made from a table: Salesforce's pubsub_api.proto without what is only its own.

They live in a pool of their own, so that another copy of the same file in the process does not clash with this one.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "eventbus.v1.PubSub"
#: What a FetchRequest's replay_preset says.
LATEST, EARLIEST, CUSTOM = 0, 1, 2
#: The code of an Error.
PUBLISH_ERROR = 1

_PACKAGE = "eventbus.v1"
_TYPES = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
}
_ENUMS = {"ErrorCode": ("UNKNOWN", "PUBLISH", "COMMIT"), "ReplayPreset": ("LATEST", "EARLIEST", "CUSTOM")}
# Fields in the order of their numbers; a star stands for `repeated`.
_MESSAGES = {
    "TopicInfo": "topic_name:string tenant_guid:string can_publish:bool can_subscribe:bool schema_id:string rpc_id:string",
    "TopicRequest": "topic_name:string",
    "EventHeader": "key:string value:bytes",
    "ProducerEvent": "id:string schema_id:string payload:bytes headers:EventHeader*",
    "ConsumerEvent": "event:ProducerEvent replay_id:bytes",
    "PublishResult": "replay_id:bytes error:Error correlation_key:string",
    "Error": "code:ErrorCode msg:string",
    "FetchRequest": "topic_name:string replay_preset:ReplayPreset replay_id:bytes num_requested:int32 auth_refresh:string",
    "FetchResponse": "events:ConsumerEvent* latest_replay_id:bytes rpc_id:string pending_num_requested:int32",
    "SchemaRequest": "schema_id:string",
    "SchemaInfo": "schema_json:string schema_id:string rpc_id:string",
    "PublishRequest": "topic_name:string events:ProducerEvent* auth_refresh:string",
    "PublishResponse": "results:PublishResult* schema_id:string rpc_id:string",
}


def _file() -> FileDescriptorProto:
    made = FileDescriptorProto(name="pubsub_api.proto", package=_PACKAGE, syntax="proto3")
    for name, values in _ENUMS.items():
        enum = made.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = made.message_type.add(name=name)
        for number, each in enumerate(fields.split(), 1):
            _add_field(message, number, each)
    return made


def _add_field(message: Any, number: int, written: str) -> None:
    name, _, kind = written.partition(":")
    label = FieldDescriptorProto.LABEL_REPEATED if kind.endswith("*") else FieldDescriptorProto.LABEL_OPTIONAL
    kind = kind.rstrip("*")
    field = message.field.add(name=name, number=number, label=label)
    if kind in _TYPES:
        field.type = _TYPES[kind]
        return
    field.type = FieldDescriptorProto.TYPE_ENUM if kind in _ENUMS else FieldDescriptorProto.TYPE_MESSAGE
    field.type_name = f".{_PACKAGE}.{kind}"


_pool = DescriptorPool()
_pool.AddSerializedFile(_file().SerializeToString())


def message_class(name: str) -> Any:
    """The class of a message."""
    return GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


ConsumerEvent, Error, FetchRequest, FetchResponse, ProducerEvent = map(
    message_class, ("ConsumerEvent", "Error", "FetchRequest", "FetchResponse", "ProducerEvent")
)
PublishRequest, PublishResponse, PublishResult = map(message_class, ("PublishRequest", "PublishResponse", "PublishResult"))
SchemaInfo, SchemaRequest, TopicInfo, TopicRequest = map(
    message_class, ("SchemaInfo", "SchemaRequest", "TopicInfo", "TopicRequest")
)
