.PHONY: demo test soak fuzz interop bench lint install clean
BIN = .venv/bin

# Many processes are started here: where the environment forbids bytecode, each of them would compile every package anew.
export PYTHONDONTWRITEBYTECODE =

# The demo ends with make, even where make is killed.
demo: install
	@setpriv --pdeathsig TERM $(BIN)/fieldline demo $(ARGS)

# Tests wait for other processes: half as many again as there are cores keep the cores busy.
test:
	@tools/install.sh test
	@$(BIN)/pytest -n $$(( ($$(nproc) * 3 + 1) / 2 )) --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not soak and not fuzz and not interop" $(ARGS)

soak:
	@tools/install.sh test
	@$(BIN)/pytest -m soak $(ARGS)

fuzz:
	@tools/install.sh test
	@$(BIN)/pytest -m fuzz $(ARGS)

# Against servers of other makers, which are installed where they can be had: SAP's CAP from npm.
interop:
	@tools/install.sh test
	@$(BIN)/pytest -m interop $(ARGS) tests/interop

bench:
	@tools/install.sh test
	@$(BIN)/python -m bench $(ARGS)

lint:
	@tools/install.sh test
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/check_sizes.py

install:
	@tools/install.sh demo

clean:
	@rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
