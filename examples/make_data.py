"""Makes the examples' data again from the packages that carry it; the result is what is committed, byte for byte.

    pip install -e '.[train]' && python examples/make_data.py

Downloads the ISLP wheel alone, without what it depends on, unless `--wheel` says where it already is.
"""

import argparse
import csv
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from sklearn.datasets import load_breast_cancer, load_diabetes

EXAMPLES = Path(__file__).resolve().parent
ISLP = "ISLP==0.6.0"
BIKES_IN_WHEEL = "ISLP/data/Bikeshare.csv"
BIKES_SHA256 = "ac6950ae6f11efcc69c29d6bb13e8881c001e27d36434660d59444a1414f712c"
BIKE_COLUMNS = [
    "day", "hr", "mnth", "season", "holiday", "weekday", "workingday", "weathersit", "temp", "atemp", "hum", "windspeed", "bikers",
]  # fmt: skip
CELL_MEASURES = [
    "radius", "texture", "perimeter", "area", "smoothness",
    "compactness", "concavity", "concave_points", "symmetry", "fractal_dimension",
]  # fmt: skip
STUDY_COLUMNS = ["age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "tch", "ltg", "glu"]
FIRST_WORST = 20  # the set has ten means, ten standard errors and then the ten worst values


def downloaded_wheel(folder: Path) -> Path:
    """The ISLP wheel, downloaded alone: it is read as an archive and never installed."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", ISLP, "--dest", str(folder)], check=True)
    return next(folder.glob("*.whl"))


def bike_records(wheel: Path) -> str:
    """The hourly records as CSV: the source's own texts, without the two columns that add up to the answer."""
    source = zipfile.ZipFile(wheel).read(BIKES_IN_WHEEL)
    if (found := hashlib.sha256(source).hexdigest()) != BIKES_SHA256:
        raise SystemExit(f"{wheel.name} carries another {BIKES_IN_WHEEL} (SHA-256 {found}) than {ISLP} does")
    out = io.StringIO()
    writer = csv.DictWriter(out, BIKE_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv.DictReader(io.StringIO(source.decode())))
    return out.getvalue()


def lab_events() -> tuple[str, str]:
    """Every fourth sample as an event of the laboratory's system (NDJSON), and what each turned out to be (CSV)."""
    bundled = load_breast_cancer()
    events, diagnoses = [], ["sample_id,diagnosis"]
    for position in range(0, len(bundled.target), 4):
        sample = f"wdbc-{position:03d}"
        worst = dict(zip(CELL_MEASURES, bundled.data[position, FIRST_WORST:].tolist(), strict=True))
        events.append(json.dumps({"type": "sample.measured", "sample": {"id": sample, "worst": worst}}, separators=(",", ":")))
        diagnoses.append(f"{sample},{bundled.target_names[bundled.target[position]]}")
    return "\n".join(events) + "\n", "\n".join(diagnoses) + "\n"


def study_patients() -> str:
    """The patients of the diabetes study as CSV, numbered in the source's order, with the outcome in the last column."""
    bundled = load_diabetes(scaled=False)
    lines = [",".join(["patient", *STUDY_COLUMNS, "progression"])]
    for number, (row, outcome) in enumerate(zip(bundled.data.tolist(), bundled.target.tolist(), strict=True), 1):
        lines.append(",".join([str(number), *(f"{value:.10g}" for value in row), f"{outcome:.0f}"]))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the extracts of all examples."""
    parser = argparse.ArgumentParser(description="Makes the examples' data again.")
    parser.add_argument("--wheel", type=Path, help="the ISLP wheel, where it is already here")
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        records = bike_records(wheel or downloaded_wheel(Path(folder)))
    events, diagnoses = lab_events()
    made = {"bike-demand/records.csv": records, "lab-triage/events.ndjson": events, "lab-triage/diagnoses.csv": diagnoses}
    made["diabetes/patients.csv"] = study_patients()
    for name, text in made.items():
        (EXAMPLES / name).write_text(text)
        print(f"{name}: {text.count(chr(10))} lines, {len(text):,} bytes")


if __name__ == "__main__":
    main()
