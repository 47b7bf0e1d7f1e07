"""How fast FHIR bundles become columns, beside fhirpathpy on the same columns and JSON parsing alone.

    python bench/fhir_views.py [FOLDER]

FOLDER holds bundles (`*.json` or `*.json.gz`); without it, the Synthea bundles in ../shared. They are unpacked to a temporary
folder first. Two views (Patient, Observation) are read in one pass each. fhirpathpy is given a sample, with each expression
compiled once. Rates are MB of JSON for each second of processor time, so that neighbours on the machine do not count.
"""

import gzip
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from fieldline_connectors.fhir.views import FrameMaker, Reader, View, compile_view, parse_view

SYNTHEA = Path(__file__).resolve().parents[2] / "shared/data/fhir/synthea-r4-bundles"
SAMPLE = 10
ROWS = 10_000
PATIENT = {
    "resource": "Patient",
    "select": [{"column": [
        {"name": "id", "path": "getResourceKey()", "type": "id"},
        {"name": "gender", "path": "gender", "type": "code"},
        {"name": "birth_date", "path": "birthDate", "type": "date"},
        {"name": "family", "path": "name.where(use = 'official').family.first()", "type": "string"},
        {"name": "city", "path": "address.city.first()", "type": "string"},
    ]}],
}  # fmt: skip
OBSERVATION = {
    "resource": "Observation",
    "select": [{"column": [
        {"name": "id", "path": "getResourceKey()", "type": "id"},
        {"name": "patient", "path": "subject.getReferenceKey(Patient)", "type": "id"},
        {"name": "code", "path": "code.coding.where(system = 'http://loinc.org').code.first()", "type": "code"},
        {"name": "at", "path": "effective.ofType(dateTime)", "type": "dateTime"},
        {"name": "value", "path": "value.ofType(Quantity).value", "type": "decimal"},
        {"name": "unit", "path": "value.ofType(Quantity).unit", "type": "string"},
    ]}],
}  # fmt: skip
THEIRS = {"getResourceKey()": "id", "subject.getReferenceKey(Patient)": "subject.reference"}
"""What fhirpathpy is asked instead of the functions that it does not have."""


def unpacked(source: Path, folder: Path) -> list[Path]:
    """The bundles of a folder as plain files."""
    for path in source.glob("*.json*"):
        data = path.read_bytes()
        (folder / path.name.removesuffix(".gz")).write_bytes(gzip.decompress(data) if path.suffix == ".gz" else data)
    return sorted(folder.glob("*.json"))


def ours(files: Iterable[Path], view: View) -> int:
    """Rows of the view, made into frames of at most some ten thousand rows."""
    reader, maker = Reader({view.resource}, digits=view.digits, references=view.references), FrameMaker(view.columns)
    total, rows = 0, list[Any]()
    for path in files:
        for found, references in reader.file(path):
            rows += view.rows(found, references)
        if len(rows) >= ROWS:
            total, rows = total + maker.frame(rows).height, []
    return total + maker.frame(rows).height


def theirs(files: Iterable[Path], view: dict[str, Any]) -> int:
    """Rows by fhirpathpy, each expression compiled once."""
    from fhirpathpy import compile as compile_theirs
    from fhirpathpy.models import models

    columns = [compile_theirs(THEIRS.get(column["path"], column["path"]), models["r4"]) for column in view["select"][0]["column"]]
    total = 0
    for path in files:
        resources = [entry["resource"] for entry in orjson.loads(path.read_bytes())["entry"]]
        wanted = [found for found in resources if found["resourceType"] == view["resource"]]
        total += len([[column(found, {}) for column in columns] for found in wanted])
    return total


def parsed(files: Iterable[Path]) -> int:
    """Parsing alone."""
    return sum(len(orjson.loads(path.read_bytes())) for path in files)


def measured(name: str, files: list[Path], work: Any, *args: Any) -> float:
    """MB for each second of processor time, printed with the rows."""
    size = sum(path.stat().st_size for path in files) / 1e6
    start = time.process_time()
    rows = work(files, *args)
    rate = size / (time.process_time() - start)
    print(f"{name:<28} {size:7.1f} MB {rows:7,} rows {rate:8.1f} MB/s   peak {_peak_mb():.0f} MB")
    return rate


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(source: Path) -> None:
    """Prints the rates and the ratio."""
    if not source.is_dir():
        print(f"no bundles in {source}: name a folder")
        return
    with tempfile.TemporaryDirectory() as folder:
        files = unpacked(source, Path(folder))
        print(f"{len(files)} bundles; peak before reading {_peak_mb():.0f} MB")
        for definition in (PATIENT, OBSERVATION):
            name = str(definition["resource"])
            view = compile_view(parse_view(definition))
            measured(f"{name}, first tenth", files[: len(files) // 10], ours, view)
            measured(name, files, ours, view)
            rate = measured(f"{name}, sample", files[:SAMPLE], ours, view)
            other = measured(f"{name}, sample, fhirpathpy", files[:SAMPLE], theirs, definition)
            print(f"{name}: {rate / other:.1f} times as fast as fhirpathpy")
        measured("parsing alone (orjson)", files, parsed)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SYNTHEA)
