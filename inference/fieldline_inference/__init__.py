"""ONNX models: registry, inspection in a throw-away process, sessions."""

from fieldline_inference.inspect import Facts, Inspection, inspect_model
from fieldline_inference.limits import Limits
from fieldline_inference.model import OnnxModel
from fieldline_inference.registry import Alias, Device, ModelVersion, Record, Registry
from fieldline_inference.runtime import Runtime, check_runtime
from fieldline_inference.sessions import Sessions

__all__ = [
    "Alias", "Device", "Facts", "Inspection", "Limits", "ModelVersion", "OnnxModel", "Record", "Registry", "Runtime", "Sessions",
    "check_runtime", "inspect_model",
]  # fmt: skip
