"""`make bench`: all benchmarks, one after another."""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
arguments = sys.argv[1:]
for name in ("mapping", "ledger", "batch", "events", "score"):
    print(f"== {name}", flush=True)
    sys.argv = [name, *(arguments if name == "batch" else [])]
    runpy.run_path(str(HERE / f"{name}.py"), run_name="__main__")
