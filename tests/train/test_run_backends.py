"""A run is resumed to the bit on JAX and PyTorch too, and after SIGKILL."""
import pathlib
import subprocess
import sys

import pytest

RUN = """
import os, pathlib, signal, sys
sys.modules['tensorflow'] = None  # it must not be needed
import keras, numpy as np
import kerazoo
from kerazoo.augment import MixUp, RandomAffine
from kerazoo.train import Run, optimizer, state

folder = pathlib.Path(sys.argv[1])

class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if len(self.model.history.epoch) == 1 and batch == 1:
            os.kill(os.getpid(), signal.SIGINT)

def train(folder, *extra):
    keras.utils.set_random_seed(0)
    data, validation, _ = kerazoo.data.load("mnist_sample", batch_size=16, image_size=8, limit=64)
    x = inputs = keras.Input((8, 8, 1))
    x = keras.ops.cast(RandomAffine(rotation=20, seed=1)(x), "float32") / 255
    x = keras.layers.Conv2D(4, 3, name="conv")(x)
    x = keras.layers.Dropout(0.2)(keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(x)))
    model = keras.Model(inputs, keras.layers.Dense(10, name="head")(keras.layers.Flatten()(x)))
    model.compile(optimizer(model, "adamw", 1e-2, ema=0.8, verbose=False),
                  keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    try:
        with Run(folder, model, {"epochs": 3}) as run:
            history = model.fit(run.data(data), validation_data=validation, epochs=3, verbose=0, shuffle=False,
                                initial_epoch=run.initial_epoch,
                                callbacks=run.callbacks(*extra, early_stopping=3, plateau=1))
            return history, state.read(model)[1], run.log_file.read_bytes()
    except SystemExit as stop:
        assert stop.code == 130

expected, values, log = train(folder / "straight")
assert train(folder / "cut", Interrupt()) is None
history, again, log_again = train(folder / "cut")
assert history.history == expected.history, (history.history, expected.history)
assert log == log_again
different = [name for name in values if not np.array_equal(values[name], again[name])]
assert not different, different
print("Identical")
"""


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(backend, run_python, tmp_path):
    pytest.importorskip(backend, reason=f"{backend} is not installed: a run is not resumed there")
    output = run_python(RUN, tmp_path, backend=backend).stdout
    assert "Going on from batch 2 of epoch 2" in output and output.rstrip().endswith("Identical")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_killed_at_any_instant_it_ends_as_if_it_had_not_been(backend):
    path = pathlib.Path(__file__).parents[2] / "benchmarks" / "kill.py"
    result = subprocess.run([sys.executable, str(path), "2", "--backend", backend], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    assert "2 of 2 identical to the bit" in result.stdout
