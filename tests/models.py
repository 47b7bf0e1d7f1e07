"""Small ONNX models for tests, built node by node."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fieldline_inference.inspect import Inspection, inspect_model
from fieldline_inference.limits import Limits

IR_VERSION = 9
"""The newest that every supported onnxruntime reads; onnx's own default is ahead of it."""


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto] = (),
    domains: Sequence[str] = ("", "ai.onnx.ml"),
) -> onnx.ModelProto:
    """A model of one graph."""
    opsets = [helper.make_opsetid(domain, 17 if domain == "" else 3 if domain == "ai.onnx.ml" else 1) for domain in domains]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def value(name: str, dtype: int = TensorProto.FLOAT, *shape: int | str | None) -> onnx.ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name: str, array: object, dtype: str = "float32") -> onnx.TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.array(array, dtype=dtype), name)


def linear(weights: Sequence[float] = (2.0, -1.0), name: str = "score") -> onnx.ModelProto:
    """score = x · weights, for any number of records."""
    column = constant("weights", [[weight] for weight in weights])
    node = helper.make_node("MatMul", ["x", "weights"], [name])
    x, score = value("x", TensorProto.FLOAT, None, len(weights)), value(name, TensorProto.FLOAT, None, 1)
    return model_of([node], [x], [score], [column])


def classifier() -> onnx.ModelProto:
    """Three probabilities and a text label for each record, as scikit-learn exports them; input `x` of width 2."""
    node = helper.make_node(
        "LinearClassifier", ["x"], ["label", "probabilities"], domain="ai.onnx.ml", post_transform="SOFTMAX",
        coefficients=[1.0, 0.0, 0.0, 1.0, -1.0, -1.0], intercepts=[0.0, 0.0, 0.0], classlabels_strings=["low", "middle", "high"],
    )  # fmt: skip
    outputs = [value("label", TensorProto.STRING, None), value("probabilities", TensorProto.FLOAT, None, 3)]
    return model_of([node], [value("x", TensorProto.FLOAT, None, 2)], outputs)


def zipmap() -> onnx.ModelProto:
    """Gives a list of dictionaries, as skl2onnx does by default."""
    node = helper.make_node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    map_type = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    output = helper.make_value_info("maps", helper.make_sequence_type_proto(map_type))
    return model_of([node], [value("x", TensorProto.FLOAT, None, 2)], [output])


def divider() -> onnx.ModelProto:
    """y = 1 / x: a zero gives infinity."""
    node = helper.make_node("Div", ["one", "x"], ["y"])
    one = constant("one", [1.0])
    return model_of([node], [value("x", TensorProto.FLOAT, None, 1)], [value("y", TensorProto.FLOAT, None, 1)], [one])


def picker(size: int = 3) -> onnx.ModelProto:
    """y = table[x]: an x outside the table makes the run fail, and onnxruntime's message names that value."""
    node = helper.make_node("Gather", ["table", "x"], ["y"], name="pick")
    table = constant("table", list(range(size)))
    return model_of([node], [value("x", TensorProto.INT64, None)], [value("y", TensorProto.FLOAT, None)], [table])


def texts() -> onnx.ModelProto:
    """Gives back the text that it takes, and the number doubled."""
    nodes = [helper.make_node("Identity", ["word"], ["same"]), helper.make_node("Add", ["number", "number"], ["twice"])]
    inputs = [value("word", TensorProto.STRING, None, 1), value("number", TensorProto.INT64, None)]
    return model_of(nodes, inputs, [value("same", TensorProto.STRING, None, 1), value("twice", TensorProto.INT64, None)])


def hungry(numbers: int = 10_000_000_000) -> onnx.ModelProto:
    """A few bytes that ask for four bytes a number."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["r"], keepdims=1),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    arrays = [constant("s", [numbers], "int64")]
    return model_of(nodes, [value("x", TensorProto.FLOAT, None, 1)], [value("y", TensorProto.FLOAT, None, 1)], arrays, domains=[""])


def endless(only_above: float = -1.0) -> onnx.ModelProto:
    """Loops for ever where the first value of `x` is greater than a bound."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["goes_on"]), helper.make_node("Identity", ["v"], ["w"])], "body",
        [value("i", TensorProto.INT64), value("go_on", TensorProto.BOOL), value("v", TensorProto.FLOAT, None, 1)],
        [value("goes_on", TensorProto.BOOL), value("w", TensorProto.FLOAT, None, 1)],
    )  # fmt: skip
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "bound"], ["start"]),
        helper.make_node("Loop", ["", "start", "x"], ["y"], body=body),
    ]
    arrays = [constant("bound", only_above)]
    return model_of(nodes, [value("x", TensorProto.FLOAT, None, 1)], [value("y", TensorProto.FLOAT, None, 1)], arrays)


def summed() -> onnx.ModelProto:
    """One number for all records together: not a row for each."""
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    return model_of([node], [value("x", TensorProto.FLOAT, None, 2)], [value("y", TensorProto.FLOAT)])


def squeezed() -> onnx.ModelProto:
    """Loses the dimension of the records where there is one record."""
    node = helper.make_node("Squeeze", ["x"], ["y"])
    return model_of([node], [value("x", TensorProto.FLOAT, None, 2)], [value("y", TensorProto.FLOAT, None, 2)])


def random() -> onnx.ModelProto:
    """Gives another number at every run, for one record a run."""
    nodes = [helper.make_node("RandomNormalLike", ["x"], ["noise"]), helper.make_node("Add", ["x", "noise"], ["y"])]
    return model_of(nodes, [value("x", TensorProto.FLOAT, 1, 1)], [value("y", TensorProto.FLOAT, 1, 1)])


def constant_only() -> onnx.ModelProto:
    """Has an output and no input."""
    node = helper.make_node("Identity", ["one"], ["y"])
    return model_of([node], [], [value("y", TensorProto.FLOAT, 1)], [constant("one", [1.0])])


def compared() -> onnx.ModelProto:
    """A softmax over the records: each depends on those beside it."""
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    return model_of([node], [value("x", TensorProto.FLOAT, None, 2)], [value("y", TensorProto.FLOAT, None, 2)])


def fixed(rows: int) -> onnx.ModelProto:
    """y = 2x for exactly `rows` records a run."""
    node = helper.make_node("Add", ["x", "x"], ["y"])
    return model_of([node], [value("x", TensorProto.FLOAT, rows, 2)], [value("y", TensorProto.FLOAT, rows, 2)])


def foreign(where: str = "graph") -> onnx.ModelProto:
    """Uses an operator of com.microsoft: in the graph, in a branch of an If, or in a function."""
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    x, y = value("x", TensorProto.FLOAT, None, 1), value("y", TensorProto.FLOAT, None, 1)
    domains = ["", "com.microsoft"]
    if where == "graph":
        return model_of([node], [x], [y], domains=domains)
    if where == "branch":
        same = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "else", [], [y])
        branch = helper.make_graph([node], "then", [], [y])
        chosen = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=same)
        return model_of([chosen], [x], [y], [constant("yes", True, "bool")], domains)
    model = model_of([helper.make_node("Own", ["x"], ["y"])], [x], [y], domains=[""])
    opsets = [helper.make_opsetid("com.microsoft", 1)]
    model.functions.append(helper.make_function("", "Own", ["x"], ["y"], [node], opsets))
    return model


def with_external_data(location: str) -> onnx.ModelProto:
    """`linear` with its two weights (8 bytes) in a file of their own."""
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Writes the model to a file and gives back its path."""
    path.write_bytes(model.SerializeToString())
    return path


@contextmanager
def inspected_once() -> Iterator[None]:
    """Remembers what an inspection for a registry found in a model of one file."""
    known: dict[tuple[bytes, Limits], Inspection] = {}

    def inspect(path: Path, limits: Limits) -> Inspection:
        asked = path.read_bytes(), limits
        if found := known.get(asked):
            return found
        found = inspect_model(path, limits)
        if not found.facts.files:
            known[asked] = found
        return found

    with patch("fieldline_inference.registry.inspect_model", inspect):
        yield
