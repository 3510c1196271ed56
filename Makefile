# make train     set up .venv, train LeNet-5 on the embedded MNIST sample and export it
# make test      set up .venv and run the tests, but for the slow ones
# make test-all  the slow tests as well
# make setup     only set up .venv
# make clean     remove .venv and what was built; keep runs/ and saved_models/
#
# PYTHON names the interpreter that .venv is made with, 3.10 to 3.13; ARGS is handed to the recipe or to pytest:
# make train ARGS="--epochs 5", make test ARGS="-k resnet"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all clean

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

setup: $(READY)

train: $(READY)
	@echo "==> Training LeNet-5 on the embedded MNIST sample (recipes/lenet5_mnist.py)"
	@$(BIN)/python recipes/lenet5_mnist.py $(ARGS)

test: $(READY)
	@echo "==> Running the tests, without the slow ones"
	@$(BIN)/python tests/in_parts.py -m "not slow" $(ARGS)

test-all: $(READY)
	@echo "==> Running all tests"
	@$(BIN)/python tests/in_parts.py $(ARGS)

# Made anew when the dependencies change. The mark is written last, so that a broken install is tried again.
$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else \
	  f"kerazoo needs Python 3.10 to 3.13; $(PYTHON) is {v[0]}.{v[1]}. Name another one: make PYTHON=python3.11 ...")'
	@echo "==> Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "This Python cannot make virtual environments. On Debian or Ubuntu:" \
	  "apt-get install python3-venv"; exit 1; }
	@echo "==> Installing kerazoo and what it needs, about 3 GB with TensorFlow (minutes, in silence)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
