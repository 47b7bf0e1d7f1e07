"""The verifier as a program: what it needs, how it ends, what it prints."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.evidence_bundles import KEY, write_folder, write_zip
from tests.unit.verifier_runs import good_bundle

import fieldline_verify
from fieldline_verify import main


def test_the_program_needs_nothing_of_fieldline(tmp_path: Path) -> None:
    program = Path(fieldline_verify.__file__)
    imported = {
        name
        for node in ast.walk(ast.parse(program.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert {name.partition(".")[0] for name in imported} <= {*sys.stdlib_module_names, "cryptography"}

    bundle = write_zip(tmp_path / "evidence.zip", good_bundle())
    # Run by its path, as an auditor does, in an interpreter that takes no path from outside.
    script = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print([name for name in sys.modules if 'fieldline' in name])"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-c", script, program, bundle, "--key", KEY.vkey], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("Verdict: all that was checked holds.\n[]\n")


def test_the_exit_status_is_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "evidence", good_bundle())
    assert main([str(folder), "--key", KEY.vkey]) == 0
    (folder / "batches/0.jsonl").write_bytes(b"")
    assert main([str(folder), "--key", KEY.vkey]) == 1
    assert "this evidence DOES NOT HOLD (1 problem)" in capsys.readouterr().out
    for arguments in (
        [str(tmp_path)],
        [str(tmp_path / "none")],
        [str(folder), "--key", "x"],
        [str(folder), "--seen", str(tmp_path / "none")],
    ):
        assert main(arguments) == 2
        assert "cannot be verified: " in capsys.readouterr().out


def test_the_report_for_programs_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "evidence", good_bundle())
    main([str(folder), "--json"])
    report = json.loads(capsys.readouterr().out)

    assert report["holds"] is True
    assert report["log"]["fingerprint"].startswith(KEY.id.hex())
    assert {each["check"]: each["status"] for each in report["checks"]}["batches"] == "OK"
    assert [row["row"] for row in report["rows"]] == [0, 1, 0, 2, 0, 2]
    assert [row["entry"] for row in report["rows"]] == [0, 0, 5, 5, 6, 6]
