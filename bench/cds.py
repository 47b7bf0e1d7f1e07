"""A card of CDS Hooks on prefetch, beside the plain score of the same record, over HTTP on loopback: median and p99.

python bench/cds.py [--calls 1000]
"""

import argparse
import http.client
import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import numpy as np
import onnx
from events import SECRET
from installation import HERE, Installation, installation
from onnx import TensorProto, helper, numpy_helper

from fieldline_server.keys import ensure_admin_key
from fieldline_simulators.fhir import FIXED_TOKEN, Options, Simulator, running

_SERVICE = "https://fieldline.example/cds-services/card"
_WARM = 50


def main() -> None:
    """Calls, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    args = parser.parse_args()
    os.environ["SENDER_SECRET"] = SECRET
    with installation() as made, running(Options(patients=20)) as simulator:
        ehr = simulator.url.replace("localhost", "127.0.0.1")
        apply(made, ehr)
        key = ensure_admin_key(made.engine) or ""
        charts = [chart(ehr, f"study-{number:03d}") for number in range(1, 21)]
        made.start("api")
        api = http.client.HTTPConnection("127.0.0.1", made.api_port(), timeout=30)
        cards = [card_call(ehr, charts[number % len(charts)]) for number in range(args.calls + _WARM)]
        scores = [score_call(number, charts[number % len(charts)]) for number in range(args.calls + _WARM)]
        told("score of the record", timed(api, "/v1/flows/plain/score", scores, lambda: key))
        told("card on prefetch", timed(api, "/cds-services/card", cards, lambda: token(simulator, ehr)))


def apply(made: Installation, ehr: str) -> None:
    """The documents with the EHR's address, and a model of two inputs."""
    documents, model = made.directory / "cds.yaml", made.directory / "progression.onnx"
    documents.write_text((HERE / "cds.yaml").read_text().replace("EHR", ehr))
    save_model(model)
    made.apply(documents, {"progression": model})


def save_model(path: Path) -> None:
    """score = 2 bmi - pressure."""
    weights = numpy_helper.from_array(np.array([[2.0], [-1.0]], dtype="float32"), "weights")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "weights"], ["score"])], "graph", [x], [score], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def chart(ehr: str, patient: str) -> dict[str, Any]:
    """What the EHR fetches of a patient before it calls."""
    with httpx.Client(base_url=f"{ehr}/fhir", headers={"authorization": f"Bearer {FIXED_TOKEN}"}, trust_env=False) as client:
        observations = client.get("/Observation", params={"patient": patient, "_count": 100}).json()
        return {"record": client.get(f"/Patient/{patient}").json(), "Observations": observations}


def card_call(ehr: str, chart: dict[str, Any]) -> bytes:
    """The body of a call."""
    context = {"patientId": chart["record"]["id"], "userId": "Practitioner/1"}
    body = {"hook": "patient-view", "hookInstance": str(uuid.uuid4()), "fhirServer": f"{ehr}/fhir", "context": context}
    return json.dumps({**body, "prefetch": chart}).encode()


def score_call(number: int, chart: dict[str, Any]) -> bytes:
    """The body of a plain call with what the views make of the same chart."""
    rows = [
        {"code": each["code"]["coding"][0]["code"], "value": each["valueQuantity"]["value"],
         "unit": each["valueQuantity"].get("code"), "date": each["effectiveDateTime"]}
        for each in (entry["resource"] for entry in chart["Observations"]["entry"]) if "valueQuantity" in each
    ]  # fmt: skip
    record = {"born": chart["record"]["birthDate"], "Observations": rows}
    return json.dumps({"records": [{"key": f"P{number}", "record": record}]}).encode()


def token(simulator: Simulator, ehr: str) -> str:
    """A token for one call, as the EHR signs it."""
    return simulator.ehr.cds.token(_SERVICE, ehr)


def timed(api: http.client.HTTPConnection, path: str, bodies: list[bytes], credential: Callable[[], str]) -> list[float]:
    """How long each call took in milliseconds; making its credential is not counted, nor are the first calls."""
    waits_ms = []
    for body in bodies:
        headers = {"authorization": f"Bearer {credential()}", "content-type": "application/json"}
        begin = time.perf_counter()
        api.request("POST", path, body, headers)
        response = api.getresponse()
        answer = response.read()
        waits_ms.append((time.perf_counter() - begin) * 1000)
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status}: {answer!r}")
    return waits_ms[_WARM:]


def told(what: str, waits_ms: list[float]) -> None:
    """Prints the figures."""
    print(f"{what}: median {median(waits_ms):.2f} ms, p99 {quantiles(waits_ms, n=100)[98]:.2f} ms of {len(waits_ms)} calls")


if __name__ == "__main__":
    main()
