"""FHIR R4: what is read of an EHR, by views in the standard's own language, and what is written into its charts."""

from fieldline_connectors.fhir.config import FhirConfig, FhirQuery
from fieldline_connectors.fhir.connector import Fhir
from fieldline_connectors.fhir.target import FhirTarget

__all__ = ["Fhir", "FhirConfig", "FhirQuery", "FhirTarget"]
