"""Runs the verifier on evidence of the second writer."""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from tests.unit import evidence_bundles as made
from tests.unit.evidence_bundles import KEY, Signer, Stored, write_folder

from fieldline_verify import Report, verify

ENTRIES = made.sample_log(700)
BATCH = made.rows(0, 1)

_numbers = count(1)


def check(
    folder: Path,
    files: Stored,
    seen: Sequence[bytes] = (),
    key: Signer | None = KEY,
    witnesses: Sequence[str] = (),
    require: int | None = None,
) -> Report:
    """The report on evidence that lies in a folder; `seen` are the checkpoints that an auditor kept."""
    paths = [folder / f"seen-{next(_numbers)}" for _ in seen]
    for path, note in zip(paths, seen, strict=True):
        path.write_bytes(note)
    evidence = write_folder(folder / f"evidence-{next(_numbers)}", files)
    return verify(str(evidence), key and key.vkey, witnesses, require, [str(path) for path in paths])


def problems(report: Report) -> list[str]:
    """The problems as they are printed."""
    return [f"{each['place']}: {each['what']}" for each in report.problems]


def good_bundle() -> Stored:
    """A bundle in which all holds: whole batches and a part, with rows that were erased."""
    batches = {0: BATCH.items(), 5: made.rows(5, 2).items(erased=[1]), 6: made.rows(6, 3).part([0, 2, 3], erased=[3])}
    return made.bundle(ENTRIES, [0, 1, 5, 6, 699], batches, older=[0, 1, 256, 699, 700])


def change(files: Stored, name: str, number: int, **members: Any) -> Stored:
    """The files with other members in one line of one of them; None takes a member away."""
    lines = files[name].splitlines()
    item = {**json.loads(lines[number]), **members}
    lines[number] = made.canonical({key: value for key, value in item.items() if value is not None})
    return {**files, name: b"\n".join(lines) + b"\n"}
