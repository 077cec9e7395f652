# make setup   make .venv with all packages (once)
# make demo    train, evaluate and run a detector on drawn pictures, in about six minutes on two CPU cores
# make test    style check and all tests; one of them builds the documentation
# make figures draw the documentation's figures again and write numbers and outputs into its pages
# make docs    build the documentation's site into site/ (read it by: cd site && python3 -m http.server)

PYTHON_ENV = .venv/bin/python

.PHONY: setup demo test figures docs
setup:
	@sh tools/setup.sh

demo: setup
	@$(PYTHON_ENV) -m tools.demo

test: setup .venv-docs/ready
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@$(PYTHON_ENV) -m pytest -n auto --maxprocesses 8 --dist loadfile

figures: setup
	@$(PYTHON_ENV) -m docs.figures
	@$(PYTHON_ENV) -m docs.tools.fill

docs: .venv-docs/ready
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

# MkDocs and OneFlow want different versions of the same packages, so the site has an environment of its own.
.venv-docs/ready: docs/requirements.txt docs/requirements.lock | setup
	@.venv/bin/python -m venv --clear .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --use-pep517 -r docs/requirements.txt || \
		{ echo 'Error: no packages for the site (see above). The tests without it: $(PYTHON_ENV) -m pytest' >&2; exit 1; }
	@touch $@
