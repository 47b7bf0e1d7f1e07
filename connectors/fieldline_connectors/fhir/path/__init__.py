"""FHIRPath as SQL on FHIR uses it: parsed once, then functions over plain dicts."""

from fieldline_connectors.fhir.path.compiler import Compiled, Constants, compile_path
from fieldline_connectors.fhir.path.scope import References, Scope
from fieldline_connectors.fhir.path.tree import PathError
from fieldline_connectors.fhir.path.values import Temporal, Written

__all__ = ["Compiled", "Constants", "PathError", "References", "Scope", "Temporal", "Written", "compile_path"]
