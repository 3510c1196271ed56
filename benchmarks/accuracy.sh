#!/usr/bin/env bash
# The accuracy of the CIFAR-10 recipes on a GPU under JAX: mean and spread over seeds.
#
#     benchmarks/accuracy.sh --prepare     here, with TensorFlow: CIFAR-10 into build/accuracy/part1 and part2, to carry
#     benchmarks/accuracy.sh               there: train, and write benchmarks/results/accuracy-gpu.md
#     benchmarks/accuracy.sh --tiny        the same on any machine, with few images and steps; its figures mean nothing
#
# There, a machine with a GPU and JAX, neither TensorFlow nor a network is needed. Each part is less than 50 MiB; where
# they travel one by one, `benchmarks/accuracy.sh --unpack` puts away what has come. Python packages that the machine
# lacks (keras, optree, namex, grain, array-record, portpicker perhaps: 7 MB, `pip download --no-deps`) go as wheels into
# build/accuracy/wheels, and are installed for these runs alone. What is cut short goes on when the command is given
# again. More options: --help. PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi
if compgen -G "build/accuracy/wheels/*.whl" > /dev/null && [ ! -e build/accuracy/site/.installed ]; then
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --upgrade --target build/accuracy/site \
        build/accuracy/wheels/*.whl
    touch build/accuracy/site/.installed
fi
if [ -d build/accuracy/site ]; then export PYTHONPATH="$PWD/build/accuracy/site${PYTHONPATH:+:$PYTHONPATH}"; fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" KERAS_BACKEND=jax TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
exec "$PYTHON" benchmarks/accuracy.py "$@"
