"""Why a request is refused, as V2, V4, XML and a gateway's page write it."""

import html
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape


@dataclass(slots=True, eq=False)
class Refused(Exception):
    """One refusal, with the message class and number that SAP gives it."""

    status: int
    code: str
    message: str
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    #: A page for people, as web dispatchers and logon screens answer.
    page: bool = False

    def __str__(self) -> str:
        return self.message

    def document(self, *, v4: bool) -> dict[str, Any]:
        """The body in JSON."""
        detail = {"code": self.code, "message": self.message, "target": self.target, "severity": "error"}
        if v4:
            return {"error": {"code": self.code, "message": self.message, "target": self.target, "details": [detail]}}
        inner = {
            "application": {"component_id": "CA-FLS", "service_namespace": "/SAP/", "service_id": "Z_PLANNING_SRV"},
            "transactionid": "6A0F2C7E0E0D0000E0066A0F2C7E0E0D",
            "Error_Resolution": {"SAP_Transaction": "Run transaction /IWFND/ERROR_LOG on SAP Gateway hub system"},
            "errordetails": [{**detail, "ContentID": "", "propertyref": "", "transition": False}],
        }
        return {"error": {"code": self.code, "message": {"lang": "en", "value": self.message}, "innererror": inner}}

    def xml(self) -> str:
        """The body in XML."""
        words = f'<code>{escape(self.code)}</code><message xml:lang="en">{escape(self.message)}</message>'
        space = "http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"
        return f'<?xml version="1.0" encoding="utf-8"?><error xmlns="{space}">{words}</error>'

    def html(self) -> str:
        """The body as a page."""
        words = html.escape(self.message)
        return f"<!DOCTYPE html><html><head><title>{words}</title></head><body><h1>{self.status} {words}</h1></body></html>"


def malformed(message: str, target: str = "") -> Refused:
    """A request that cannot be understood."""
    return Refused(400, "/IWBEP/CM_MGW_RT/021", message, target)


def not_found(segment: str) -> Refused:
    """A path that leads nowhere."""
    return Refused(404, "/IWFND/CM_BEC/026", f"Resource not found for segment '{segment}'")


def no_entity(name: str) -> Refused:
    """A record that is not there."""
    return Refused(404, "SY/530", f"Resource not found for entity '{name}'")


def not_allowed(method: str, name: str) -> Refused:
    """A method that the resource does not take."""
    return Refused(405, "/IWBEP/CX_MGW_NOT_IMPL_EXC", f"Method {method} is not supported for '{name}'")
