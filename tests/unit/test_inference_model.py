"""A loaded model: the outputs of a run, what it holds back and what it refuses."""

import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import models

from fieldline_core.errors import Misconfigured, Rejected
from fieldline_core.ports import Model
from fieldline_inference.inspect import inspect_model
from fieldline_inference.limits import Limits
from fieldline_inference.model import OnnxModel
from fieldline_inference.registry import ModelVersion
from fieldline_inference.runtime import check_runtime, open_session

without_cuda = pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is there")

Loader = Callable[..., OnnxModel]


def load_model(model: onnx.ModelProto, folder: Path, run_bytes: int = 8 << 20) -> OnnxModel:
    """The model as a session of this process, inspected as an import does it."""
    path = models.save(model, folder / "model.onnx")
    inspection = inspect_model(path, Limits(trial_s=1))
    version = ModelVersion("churn", 3, inspection.digest, inspection.signature, "cpu", True, inspection.facts, ())
    return OnnxModel(version, *open_session(path), run_bytes)


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    """`load(model, run_bytes)`."""
    return lambda model, *arguments: load_model(model, tmp_path, *arguments)


@pytest.fixture(scope="module")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """A model whose runs take at most three records each."""
    return load_model(models.classifier(), tmp_path_factory.mktemp("model"), 3 * (8 + 64 + 12))


def rows_of(*values: float) -> np.ndarray:
    """A column of numbers."""
    return np.array(values, dtype=np.float32).reshape(-1, 1)


def test_a_run_gives_a_column_for_each_number(load: Loader) -> None:
    model: Model = load(models.classifier())
    sifted = model.run({"x": np.array([[3, 0], [0, 3], [-3, -3]], dtype=np.float32)}, 10)
    assert sifted.frame.columns == ["label", "probabilities[0]", "probabilities[1]", "probabilities[2]"]
    assert sifted.frame["label"].to_list() == ["low", "middle", "high"]
    assert sifted.frame.schema["probabilities[1]"] == pl.Float32
    assert sifted.held == {}


def test_an_output_of_one_number_is_a_column_of_its_name(load: Loader) -> None:
    frame = load(models.linear()).run({"x": np.array([[1, 1], [4, 2]], dtype=np.float32)}, 10).frame
    assert frame.to_dict(as_series=False) == {"score": [1.0, 6.0]}


def test_text_and_whole_numbers_keep_their_types(load: Loader) -> None:
    tensors = {"word": np.array([["straße"], [""]], dtype=object), "number": np.array([2**62, -1])}
    frame = load(models.texts()).run(tensors, 10).frame
    assert frame.to_dict(as_series=False) == {"same": ["straße", ""], "twice": [-(2**63), -2]}
    assert frame.schema == {"same": pl.String, "twice": pl.Int64}


def test_rows_without_a_finite_output_are_held(load: Loader) -> None:
    sifted = load(models.divider()).run({"x": rows_of(2, 0, 4, np.nan)}, 10)
    assert sifted.held == {1: "the model's output y is not a finite number", 3: "the model's output y is not a finite number"}
    assert sifted.frame["y"].gather([0, 2]).to_list() == [0.5, 0.25]


def test_no_records_give_an_empty_frame_of_the_same_columns(load: Loader) -> None:
    model = load(models.classifier())
    none, one = (model.run({"x": np.zeros((rows, 2), np.float32)}, 10).frame for rows in (0, 1))
    assert none.schema == one.schema
    assert none.height == 0


def test_a_model_of_one_record_a_run_scores_many(load: Loader) -> None:
    frame = load(models.fixed(1)).run({"x": np.arange(6, dtype=np.float32).reshape(3, 2)}, 10).frame
    assert frame["y[1]"].to_list() == [2.0, 6.0, 10.0]


@given(st.integers(0, 10))
def test_batches_that_are_split_give_what_one_run_gives(tiny_runs: OnnxModel, rows: int) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, 2)).astype(np.float32)
    together = tiny_runs.run({"x": x}, 10).frame
    alone = [tiny_runs.run({"x": x[row : row + 1]}, 10).frame for row in range(rows)]
    assert together.equals(pl.concat([tiny_runs.run({"x": x[:0]}, 10).frame, *alone]))


def test_a_run_that_fails_names_its_operator_and_no_value_of_a_record(load: Loader, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Rejected, match=r"^churn@3 failed in its operator Gather pick$"):
        load(models.picker()).run({"x": np.array([1, 424242])}, 10)
    printed = capfd.readouterr()
    assert "424242" not in printed.out + printed.err


def test_a_run_that_does_not_end_is_stopped_and_the_next_one_works(load: Loader) -> None:
    model = load(models.endless(only_above=5))
    with pytest.raises(Rejected, match=re.escape("churn@3 did not end within 0.1 s")):
        model.run({"x": rows_of(6)}, 0.1)
    assert model.run({"x": rows_of(4)}, 10).frame["y"].to_list() == [4.0]


def test_several_endless_runs_are_stopped_each_at_its_own_time(load: Loader) -> None:
    model = load(models.endless(only_above=5))
    ended: list[float] = []

    def score(timeout_s: float) -> None:
        with pytest.raises(Rejected):
            model.run({"x": rows_of(6)}, timeout_s)
        ended.append(timeout_s)

    threads = [threading.Thread(target=score, args=(timeout_s,)) for timeout_s in (1.5, 0.1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [0.1, 1.5]


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"x": np.zeros((2, 2), np.float64)},
        {"x": np.zeros((2, 3), np.float32)},
        {"x": np.zeros(2, np.float32)},
        {"x": np.zeros((2, 2), np.float32), "more": np.zeros(2)},
    ],
)
def test_inputs_that_the_model_does_not_take_are_a_loud_bug(tiny_runs: OnnxModel, tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="churn@3 takes"):
        tiny_runs.run(tensors, 10)


def test_inputs_of_different_lengths_are_a_loud_bug(load: Loader) -> None:
    with pytest.raises(ValueError, match="takes number"):
        load(models.texts()).run({"word": np.array([["a"]], dtype=object), "number": np.array([1, 2])}, 10)


@without_cuda
def test_a_device_that_is_not_there_is_replaced_and_noted(tmp_path: Path) -> None:
    _, runtime = open_session(models.save(models.linear(), tmp_path / "model.onnx"), "cuda")
    assert (runtime.provider, runtime.note) == ("CPUExecutionProvider", "cuda was asked for: this onnxruntime has no CUDA provider")


@without_cuda
def test_a_device_that_is_not_there_is_an_error_without_fallback(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="asks for a CUDA device and this onnxruntime has no CUDA provider"):
        open_session(models.save(models.linear(), tmp_path / "model.onnx"), "cuda", fallback=False)


def test_two_builds_of_onnxruntime_together_are_reported() -> None:
    assert check_runtime() == []
    (problem,) = check_runtime(["numpy", "onnxruntime_gpu", "onnxruntime"])
    assert "onnxruntime and onnxruntime-gpu are installed together" in problem
