"""Makes the benchmark's model: gradient-boosted trees over the 22 features of `odbc_by_hand.py`, trained on invented customers.

    pip install -e '.[train]' && python bench/make_model.py

The size is that of a usual LightGBM model, 100 trees of up to 31 leaves. The input is `features` [n, 22]; the last output holds the
probabilities [n, 2].
"""

from pathlib import Path

import numpy as np
import onnxruntime
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.ensemble import GradientBoostingClassifier

MODEL = Path(__file__).resolve().parent / "model.onnx"
TRAINED_ON, CHECKED_ON = 30_000, 10_000
INDUSTRIES, STATES = 6, 7  # of which five and four have a feature of their own


def customers(rows: int, random: np.random.Generator) -> np.ndarray:
    """Features as the benchmark's table gives them, in their order."""
    blank = random.random(rows) < 1 / 11
    revenue = np.where(blank, 0, random.uniform(0, 1e7, rows))
    employees, tenure = random.integers(0, 5001, rows), random.integers(0, 61, rows)
    charge, age = random.uniform(0, 200, rows), random.integers(192, 2192, rows)
    silent = np.where(random.random(rows) < 1 / 5, 9999, random.integers(31, 731, rows))
    industry, state = random.integers(0, INDUSTRIES, rows), random.integers(0, STATES, rows)
    columns = [
        np.log1p(revenue), blank, employees, revenue / (employees + 1), tenure, charge, charge * tenure,
        random.random(rows) < 1 / 3, age, age > 365, silent, random.integers(1, 13, rows),
        *(industry == known for known in range(5)), *(state == known for known in range(4)), np.full(rows, 10),
    ]  # fmt: skip
    return np.column_stack(columns).astype(np.float32)


def churned(features: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Whether each customer left: by tenure, charge, silence and industry, with chance in it."""
    tenure, charge, silent, technology = features[:, 4], features[:, 5], features[:, 10], features[:, 12]
    leaning = 0.01 * charge - 0.05 * tenure + 0.002 * np.minimum(silent, 1000) + technology * np.sin(charge / 20) - 0.5
    return (random.random(len(features)) < 1 / (1 + np.exp(-leaning))).astype(np.int64)


def main() -> None:
    """Train, export, check against scikit-learn and write the file."""
    random = np.random.default_rng(22)
    features = customers(TRAINED_ON, random)
    model = GradientBoostingClassifier(max_leaf_nodes=31, max_depth=None, min_samples_leaf=20, random_state=0)
    model.fit(features, churned(features, random))
    outputs = [("label", Int64TensorType([None])), ("probabilities", FloatTensorType([None, 2]))]
    exported = convert_sklearn(
        model, "bench", [("features", FloatTensorType([None, features.shape[1]]))], options={"zipmap": False},
        target_opset={"": 21, "ai.onnx.ml": 3}, final_types=outputs,
    )  # fmt: skip
    exported.opset_import.sort(key=lambda opset: opset.domain)  # skl2onnx leaves them in the order of a set: another one each time
    content = exported.SerializeToString(deterministic=True)
    fresh = customers(CHECKED_ON, random)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["probabilities"], {"features": fresh})[0], model.predict_proba(fresh), atol=1e-4)
    right = (model.predict(fresh) == churned(fresh, random)).mean()
    MODEL.write_bytes(content)
    print(f"{MODEL.name}: {len(content):,} bytes, {right:.1%} of {CHECKED_ON:,} fresh customers right")


if __name__ == "__main__":
    main()
