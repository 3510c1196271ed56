"""Mixed float16: a step whose gradients overflow is left out, and the scale is halved; a run remembers the scale."""
import inspect

import keras
import numpy as np
import pytest

from kerazoo.train import Run, optimizer, state


def overflow(folder, options):
    """Train under float16, with an overflow in the middle, then go on in another model."""
    keras.config.set_dtype_policy("mixed_float16")
    rng = np.random.default_rng(0)
    images, labels = rng.random((16, 4)).astype("float32"), rng.random((16, 1)).astype("float32")

    def make():
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(1, dtype="float32")]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.compile(optimizer(model, "sgd", 0.1, weight_decay=1e-4, verbose=False, **options), "mse")
        return model

    def values(variables):
        return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]

    def scaling():
        names = {variable.path.split("/")[-1]: variable for variable in model.optimizer.variables}
        return [float(keras.ops.convert_to_numpy(names[name])) for name in ("dynamic_scale", "step_counter")]

    model = make()
    fit = dict(batch_size=16, shuffle=False, verbose=0)
    model.fit(images, labels, epochs=3, **fit)
    (scale, count), before, rule = scaling(), values(model.weights), values(model.optimizer.variables)
    assert count >= 1 and scale > 1
    # The gradient of a loss that large times the scale is beyond float16, the activations are not.
    model.fit(images, 1e4 * labels, **fit)
    assert scaling() == [scale / 2, 0]
    trained = [weight.trainable for weight in model.weights]
    for old, new, is_trained in zip(before, values(model.weights), trained):
        assert np.isfinite(new).all() and (not is_trained or (old == new).all())
    changed = [
        variable.path for variable, old in zip(model.optimizer.variables, rule)
        if not np.array_equal(keras.ops.convert_to_numpy(variable), old)
    ]
    assert {path.split("/")[-1] for path in changed} <= {"dynamic_scale", "step_counter"}, changed
    model.fit(images, labels, epochs=2, **fit)
    assert scaling() == [scale / 2, 2]
    assert any((old != new).any() for old, new in zip(before, values(model.weights)))

    saved = state.read(model)
    other = make()
    state.restore(other, *saved)
    for one, two in zip(values(model.optimizer.variables), values(other.optimizer.variables), strict=True):
        np.testing.assert_array_equal(one, two)
    with Run(folder, other, monitor=None) as run:
        other.fit(images, labels, callbacks=run.callbacks(), **fit)
    model.fit(images, labels, **fit)
    for one, two in zip(values(model.weights), values(other.weights), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}])
def test_overflow(tmp_path, options):
    overflow(tmp_path, options)


def test_overflow_on_jax(run_python, tmp_path):
    run_python(
        "import keras\nimport numpy as np\nfrom kerazoo.train import Run, optimizer, state\n"
        f"{inspect.getsource(overflow)}\noverflow({str(tmp_path)!r}, {{}})\n", backend="jax",
    )
