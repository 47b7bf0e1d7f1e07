"""CDS Hooks as the connector sees them: what a call hands over of a patient, and what may be read with its token."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import httpx

from fieldline_connectors.fhir.config import FhirConfig, FhirQuery
from fieldline_connectors.fhir.login import Bearer
from fieldline_connectors.fhir.search import Search
from fieldline_connectors.fhir.wire import Wire
from fieldline_core.batch import Batch
from fieldline_core.cds import PATIENT
from fieldline_core.errors import FieldlineError, Rejected
from fieldline_core.secret import Secret

_BRIEFLY = {"connect_timeout_s": 2.0, "timeout_s": 4.0, "total_timeout_s": 5.0}
"""A clinician waits: an EHR that does not answer within this is taken for one that has no data."""
_MOST_TOKEN = 16_384


class DataMissing(Rejected):
    """What the answer rests on was not handed over, and cannot be read."""

    code = "data_missing"


def template(query: FhirQuery) -> str:
    """What an EHR is to fetch so that the query's view finds in it what the query would read of a patient."""
    given = [(name, each) for name, value in query.parameters.items() for each in ([value] if isinstance(value, str) else value)]
    given += [("_include", each) for each in query.include] + [("_revinclude", each) for each in query.revinclude]
    if (query.searched, query.by) == ("Patient", "_id") and not given:
        return f"Patient/{PATIENT}"
    criteria = "".join(f"&{name}={quote(value, safe=':/|,')}" for name, value in given)
    return f"{query.searched}?{query.by}={PATIENT}{criteria}"


class Given:
    """What one call of CDS Hooks gives: resources that were fetched before, by name, and a token to read what is missing."""

    def __init__(self, config: FhirConfig, prefetch: Mapping[str, bytes], server: str, token: str) -> None:
        login = Bearer(flow="bearer", token=Secret(token))
        self._prefetch = prefetch
        self._ours = _same(server, config.root)
        self._token = token
        # The token is sent to the connection's own address, and to no other that a call may name.
        self._wire = Wire(config.model_copy(update={"login": login, **_BRIEFLY}))

    def rows(self, name: str, query: FhirQuery, keys: Sequence[str]) -> Batch:
        """The rows with these keys, of what was fetched under the name, else read now; raises DataMissing."""
        search = Search(self._wire, query)
        data = self._prefetch.get(name)
        found = search.given(data, keys) if data else None
        if found is not None:
            return found
        missing = f"the call brings no whole prefetch {name!r}"
        if not self._token:
            raise DataMissing(f"{missing}, and no fhirAuthorization to read it by")
        if not self._ours:
            raise DataMissing(f"{missing}, and its fhirServer is not the one of the connection ({self._wire.host})")
        if len(self._token) > _MOST_TOKEN or not self._token.isascii() or not self._token.isprintable():
            raise DataMissing(f"{missing}, and the token of its fhirAuthorization cannot be sent")
        try:
            return search.by_keys(keys)
        except FieldlineError as error:
            raise DataMissing(f"{missing}, and it could not be read: {error}") from None

    def close(self) -> None:
        """Closes what was opened to read."""
        self._wire.close()


def _same(server: str, root: str) -> bool:
    try:
        return httpx.URL(server.rstrip("/")) == httpx.URL(root)
    except (httpx.InvalidURL, TypeError):
        return False
