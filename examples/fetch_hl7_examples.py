"""Fetches HL7's own examples of FHIR R4 for the simulated server: `fieldline simulate fhir --bundles FOLDER`.

    python examples/fetch_hl7_examples.py FOLDER

They are the npm package hl7.fhir.r4.examples 4.0.1 (HL7 International, CC0-1.0); `npm` downloads it. Nothing needs them.
"""

import argparse
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "hl7.fhir.r4.examples@4.0.1"
MOST_BYTES = 150_000


def examples_in(archive: Path) -> dict[str, bytes]:
    """The resources of a package by file name, without its indexes and its largest files."""
    made = {}
    with tarfile.open(archive) as package:
        for member in package:
            name = Path(member.name).name
            content = package.extractfile(member) if member.isfile() and name.endswith(".json") else None
            if content is None or name.startswith(".") or name == "package.json" or member.size > MOST_BYTES:
                continue
            text = content.read()
            if "resourceType" in json.loads(text):
                made[name] = text
    return made


def main() -> None:
    """Writes the examples into a folder."""
    parser = argparse.ArgumentParser(description="Fetches HL7's examples of FHIR R4.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(["npm", "pack", "--silent", PACKAGE, "--pack-destination", temporary], check=True, stdout=subprocess.DEVNULL)
        found = examples_in(next(Path(temporary).glob("*.tgz")))
    for name, text in found.items():
        (folder / name).write_bytes(text)
    print(f"{folder}: {len(found):,} resources")


if __name__ == "__main__":
    main()
