"""How fast the connector reads and writes beside httpx alone, on one CAP server: `python -m tests.interop.throughput`."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import polars as pl
from tests.interop.cap import LOGIN, Cap, running

from fieldline_connectors.odata import Odata, OdataQuery, OdataTarget
from fieldline_core.batch import Batch
from fieldline_core.ports import Slice

_ROWS = 10_000
_WRITTEN = 1_000


def main() -> None:
    """Measures each once, the raw client first."""
    with running() as cap:
        for version in ("v2", "v4"):
            cap.fill(Partners=[{"ID": f"P{i:05}", "name": f"Partner {i}", "credit": f"{i}.25", "score": 0} for i in range(_ROWS)])
            raw = _timed(lambda: _raw_read(cap, version))  # noqa: B023
            ours = _timed(lambda: _our_read(cap.connector(version)))  # noqa: B023
            _say(version, "read", _ROWS, raw, ours)
            raw = _timed(lambda: _raw_write(cap, version))  # noqa: B023
            ours = _timed(lambda: _our_write(cap.connector(version, batch_rows=200)))  # noqa: B023
            _say(version, "write", _WRITTEN, raw, ours)


def _timed(work: Callable[[], int]) -> tuple[float, int]:
    began = time.perf_counter()
    trips = work()
    return time.perf_counter() - began, trips


def _say(version: str, what: str, rows: int, raw: tuple[float, int], ours: tuple[float, int]) -> None:
    rates = [f"{rows / seconds:8,.0f} rows/s in {trips} round trips" for seconds, trips in (raw, ours)]
    print(f"{version} {what:5}  httpx {rates[0]}   odata {rates[1]}   ours takes {ours[0] / raw[0]:.2f} times as long")


def _raw_read(cap: Cap, version: str) -> int:
    """Every page, its JSON parsed and no more."""
    with httpx.Client(auth=LOGIN, timeout=60) as client:
        link, trips = f"{cap.url}/odata/{version}/shop/Partners?sap-client=100", 0
        while link:
            found: dict[str, Any] = client.get(link, headers={"accept": "application/json"}).raise_for_status().json()
            more = found.get("@odata.nextLink") or found.get("d", {}).get("__next")
            link = str(httpx.URL(f"{cap.url}/odata/{version}/shop/").join(more)) if more else ""
            trips += 1
        return trips


def _raw_write(cap: Cap, version: str) -> int:
    """One PATCH for each row, whatever its version; no $batch, and nothing is looked at before."""
    with httpx.Client(auth=LOGIN, timeout=60, params={"sap-client": "100"}) as client:
        root = f"{cap.url}/odata/{version}/shop"
        token = client.get(f"{root}/", headers={"x-csrf-token": "fetch"})
        cookies = "; ".join(each.partition(";")[0] for each in token.headers.get_list("set-cookie"))
        headers = {"x-csrf-token": token.headers["x-csrf-token"], "cookie": cookies, "if-match": "*"}
        for number in range(_WRITTEN):
            client.patch(f"{root}/Partners('P{number:05}')", headers=headers, json={"tier": "R"}).raise_for_status()
        return _WRITTEN + 1


def _counting(odata: Odata) -> list[int]:
    """Counts the requests of a connection."""
    trips = [0]
    client = odata._client.wire._client
    send = client.send

    def counted(*args: Any, **more: Any) -> httpx.Response:
        trips[0] += 1
        return send(*args, **more)

    client.send = counted  # type: ignore[method-assign]
    return trips


def _our_read(odata: Odata) -> int:
    trips = _counting(odata)
    assert sum(len(page.batch) for page in odata.read(OdataQuery(entity_set="Partners"), None, _ROWS)) == _ROWS
    odata.close()
    return trips[0]


def _our_write(odata: Odata) -> int:
    trips = _counting(odata)
    target = OdataTarget(entity_set="Partners", fields={"tier": "tier"})
    batch = Batch.of([f"P{i:05}" for i in range(_WRITTEN)], pl.DataFrame({"tier": ["W"] * _WRITTEN}))
    assert odata.write(Slice("d" * 64, 1, target, batch)).others == {}
    odata.close()
    return trips[0]


if __name__ == "__main__":
    main()
