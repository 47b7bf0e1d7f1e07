"""What an inspection says of good models, and how it refuses bad ones."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests import models

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_inference.checks import external_files, read_model
from fieldline_inference.inspect import Inspection, inspect_model
from fieldline_inference.limits import Limits

SECRET = "FIELDLINE_DATABASE_URL"

Inspect = Callable[..., Inspection]


@pytest.fixture
def inspected(tmp_path: Path) -> Inspect:
    """Inspects a model that is saved first."""

    def inspect(model: onnx.ModelProto, **limits: float) -> Inspection:
        return inspect_model(models.save(model, tmp_path / "some.onnx"), Limits(**limits))

    return inspect


def test_an_inspection_reads_signature_and_facts_from_the_file(inspected: Inspect) -> None:
    inspection = inspected(models.classifier())
    (x,) = inspection.signature.inputs
    assert (x.name, x.dtype, x.shape) == ("x", "float32", (None, 2))
    assert inspection.signature.output_columns() == ("label", "probabilities[0]", "probabilities[1]", "probabilities[2]")
    assert inspection.signature.outputs[0].dtype == "string"
    assert inspection.facts.opsets == {"ai.onnx": 17, "ai.onnx.ml": 3}
    assert (inspection.facts.nodes, inspection.facts.warnings, inspection.facts.rows_at_once) == (1, (), None)
    assert inspection.digest.startswith("sha256:")


def test_the_trial_corrects_a_shape_that_the_file_declares_wrongly(inspected: Inspect) -> None:
    model = models.classifier()
    # onnxmltools declares the labels of LightGBM so: one, whatever the number of records.
    model.graph.output[0].CopyFrom(models.value("label", onnx.TensorProto.STRING, 1))
    assert inspected(model).signature.outputs[0].shape == (None,)


def test_a_model_of_one_record_a_run_is_taken_with_a_warning(inspected: Inspect) -> None:
    inspection = inspected(models.fixed(1))
    assert inspection.facts.rows_at_once == 1
    assert inspection.signature.inputs[0].shape == (None, 2)
    assert "dynamic first dimension" in inspection.facts.warnings[0]


def test_a_model_that_fails_on_zeros_is_taken_with_a_warning(inspected: Inspect) -> None:
    assert "Gather pick" in inspected(models.picker(0)).facts.warnings[0]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (models.hungry(), r"more than 4,096 MiB of memory"),
        (models.zipmap(), r"maps is a list of dictionaries: export the model with zipmap=False"),
        (models.foreign("graph"), r"the domain com\.microsoft: only ai\.onnx and ai\.onnx\.ml are allowed"),
        (models.foreign("branch"), r"the domain com\.microsoft"),
        (models.foreign("function"), r"the domain com\.microsoft"),
        (models.summed(), r"the output y does not give one row for each record"),
        (models.compared(), r"the output y of a record changes with the records beside it"),
        (models.fixed(7), r"exactly 7 records a run: export it with a dynamic first dimension"),
        (models.model_of([], [models.value("x", 1)], [models.value("x", 1)]), r"no dimension for records"),
        (models.constant_only(), r"the model takes no input"),
        (models.squeezed(), r"the output y does not give one row for each record"),
        (models.random(), r"or from run to run"),
        (onnx.ModelProto(), r"cannot be read as ONNX"),
    ],
)
def test_a_model_that_cannot_work_is_refused_in_words(inspected: Inspect, model: onnx.ModelProto, words: str) -> None:
    with pytest.raises(Rejected, match=rf"^some\.onnx: .*{words}"):
        inspected(model)


def test_a_few_bytes_that_ask_for_forty_gigabytes_are_refused(inspected: Inspect) -> None:
    model = models.hungry()
    assert model.ByteSize() < 200
    with pytest.raises(Rejected, match="memory"):
        inspected(model)


def test_a_model_that_never_ends_is_refused(inspected: Inspect) -> None:
    with pytest.raises(Rejected, match=r"does not score one record within 0\.2 s"):
        inspected(models.endless(), trial_s=0.2)


def test_the_process_is_ended_where_the_model_takes_too_much_cpu_time(inspected: Inspect) -> None:
    with pytest.raises(Rejected, match="more than 3 s of CPU time"):
        inspected(models.endless(), trial_s=60, cpu_s=3)


def test_the_process_is_ended_where_the_model_takes_too_long(inspected: Inspect) -> None:
    with pytest.raises(Rejected, match="does not load within 2 s"):
        inspected(models.endless(), trial_s=60, wall_s=2)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"file_bytes": 10}, "larger than"),
        ({"nodes": 0}, "more than 0 nodes"),
        ({"tensors": 0}, "more than 0 inputs or outputs"),
        ({"name_characters": 0}, "name of more than 0"),
        ({"columns": 3}, "more than 3 numbers"),
        ({"values": 1}, "more than 1 values"),
    ],
)
def test_every_bound_is_kept(inspected: Inspect, limits: dict[str, int], words: str) -> None:
    with pytest.raises(Rejected, match=words):
        inspected(models.classifier(), **limits)


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = models.save(models.classifier(), tmp_path / "cut.onnx")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Rejected, match="cannot be read as ONNX"):
        inspect_model(path)


def test_a_newer_format_than_the_runtime_reads_is_refused_with_the_fix(inspected: Inspect) -> None:
    model = models.linear()
    model.ir_version = 99
    with pytest.raises(Rejected, match="older opset"):
        inspected(model)


def test_a_path_that_is_no_file_is_misconfigured(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="there is no model file"):
        inspect_model(tmp_path)


def test_the_process_gets_no_secret_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "fieldline_inference"
    spy.mkdir()
    (spy / "__init__.py").touch()
    (spy / "inspect_child.py").write_text(f"import os, sys\nsys.exit(str(os.environ.get('{SECRET}')) + os.getcwd())")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv(SECRET, "postgresql://secret")
    with pytest.raises(RuntimeError, match=r"status 1: None/\n"):
        inspect_model(models.save(models.linear(), tmp_path / "some.onnx"))


def test_external_data_beside_the_model_is_taken_and_belongs_to_the_digest(tmp_path: Path) -> None:
    path = models.save(models.with_external_data("data/weights.bin"), tmp_path / "some.onnx")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/weights.bin").write_bytes(b"\0" * 8)
    first = inspect_model(path)
    assert first.facts.files == ("data/weights.bin",)
    assert first.facts.size == path.stat().st_size + 8
    (tmp_path / "data/weights.bin").write_bytes(b"\1" * 8)
    assert inspect_model(path).digest != first.digest


@pytest.mark.parametrize(
    "location",
    [
        "../outside.bin", "/etc/passwd", "a/../../outside.bin", "..\\outside.bin", "link.bin", "linked/outside.bin",
        "gone.bin", "", "model.onnx", "a\0b", "x" * 5000, "*/_ORT_MEM_ADDR_/*",
    ],
)  # fmt: skip
def test_external_data_outside_the_models_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(b"\0" * 8)
    os.symlink(tmp_path / "outside.bin", folder / "link.bin")
    os.symlink(tmp_path, folder / "linked")
    with pytest.raises(Rejected, match="external data"):
        external_files(models.with_external_data(location), folder, Limits())


def test_external_data_with_two_places_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    model = models.with_external_data("weights.bin")
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(Rejected, match="two files"):
        external_files(model, tmp_path, Limits())


def test_external_data_is_found_wherever_a_model_can_hide_it(tmp_path: Path) -> None:
    hidden = models.with_external_data("../a.bin").graph.initializer[0]
    direct = onnx.helper.make_node("Constant", [], ["y"], value=hidden)
    branch = onnx.helper.make_graph([direct], "branch", [], [models.value("y", 1)])
    for node in (direct, onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)):
        with pytest.raises(Rejected, match="external data"):
            external_files(models.model_of([node], [], [models.value("y", 1)]), tmp_path, Limits())


@given(st.binary(max_size=400))
@example(b"")
@example(models.linear().SerializeToString() + b"\xff")
def test_bytes_that_are_no_model_are_refused_and_nothing_else_happens(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "some.onnx"
        path.write_bytes(content)
        with pytest.raises(Rejected):
            read_model(path, Limits())


@given(st.data())
def test_a_model_with_changed_bytes_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(models.with_external_data("w.bin").SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "some.onnx"
        path.write_bytes(content)
        with suppress(Rejected):
            external_files(read_model(path, Limits()), path.parent, Limits())
