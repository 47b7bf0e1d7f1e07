"""FHIR R4: what is read of an EHR, by views in the standard's own language."""

from fieldline_connectors.fhir.config import FhirConfig, FhirQuery
from fieldline_connectors.fhir.connector import Fhir

__all__ = ["Fhir", "FhirConfig", "FhirQuery"]
