"""A FHIR server that the environment names: how tests reach it with our connector, and past it."""

import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import jwt
import pytest

from fieldline_connectors.fhir import Fhir, FhirConfig
from fieldline_core.secret import Secret

IDENTIFIERS = "urn:fieldline:interop"
_CODES = "urn:fieldline:interop:code"
_KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MOST_PAGES = 50
Resource = dict[str, Any]


def given(name: str) -> str:
    """A variable of the environment; empty where it is not set."""
    return os.environ.get(name, "").strip()


@dataclass
class FhirServer:
    """The server, the patient that tests write about, and the code of what this run writes."""

    root: str
    code: dict[str, str] = field(
        default_factory=lambda: {"system": _CODES, "code": f"interop-{uuid.uuid4().hex[:12]}", "display": "Interoperability test"}
    )

    def settings(self, **more: Any) -> dict[str, Any]:
        """The settings of a connection to it."""
        host = urlsplit(self.root).hostname
        network = given("FHIR_PRIVATE_NETWORK") or ("127.0.0.0/8" if host in ("localhost", "127.0.0.1") else "")
        made = {
            "base_url": self.root, "login": self._login(), "ca_file": given("FHIR_CA_FILE") or None, "search_rows": 1,
            "allow_private": [{"host": host, "network": network}] if network else [],
        }  # fmt: skip
        return {**made, **more}

    def connector(self, **more: Any) -> Fhir:
        """A connection to it."""
        return Fhir(FhirConfig.model_validate(self.settings(**more)))

    def _login(self) -> dict[str, Any] | None:
        if given("FHIR_TOKEN"):
            return {"flow": "bearer", "token": Secret(given("FHIR_TOKEN"))}
        if given("FHIR_USER"):
            return {"flow": "basic", "user": given("FHIR_USER"), "password": Secret(given("FHIR_PASSWORD"))}
        if not given("FHIR_CLIENT_ID"):
            return None
        return {
            "flow": "smart", "client_id": given("FHIR_CLIENT_ID"), "key_id": given("FHIR_KEY_ID"), "scope": _scope(),
            "private_key": Secret(reference=f"file:{given('FHIR_KEY_FILE')}"),
        }  # fmt: skip

    @cached_property
    def plain(self) -> httpx.Client:
        """A client that shares no code with the connector, signed in by itself."""
        client = httpx.Client(timeout=60, verify=given("FHIR_CA_FILE") or True, trust_env=False)
        client.headers.update({"accept": "application/fhir+json", "cache-control": "no-cache"})
        if given("FHIR_TOKEN"):
            client.headers["authorization"] = f"Bearer {given('FHIR_TOKEN')}"
        elif given("FHIR_USER"):
            client.auth = (given("FHIR_USER"), given("FHIR_PASSWORD"))
        elif given("FHIR_CLIENT_ID"):
            client.headers["authorization"] = f"Bearer {self._token(client)}"
        return client

    def _token(self, client: httpx.Client) -> str:
        url = client.get(f"{self.root}/.well-known/smart-configuration").raise_for_status().json()["token_endpoint"]
        key, now, id = Path(given("FHIR_KEY_FILE")).read_text(), int(time.time()), given("FHIR_CLIENT_ID")
        claims = {"iss": id, "sub": id, "aud": url, "iat": now, "exp": now + 240, "jti": str(uuid.uuid4())}
        signed = jwt.encode(claims, key, "RS384" if _is_rsa(key) else "ES384", {"kid": given("FHIR_KEY_ID")})
        form = {"grant_type": "client_credentials", "scope": _scope(), "client_assertion_type": _KIND, "client_assertion": signed}
        return str(client.post(url, data=form).raise_for_status().json()["access_token"])

    def send(self, method: str, path: str, body: Resource | None = None, **headers: str) -> httpx.Response:
        """The answer to a request; underscores in the names of headers stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = {"content-type": "application/fhir+json"} if body is not None else {}
        return self.plain.request(method, f"{self.root}/{path}", json=body, headers={**named, **kind})

    def find(self, type: str, **parameters: str) -> list[Resource]:
        """The resources of this type that a search finds, over all pages; each once."""
        answer = self.plain.get(f"{self.root}/{type}", params=parameters)
        found: dict[str, Resource] = {}
        for _ in range(_MOST_PAGES):
            bundle = answer.raise_for_status().json()
            every = [each.get("resource", {}) for each in bundle.get("entry", ())]
            found |= {each["id"]: each for each in every if each.get("resourceType") == type}
            following = [link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"]
            if not following:
                return list(found.values())
            answer = self.plain.get(urljoin(f"{self.root}/", following[0]))
        pytest.fail(f"a search for {type} has more than {_MOST_PAGES} pages: choose another FHIR_PATIENT")

    @cached_property
    def statement(self) -> Resource:
        """Its CapabilityStatement."""
        found: Resource = self.plain.get(f"{self.root}/metadata").raise_for_status().json()
        return found

    def declared(self, type: str) -> Resource:
        """What it declares of a type; empty where it does not have it."""
        every = [each for rest in self.statement.get("rest", ()) for each in rest.get("resource", ())]
        return next((each for each in every if each.get("type") == type), {})

    def does(self, type: str, interaction: str) -> bool:
        """Whether it declares an interaction with a type."""
        return interaction in {each.get("code") for each in self.declared(type).get("interaction", ())}

    def parameters(self, type: str) -> set[str]:
        """The search parameters that it declares of a type."""
        return {each["name"] for each in self.declared(type).get("searchParam", ())}

    @cached_property
    def patient(self) -> str:
        """The patient whom tests write about."""
        if named := given("FHIR_PATIENT"):
            return named
        answer = self.plain.get(f"{self.root}/Patient", params={"_count": "1"})
        entries = answer.json().get("entry", ()) if answer.status_code == 200 else ()
        ids = [each["resource"]["id"] for each in entries if each.get("resource", {}).get("resourceType") == "Patient"]
        if not ids:
            pytest.skip(f"the server gives no patient unasked (status {answer.status_code}): set FHIR_PATIENT")
        return str(ids[0])

    def ours(self, type: str) -> list[Resource]:
        """What this run wrote about the patient and has not taken back, as the server has it."""
        known = self.parameters(type)
        parameters = {"patient" if "patient" in known else "subject": self.patient}
        if "code" in known:
            parameters["code"] = "{system}|{code}".format(**self.code)
        found = self.find(type, **parameters)
        return [each for each in found if self._is_ours(each) and each.get("status") != "entered-in-error"]

    def _is_ours(self, resource: Resource) -> bool:
        codings = [*resource.get("code", {}).get("coding", ()), *resource.get("topic", {}).get("coding", ())]
        return self.code["code"] in {each.get("code") for each in codings}

    def clean_up(self, types: set[str]) -> Iterator[str]:
        """Deletes what this run wrote, or marks it as an error where nothing can be deleted; says what is left."""
        for each in [found for type in sorted(types) for found in self.ours(type)]:
            type, path = each["resourceType"], f"{each['resourceType']}/{each['id']}"
            if self.does(type, "delete"):
                answer = self.send("DELETE", path)
            elif self.does(type, "update"):
                version = each.get("meta", {}).get("versionId")
                answer = self.send("PUT", path, {**each, "status": "entered-in-error"}, if_match=f'W/"{version}"')
            else:
                yield f"{path}: the server declares neither delete nor update of {type}"
                continue
            if answer.status_code >= 300 and answer.status_code not in (404, 410):
                yield f"{path}: status {answer.status_code}"


def _scope() -> str:
    return given("FHIR_SCOPE") or "system/*.read system/*.write"


def _is_rsa(key: str) -> bool:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return isinstance(load_pem_private_key(key.encode(), None), RSAPrivateKey)
