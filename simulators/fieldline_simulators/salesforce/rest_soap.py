"""The SOAP login and logout that older clients begin with; off unless the org's behaviour allows passwords."""

from xml.sax.saxutils import escape

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from fieldline_simulators.salesforce.calls import Answer, Call, Routes, as_text
from fieldline_simulators.salesforce.schema import Row

routes = Routes()
_LAST_VERSION = 64
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns="urn:partner.soap.sforce.com" xmlns:sf="urn:fault.partner.soap.sforce.com" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{}</soapenv:Body></soapenv:Envelope>'
)
# Salesforce's own sample client reads these by their place.
_USER_INFO = (
    "accessibilityMode", "chatterExternal", "currencySymbol", "orgAttachmentFileSizeLimit", "orgDefaultCurrencyIsoCode",
    "orgDefaultCurrencyLocale", "orgDisallowHtmlAttachments", "orgHasPersonAccounts", "organizationId", "organizationMultiCurrency",
    "organizationName", "profileId", "roleId", "sessionSecondsValid", "userDefaultCurrencyIsoCode", "userEmail", "userFullName",
    "userId", "userLanguage", "userLocale", "userName", "userTimeZone", "userType", "userUiSkin",
)  # fmt: skip


@routes.on("POST", "/services/Soap/u/{version}", session=False)
@routes.on("POST", "/services/Soap/u/{version}/{org_id}", session=False)
def soap(call: Call, org_id: str = "") -> Answer:
    """Answers login and logout."""
    try:
        root = fromstring(call.body)
    except (ParseError, DefusedXmlException):
        return _fault("soapenv:Client", "The request is not valid XML")
    found = {element.tag.rpartition("}")[2]: (element.text or "") for element in root.iter()}
    if "logout" in found:
        call.org.sessions.end(found.get("sessionId", ""))
        return as_text(_ENVELOPE.format("<logoutResponse/>"), kind="text/xml;charset=UTF-8")
    if "login" not in found:
        return _fault("INVALID_OPERATION", "Only login and logout are simulated")
    if int(call.version.partition(".")[0]) > _LAST_VERSION or not call.org.behaviour.password_login:
        return _fault("INVALID_OPERATION", "SOAP API login() is disabled by default in this org.")
    user = call.org.user(found.get("username", ""))
    if user is None or not call.org.accepts_password(found.get("password", "")):
        return _fault("INVALID_LOGIN", "Invalid username, password, security token; or user locked out.")
    return as_text(_ENVELOPE.format(_login(call, user)), kind="text/xml;charset=UTF-8")


def _login(call: Call, user: Row) -> str:
    org = call.org
    session = org.sessions.begin(org.org_id, user["Id"], org.now())
    known = {"organizationId": org.org_id, "userId": user["Id"], "userName": user["Username"],
    "userFullName": user.get("Name") or "",
             "userEmail": user.get("Email") or "", "sessionSecondsValid": "7200",
             "organizationName": "Fieldline Simulator"}  # fmt: skip
    info = "".join(f"<{name}>{escape(known.get(name, ''))}</{name}>" for name in _USER_INFO)
    url = f"{call.base_url}/services/Soap/{{}}/{call.version}/{org.org_id}"
    return (
        f"<loginResponse><result><metadataServerUrl>{url.format('m')}</metadataServerUrl><passwordExpired>false</passwordExpired>"
        f"<sandbox>{str(org.behaviour.sandbox).lower()}</sandbox><serverUrl>{url.format('u')}</serverUrl><sessionId>{session}</sessionId>"
        f"<userId>{user['Id']}</userId><userInfo>{info}</userInfo></result></loginResponse>"
    )


def _fault(code: str, message: str) -> Answer:
    said = f"<sf:exceptionCode>{code}</sf:exceptionCode><sf:exceptionMessage>{escape(message)}</sf:exceptionMessage>"
    detail = f"<detail><sf:LoginFault>{said}</sf:LoginFault></detail>"
    words = f"<faultcode>{code}</faultcode><faultstring>{code}: {escape(message)}</faultstring>"
    return as_text(_ENVELOPE.format(f"<soapenv:Fault>{words}{detail}</soapenv:Fault>"), 500, "text/xml;charset=UTF-8")
