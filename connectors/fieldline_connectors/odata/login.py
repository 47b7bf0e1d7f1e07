"""Signing in: each way is its settings, and how a request is made to carry it."""

import ssl
import tempfile
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import httpx
from pydantic import Field, HttpUrl, model_validator

from fieldline_connectors.http import UNTHROTTLED, Token, token_of
from fieldline_connectors.odata.saml import XML_TEXT, SamlSigner, issued
from fieldline_core.errors import Misconfigured
from fieldline_core.ports import Document
from fieldline_core.secret import Secret

_SAML_GRANT = "urn:ietf:params:oauth:grant-type:saml2-bearer"


class Basic(Document):
    """User name and password of a technical user (in S/4HANA Cloud of a communication user)."""

    flow: Literal["basic"]
    """This way of signing in."""
    user: str = Field(min_length=1, max_length=256, pattern=r"^[^:\x00-\x1f]+$")
    """Name of the user."""
    password: Secret
    """Password of that user."""


class ClientCredentials(Document):
    """OAuth 2.0 with the app's own credentials: Dynamics 365, SAP BTP and S/4HANA Cloud communication arrangements."""

    flow: Literal["client_credentials"]
    """This way of signing in."""
    token_url: HttpUrl = Field(examples=["https://login.microsoftonline.com/TENANT/oauth2/v2.0/token"])
    """Where tokens are given out."""
    client_id: str = Field(min_length=1, max_length=512)
    """Id of the app."""
    client_secret: Secret
    """Secret of the app."""
    scope: str | None = Field(None, max_length=2_000, examples=["https://acme.crm4.dynamics.com/.default"])
    """What the token is for."""


class SamlBearer(Document):
    """OAuth 2.0 with a SAML assertion for the technical user (RFC 7522): your identity provider's, or one that Fieldline signs."""

    flow: Literal["saml_bearer"]
    """This way of signing in."""
    token_url: HttpUrl = Field(examples=["https://s4.example/sap/bc/sec/oauth2/token"])
    """Where tokens are given out."""
    client_id: str = Field(min_length=1, max_length=512, pattern=XML_TEXT)
    """Id of the OAuth client."""
    client_secret: Secret
    """Secret of the OAuth client."""
    assertion: Secret | None = None
    """A signed assertion in base64url; `file:/path`, which is read at every login, where something renews it."""
    issue: SamlSigner | None = None
    """In its place: what Fieldline writes into an assertion that it signs itself at every login (`fieldline[saml]`)."""
    scope: str | None = Field(None, max_length=2_000)
    """What the token is for."""

    @model_validator(mode="after")
    def _one_assertion(self) -> Self:
        if (self.assertion is None) == (self.issue is None):
            raise ValueError("saml_bearer takes either `assertion`, which somebody else signs, or `issue`, by which Fieldline does")
        return self

    def asserted(self) -> str:
        """The assertion for one login."""
        if self.issue is None:
            assert self.assertion is not None
            return self.assertion.reveal().strip()
        signer = self.issue
        return issued(signer, self.client_id, str(self.token_url), signer.private_key.reveal(), signer.certificate.reveal())


class Certificate(Document):
    """A client certificate (X.509) that the system maps to a technical user."""

    flow: Literal["certificate"]
    """This way of signing in."""
    certificate: Secret
    """The certificate with its chain, in PEM."""
    private_key: Secret
    """Its private key, in PEM without a password."""


Login: TypeAlias = Annotated[Basic | ClientCredentials | SamlBearer | Certificate, Field(discriminator="flow")]
"""A way of signing in."""


def secrets_of(login: ClientCredentials | SamlBearer) -> tuple[str, str]:
    """The secret of the app, and the assertion where there is one."""
    return login.client_secret.reveal(), login.asserted() if isinstance(login, SamlBearer) else ""


def sign_in(login: ClientCredentials | SamlBearer, client: httpx.Client, secret: str, assertion: str) -> Token:
    """A new token; raises Misconfigured with what a person has to change, or Unavailable."""
    form = {"grant_type": _SAML_GRANT, "assertion": assertion} if assertion else {"grant_type": "client_credentials"}
    form |= {"client_id": login.client_id, **({"scope": login.scope} if login.scope else {})}
    # In the body, as Entra ID wants it; SAP takes the header only, and both take both.
    form["client_secret"] = secret
    basic = httpx.BasicAuth(login.client_id, secret)
    response = client.post(str(login.token_url), data=form, auth=basic, extensions=UNTHROTTLED)
    return token_of(response, "client_id, client_secret, scope and assertion of the login", "the token_url of the login")


def identify(login: Login, context: ssl.SSLContext) -> None:
    """Puts a client certificate into the TLS settings; the key is in a file only while it is read, in a folder of its own."""
    if not isinstance(login, Certificate):
        return
    with tempfile.TemporaryDirectory(prefix="fieldline-") as folder:
        file = Path(folder, "identity.pem")
        file.touch(mode=0o600)
        file.write_text(f"{login.private_key.reveal().strip()}\n{login.certificate.reveal().strip()}\n")
        try:
            # An empty password: OpenSSL would ask the terminal for one otherwise.
            context.load_cert_chain(file, password="")
        except (ssl.SSLError, OSError, ValueError):
            raise Misconfigured(
                "certificate and private_key of the login do not fit together, or are no PEM without a password"
            ) from None
