# make setup   make .venv with all packages (once)
# make demo    train, evaluate and run a detector on drawn pictures, in about six minutes on two CPU cores
# make test    style check and all tests

PYTHON_ENV = .venv/bin/python

.PHONY: setup demo test
setup:
	@sh tools/setup.sh

demo: setup
	@$(PYTHON_ENV) -m tools.demo

test: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@$(PYTHON_ENV) -m pytest -n auto --maxprocesses 8 --dist loadfile
