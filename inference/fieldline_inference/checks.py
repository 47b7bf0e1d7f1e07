"""What is checked in a model's file before onnxruntime sees it."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError

from fieldline_core.errors import Rejected
from fieldline_inference.files import MODEL
from fieldline_inference.limits import MIB, Limits

DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
UNREADABLE = "the model file cannot be read as ONNX: it is damaged, cut short or of another kind"


def read_model(path: Path, limits: Limits) -> onnx.ModelProto:
    """The parsed model, which keeps to the limits; its external data is not read."""
    _check_size(path, "the model file", limits)
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError:
        raise Rejected(UNREADABLE) from None
    _check_graphs(model, limits)
    return model


def external_files(model: onnx.ModelProto, folder: Path, limits: Limits) -> tuple[str, ...]:
    """The paths, relative to the model's folder, of the files that hold its external data; all are inside that folder."""
    tensors = [tensor for part in _parts(model) for tensor in _tensors(part)]
    locations = {_location(tensor) for tensor in tensors if tensor.data_location == tensor.EXTERNAL}
    return tuple(sorted(_inside(folder, location, limits) for location in locations))


def _check_graphs(model: onnx.ModelProto, limits: Limits) -> None:
    if not model.opset_import or not model.graph.output:
        raise Rejected(UNREADABLE)
    nodes = 0
    for part in _parts(model):
        nodes += len(part.node)
        if nodes > limits.nodes:
            raise Rejected(f"the model has more than {limits.nodes:,} nodes")
        domains = {_text(node.domain) for node in part.node} | {_text(getattr(part, "domain", ""))}
        if foreign := sorted(domains - DOMAINS):
            raise Rejected(f"the model uses operators of the domain {foreign[0][:100]}: only ai.onnx and ai.onnx.ml are allowed")
    if max(len(model.graph.input), len(model.graph.output)) > limits.tensors:
        raise Rejected(f"the model has more than {limits.tensors:,} inputs or outputs")
    for tensor in chain(model.graph.input, model.graph.output):
        if len(_text(tensor.name)) > limits.name_characters:
            raise Rejected(f"an input or output of the model has a name of more than {limits.name_characters} characters")


def _parts(model: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    waiting = [model.graph, *model.functions]
    while waiting:
        part = waiting.pop()
        yield part
        for attribute in _attributes(part):
            waiting.extend(attribute.graphs)
            if attribute.HasField("g"):
                waiting.append(attribute.g)


def _attributes(part: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.AttributeProto]:
    for node in part.node:
        yield from node.attribute
    yield from getattr(part, "attribute_proto", ())


def _tensors(part: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    yield from getattr(part, "initializer", ())
    sparse = list(getattr(part, "sparse_initializer", ()))
    for attribute in _attributes(part):
        yield from attribute.tensors
        yield attribute.t
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _location(tensor: onnx.TensorProto) -> str:
    locations = [_text(entry.value) for entry in tensor.external_data if entry.key == "location"]
    if len(locations) > 1:
        raise Rejected("the model names two files for the external data of one tensor")
    return "".join(locations)


def _text(field: str | bytes) -> str:
    # protobuf gives a text field as bytes where it is not UTF-8.
    if isinstance(field, bytes):
        raise Rejected(UNREADABLE)
    return field


def _inside(folder: Path, location: str, limits: Limits) -> str:
    path = PurePosixPath(location)
    if path.is_absolute() or ".." in path.parts or "\\" in location or not location.isprintable():
        raise Rejected("the model's external data is outside its folder: only plain paths beside the model file are allowed")
    if str(path) == MODEL:
        raise Rejected(f"the model's external data may not be named {MODEL}: save it under another name")
    try:
        real = (folder / path).resolve()
        found = real.is_file()
    except OSError:
        raise Rejected("the model names a file for its external data that cannot be opened") from None
    if not real.is_relative_to(folder.resolve()):
        raise Rejected(f"the model's external data {str(path)[:100]} is a link that leads outside its folder")
    if not found:
        raise Rejected(f"the model's external data {str(path)[:100]} is not beside the model file: copy it there")
    _check_size(real, f"the model's external data {str(path)[:100]}", limits)
    return str(path)


def _check_size(path: Path, name: str, limits: Limits) -> None:
    if path.stat().st_size > limits.file_bytes:
        raise Rejected(f"{name} is larger than {limits.file_bytes // MIB:,} MiB")
