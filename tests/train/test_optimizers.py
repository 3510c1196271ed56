import importlib.util
import math
import re
import sys
import types

import keras
import numpy as np
import pytest

import kerazoo
from kerazoo.train import WarmupCosine, WarmupLinear, optimizer
from kerazoo.train.optimizers import SGD, refresh

NAMES = ["sgd", "adam", "adamw", "lamb"]


def small(dense=3, norm=True):
    images = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(4, 3, name="stem_conv")(images)
    if norm:
        x = keras.layers.BatchNormalization(name="stem_bn")(x)
    x = keras.layers.Conv2D(4, 3, activation="tanh", name="stage1_conv")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(dense, name="head")(x))


def batches(size=32, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(size, 6, 6, 2)).astype("float32"), draw.integers(0, 3, size)


def compiled(model, made, **options):
    model.compile(made, keras.losses.SparseCategoricalCrossentropy(from_logits=True), **options)
    return model


def fit(model, epochs=1, batch_size=8, **options):
    x, y = batches()
    return model.fit(x, y, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0, **options)


def farthest(one, other):
    """The largest difference of two lists of arrays."""
    return max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))


def rows(made):
    return {row.path: row for row in made.rows}


def multipliers(made):
    return {path: row.multiplier for path, row in rows(made).items()}


# What a step does, beside PyTorch and timm.

def pushed(name, steps, gradients, weights, rate, **options):
    """Weights after so many steps with given gradients."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
    made = optimizer(model, name, rate, verbose=False, **options)
    model.set_weights(weights)
    for step in range(steps):
        made.apply([keras.ops.convert_to_tensor(g) for g in gradients[step]], model.trainable_variables)
    return model.get_weights()


def timm_lamb():
    """timm's class, from its file alone: all of timm wants a torchvision that fits the torch here."""
    spec = importlib.util.find_spec("timm")
    if spec is None:
        pytest.skip("timm is not installed: pip install --no-deps timm")
    package = types.ModuleType("timm_optim")
    package.__path__ = [f"{spec.submodule_search_locations[0]}/optim"]
    sys.modules.setdefault("timm_optim", package)
    return importlib.import_module("timm_optim.lamb").Lamb


@pytest.mark.parametrize("schedule", [False, True], ids=["constant", "schedule"])
@pytest.mark.parametrize("name, options, reference", [
    ("sgd", dict(momentum=0.0), lambda torch, groups: torch.optim.SGD(groups)),
    ("sgd", dict(), lambda torch, groups: torch.optim.SGD(groups, momentum=0.9)),
    ("sgd", dict(nesterov=True), lambda torch, groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True)),
    ("adam", dict(), lambda torch, groups: torch.optim.Adam(groups)),
    ("adamw", dict(momentum=0.8), lambda torch, groups: torch.optim.AdamW(groups, betas=(0.8, 0.999))),
    ("lamb", dict(), lambda torch, groups: timm_lamb()(groups, max_grad_norm=None)),
], ids=["sgd0", "sgd", "nesterov", "adam", "adamw", "lamb"])
@pytest.mark.parametrize("clip", [None, 2.0], ids=["", "clip"])
def test_each_step_is_that_of_torch(name, options, reference, schedule, clip):
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(1)
    weights = [draw.normal(size=(3, 2)).astype("float32"), draw.normal(size=2).astype("float32")]
    gradients = [[draw.normal(size=w.shape).astype("float32") for w in weights] for _ in range(12)]
    rate = WarmupLinear(0.05, 12, warmup=3) if schedule else 0.05
    ours = pushed(name, 12, gradients, weights, rate, weight_decay=0.03, clip_norm=clip, **options)

    parameters = [torch.nn.Parameter(torch.tensor(w)) for w in weights]
    theirs = reference(torch, [{"params": parameters[:1], "weight_decay": 0.03, "lr": 0.05},
                               {"params": parameters[1:], "weight_decay": 0.0, "lr": 0.05}])
    for step, step_gradients in enumerate(gradients):
        for parameter, gradient in zip(parameters, step_gradients):
            parameter.grad = torch.tensor(gradient)
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        for group in theirs.param_groups:
            group["lr"] = float(rate(step)) if schedule else 0.05
        theirs.step()
    assert farthest(ours, [p.detach().numpy() for p in parameters]) < 2e-6
    assert farthest(ours, weights) > 0.05


def test_a_step_of_lamb_is_that_of_the_paper():
    weights = [np.full((3, 2), 2.0, "float32"), np.ones(2, "float32")]
    gradient = [np.arange(6, dtype="float32").reshape(3, 2) - 2.5, np.array([0.5, -1], "float32")]
    kernel, bias = pushed("lamb", 1, [gradient], weights, 0.01, weight_decay=0.1)
    update = np.sign(gradient[0]) + 0.1 * weights[0]  # the first step of Adam is the gradient's sign
    ratio = np.linalg.norm(weights[0]) / np.linalg.norm(update)
    assert kernel == pytest.approx(weights[0] - 0.01 * ratio * update, abs=1e-6)
    assert bias == pytest.approx(weights[1] - 0.01 * np.sign(gradient[1]), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_multiplier_is_of_the_rate_and_not_of_the_gradient(name):
    draw = np.random.default_rng(1)
    weights = [draw.normal(size=(3, 2)).astype("float32"), draw.normal(size=2).astype("float32")]
    gradients = [[draw.normal(size=w.shape).astype("float32") for w in weights] for _ in range(5)]
    options = dict(weight_decay=0.1, clip_norm=1.0)
    times = pushed(name, 5, gradients, weights, 0.01, lr_multipliers={"head": 5.0}, **options)
    assert farthest(times, pushed(name, 5, gradients, weights, 0.05, **options)) < 1e-6
    held = pushed(name, 5, gradients, weights, 0.01, lr_multipliers={"h*": 0.0}, **options)
    assert farthest(held, weights) == 0


def test_a_constraint_holds_after_each_step():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_constraint="non_neg", name="head")])
    made = optimizer(model, "sgd", 1.0, verbose=False)
    made.apply([keras.ops.ones((3, 2)), keras.ops.ones((2,))], model.trainable_variables)
    assert (model.get_weights()[0] == 0).all()


# Which weights are treated how.

class Scale(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale


def test_kernels_decay_and_nothing_else_does():
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, name="conv")(images)
    x = keras.layers.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.GroupNormalization(2, name="norm")(x)
    x = keras.layers.LayerNormalization(axis=[1, 2, 3], name="layer_norm")(x)
    x = Scale(name="scale")(keras.layers.Reshape((36, 4))(x))
    x = keras.layers.MultiHeadAttention(2, 2, name="attention")(x, x)
    x = keras.layers.Dense(1, name="head")(keras.layers.GlobalAveragePooling1D()(x))
    made = optimizer(keras.Model(images, x), verbose=False, weight_decay=1e-4)
    assert sorted(path for path, row in rows(made).items() if row.decays) == [
        "attention/attention_output/kernel", "attention/key/kernel", "attention/query/kernel", "attention/value/kernel",
        "conv/kernel", "depthwise/kernel", "head/kernel",
    ]


def test_further_layers_are_kept_from_decay():
    made = optimizer(small(), "sgd", 0.1, weight_decay=1.0, no_decay=["head", "stage1*"], verbose=False)
    assert [path for path, row in rows(made).items() if row.decays] == ["stem_conv/kernel"]


def test_a_model_of_the_zoo_is_divided_into_groups(capsys):
    model = kerazoo.resnet20(classes=10)
    made = optimizer(model, "sgd", 0.1, weight_decay=1e-4, lr_multipliers={"head": 10, "stage[12]_*": 0.1})
    shown = capsys.readouterr().out
    assert shown == f"{made.summary()}\n"
    lines = [re.split(r"  +", line.strip()) for line in shown.splitlines()[2:]]
    assert [line[:2] for line in lines] == [
        ["x 0.1", "0.0001"], ["x 0.1", "none"], ["x 1", "0.0001"], ["x 1", "none"], ["x 10", "0.0001"], ["x 10", "none"]
    ]
    assert sum(int(line[2]) for line in lines) == len(model.trainable_variables)
    assert sum(int(line[3].replace(",", "")) for line in lines) == sum(
        math.prod(variable.shape) for variable in model.trainable_variables
    )
    assert lines[-1][4] == "head/bias"
    optimizer(model, verbose=False)
    assert not capsys.readouterr().out


def test_the_first_pattern_that_matches_counts():
    made = optimizer(small(), lr_multipliers={"stem_conv": 0.5, "st*": 0.1, "*/bias": 2.0}, verbose=False)
    assert multipliers(made) == {
        "stem_conv/kernel": 0.5, "stem_conv/bias": 0.5, "stem_bn/gamma": 0.1, "stem_bn/beta": 0.1,
        "stage1_conv/kernel": 0.1, "stage1_conv/bias": 0.1, "head/kernel": 1.0, "head/bias": 2.0,
    }


def test_layers_in_layers_and_models_in_models_are_named_by_their_path():
    inside = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="head")], name="encoder")
    tokens = keras.Input((5, 4))
    x = keras.layers.MultiHeadAttention(2, 2, name="attention")(tokens, tokens)
    x = keras.layers.TimeDistributed(inside, name="each")(x)
    x = inside(keras.layers.GlobalAveragePooling1D()(x))
    model = keras.Model(tokens, keras.layers.Dense(2, name="head")(x))
    for pattern, hit in [
        ("attention", 8), ("attention/query", 2), ("query", 2), ("attention/*", 8), ("head", 4), ("encoder/head", 2),
        ("encoder", 2), ("enc*", 2),
    ]:
        made = optimizer(model, lr_multipliers={pattern: 3.0}, verbose=False)
        assert sum(row.multiplier == 3 for row in made.rows) == hit, pattern


# Batches, averages, schedules.

@pytest.mark.parametrize("name", ["sgd", "lamb"])
def test_batches_added_up_are_one_large_batch(name):
    options = dict(weight_decay=0.01, clip_norm=0.2, ema=0.8, lr_multipliers={"head": 3.0}, verbose=False)
    first, weights = small(norm=False), None
    results = []
    for accumulate, size in ((1, 16), (4, 4)):
        model = keras.models.clone_model(first)
        model.set_weights(first.get_weights())
        rate = WarmupCosine(0.01, epochs=4, warmup=1, steps=32 // size)
        made = optimizer(model, name, rate, accumulate=accumulate, **options)
        compiled(model, made, jit_compile=accumulate == 4)
        fit(model, epochs=3, batch_size=size)
        assert int(made.iterations) == 6
        results.append((model.get_weights(), [v.numpy() for v in made.variables if "momentum" in v.path]))
        weights = first.get_weights()
    assert farthest(results[0][0], results[1][0]) < 1e-6
    assert farthest(results[0][1], results[1][1]) < 1e-5
    assert farthest(results[0][0], weights) > 1e-3


def test_nothing_changes_before_all_batches_are_there():
    model = small(norm=False)
    made = optimizer(model, "adam", 0.1, accumulate=3, ema=0.9, verbose=False)
    before = model.get_weights()
    for batch in range(1, 7):
        made.apply([keras.ops.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
        changed = farthest(before, model.get_weights()) > 0
        assert changed == (batch % 3 == 0)
        before = model.get_weights()


def test_the_rate_holds_for_all_batches_of_an_update():
    model = small(norm=False)
    made = optimizer(model, "sgd", WarmupLinear(1.0, 12), accumulate=3, verbose=False)
    seen = []
    for _ in range(12):
        seen.append(float(made.learning_rate))
        made.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    assert seen == pytest.approx([1] * 3 + [0.75] * 3 + [0.5] * 3 + [0.25] * 3)


@pytest.mark.parametrize("accumulate, ema, jit", [
    (1, 0.999, False), (2, 0.999, True), (1, 0.25, True), (2, 0.25, False),
])
def test_the_averages_are_of_the_weights_after_each_update(accumulate, ema, jit):
    model = small()
    made = optimizer(model, "sgd", 0.05, ema=ema, accumulate=accumulate, verbose=False)
    compiled(model, made, jit_compile=jit)
    seen = []

    class See(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if (batch + 1) % accumulate == 0:
                seen.append([v.numpy() for v in model.trainable_variables])

    fit(model, batch_size=4, callbacks=[See()])
    average = seen[0]
    for update, weights in enumerate(seen[1:], 1):
        keep = min(ema, (1 + update) / (10 + update))
        assert made.ema_momentum_at(update) == float(made.ema_momentum_at(keras.ops.cast(update, "float64"))) == keep
        average = [keep * a + (1 - keep) * w for a, w in zip(average, weights)]
    assert len(seen) == 8 // accumulate
    assert farthest([v.numpy() for v in model.trainable_variables], average) < 1e-6
    assert farthest(seen[-1], average) > 1e-4


def test_keras_exchanges_weights_and_averages_for_validation():
    model = small()
    compiled(model, optimizer(model, "sgd", 0.5, ema=0.9, verbose=False), metrics=["accuracy"])
    x, y = batches()
    history = fit(model, epochs=2, validation_data=(x, y), callbacks=[keras.callbacks.SwapEMAWeights()]).history
    # At the end the averages are in the model.
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(x, y, verbose=0)[0], rel=1e-5)


def test_the_rate_of_a_number_can_be_set_and_that_of_a_schedule_cannot():
    model = small()
    made = optimizer(model, "sgd", 1, verbose=False)
    made.learning_rate = 0.25
    assert float(made.learning_rate) == 0.25
    scheduled = optimizer(model, "sgd", WarmupLinear(1.0, 3), verbose=False)
    with pytest.raises(TypeError, match="LearningRateSchedule"):
        scheduled.learning_rate = 0.25


# Saving.

@pytest.mark.parametrize("name, options, frozen", [
    ("sgd", dict(nesterov=True), True), ("adam", dict(accumulate=2), False), ("adamw", dict(ema=0.9), True),
    ("lamb", dict(clip_norm=0.1), False),
], ids=NAMES)
def test_a_loaded_model_trains_on_identically(tmp_path, name, options, frozen):
    model = small()
    if frozen:
        model.get_layer("stem_conv").trainable = model.get_layer("stem_bn").trainable = False
    made = optimizer(
        model, name, WarmupCosine(0.05, 6, 1, steps=4), weight_decay=0.01, lr_multipliers={"head": 10.0},
        no_decay=["stage1*"], verbose=False, **options,
    )
    compiled(model, made)
    fit(model, epochs=2, batch_size=8)
    model.save(tmp_path / "model.keras")
    again = kerazoo.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == made.get_config()
    assert farthest([v.numpy() for v in again.optimizer.variables], [v.numpy() for v in made.variables]) == 0
    for each in (model, again):
        if frozen:
            each.get_layer("stem_conv").trainable = True
            refresh(each)
            each.make_train_function(force=True)
        fit(each, epochs=1, batch_size=8)
    assert farthest(model.get_weights(), again.get_weights()) == 0
    assert multipliers(again.optimizer)["head/kernel"] == 10 and not rows(again.optimizer)["stage1_conv/kernel"].decays


@pytest.mark.parametrize("frozen", [False, True])
def test_two_layers_of_one_name_find_their_own_momenta(tmp_path, frozen):
    inside = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="head")], name="backbone")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(inside(inputs)))
    made = optimizer(model, "sgd", 0.1, lr_multipliers={"backbone": 0.5}, verbose=False)
    model.compile(made, "mse")
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    model.fit(x, x, verbose=0)
    inside.get_layer("head").trainable = not frozen
    refresh(model)
    model.make_train_function(force=True)
    model.fit(x, x, verbose=0)
    model.save(tmp_path / "model.keras")
    again = kerazoo.load_model(tmp_path / "model.keras")
    for each in (model, again):
        each.get_layer("backbone").get_layer("head").trainable = True
        refresh(each)
        each.make_train_function(force=True)
        each.fit(x, x, epochs=2, verbose=0)
    assert farthest(model.get_weights(), again.get_weights()) == 0


# Freezing and unfreezing.

def test_weights_can_be_unfrozen_later_and_keep_what_the_optimizer_knows():
    model = small()
    model.get_layer("stem_conv").trainable = False
    made = optimizer(model, "sgd", 0.05, ema=0.5, verbose=False)
    compiled(model, made)
    variables = made.variables
    stem = model.get_layer("stem_conv").kernel
    stem.assign(stem + 1.0)  # other weights than those that the optimizer saw at first
    before = stem.numpy()
    fit(model)
    assert (stem.numpy() == before).all()
    momentum = rows(made)["head/kernel"].slots[0]
    kept = momentum.numpy()
    assert np.abs(kept).max() > 0

    model.get_layer("stem_conv").trainable = True
    refresh(model)
    model.make_train_function(force=True)
    assert (momentum.numpy() == kept).all()
    seen = []
    see = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(stem.numpy()))
    fit(model, callbacks=[see])
    average = seen[0]  # and not of what it was while it was frozen
    for update, value in enumerate(seen[1:], 5):
        keep = min(0.5, (1 + update) / (10 + update))
        average = keep * average + (1 - keep) * value
    assert np.abs(seen[0] - before).max() > 0
    assert stem.numpy() == pytest.approx(average, abs=1e-6)
    assert [id(v) for v in made.variables] == [id(v) for v in variables]


def test_weights_frozen_in_the_middle_of_a_fit_stay():
    model = small()
    compiled(model, optimizer(model, "adamw", 0.01, weight_decay=0.1, verbose=False))
    stem, seen = model.get_layer("stem_conv"), []

    class Freeze(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            stem.trainable = epoch == 1
            refresh(self.model)
            self.model.make_train_function(force=True)
            seen.append(stem.kernel.numpy())

    fit(model, epochs=3, callbacks=[Freeze()])
    assert (seen[0] == seen[1]).all() and (seen[1] != seen[2]).all()


def test_only_this_optimizer_takes_weights_that_are_unfrozen_later():
    model = small()
    compiled(model, keras.optimizers.SGD())
    with pytest.raises(ValueError, match="kerazoo.train.optimizer"):
        refresh(model)


def test_another_model_s_weights_are_refused():
    made = optimizer(small(), verbose=False)
    other = compiled(small(dense=5), made)
    other.loss = "mse"
    with pytest.raises(ValueError, match="was made for a model without the weight"):
        made.apply([keras.ops.ones(v.shape) for v in other.trainable_variables], other.trainable_variables)


# Other backends, precisions and devices.

CODE = """
import os, sys
import numpy as np
backend, full = os.environ["KERAS_BACKEND"], sys.argv[1] == "True"
if backend == "jax":
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
if backend == "tensorflow":
    import tensorflow as tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
import contextlib
import keras
import kerazoo
from kerazoo.train import WarmupCosine, optimizer
from kerazoo.train.optimizers import refresh

draw = np.random.default_rng(0)
x, y = draw.normal(size=(32, 6, 6, 2)).astype("float32"), draw.integers(0, 3, 32)

def train(name, accumulate, mode):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16" if mode == "float16" else "float32")
    scope = contextlib.nullcontext()
    if backend == "tensorflow" and mode == "devices":
        scope = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()
    if backend == "jax":
        keras.distribution.set_distribution(keras.distribution.DataParallel() if mode == "devices" else None)
    with scope:
        images = keras.Input((6, 6, 2))
        x1 = keras.layers.Conv2D(4, 3, name="stem")(images)
        x1 = keras.layers.Conv2D(4, 3, activation="tanh", name="stage1")(x1)
        x1 = keras.layers.GlobalAveragePooling2D()(x1)
        model = keras.Model(images, keras.layers.Dense(3, name="head", dtype="float32")(x1))
        seed = np.random.default_rng(1)
        model.set_weights([seed.normal(0, 0.3, w.shape) for w in model.get_weights()])
        model.get_layer("stem").trainable = False
    made = optimizer(model, name, WarmupCosine(0.05, 6, 1, steps=4), weight_decay=0.01, clip_norm=0.2, ema=0.8,
                     accumulate=accumulate, lr_multipliers={"head": 3.0}, verbose=False)
    with scope if mode != "devices" else contextlib.nullcontext():
        model.compile(made, keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                      jit_compile=backend == "jax")

    class Thaw(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.get_layer("stem").trainable = True
                refresh(self.model)
                self.model.make_train_function(force=True)

    model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[Thaw()])
    model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    assert mode != "float16" or type(model.optimizer).__name__ == "LossScaleOptimizer"
    return model

cases = {"devices": [("sgd", 2)], "float16": [("adamw", 1)], "one": [("sgd", 2), ("adamw", 1)]}
if full:
    cases = dict.fromkeys(cases, [(name, accumulate) for name in ("sgd", "adamw", "lamb") for accumulate in (1, 2)])
out = {}
for mode in ("one",) if backend == "torch" else cases:
    for name, accumulate in cases[mode]:
        model = train(name, accumulate, mode)
        for number, weight in enumerate(model.get_weights()):
            out[f"{mode} {name} {accumulate} {number}"] = weight
np.savez(sys.argv[2], **out)
model.save(sys.argv[3])
again = kerazoo.load_model(sys.argv[3])
for each in (model, again):
    each.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
assert all((a == b).all() for a, b in zip(model.get_weights(), again.get_weights()))
"""


@pytest.fixture(scope="module")
def weights_of(tmp_path_factory):
    """weights_of(run_python, backend, full) -> {mode, optimizer, batches, number: weights}, computed once."""
    known = {}

    def weights(run_python, backend, full):
        if (backend, full) not in known:
            folder = tmp_path_factory.mktemp(backend)
            run_python(CODE, full, folder / "weights.npz", folder / "model.keras", backend=backend, OMP_NUM_THREADS="1")
            known[backend, full] = dict(np.load(folder / "weights.npz"))
        return known[backend, full]

    return weights


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "full"])
@pytest.mark.parametrize("backend", ["tensorflow", "jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_training_is_the_same_everywhere(run_python, weights_of, backend, full):
    """On one device and on several, in 32 and in 16 bits; with weights that are unfrozen on the way."""
    pytest.importorskip(backend)
    expected = weights_of(run_python, "tensorflow", full)
    for key, weights in weights_of(run_python, backend, full).items():
        mode, rest = key.split(" ", 1)
        difference = np.abs(weights - expected[f"one {rest}"])
        # Adam's first steps are signs, which in 16 bits may be the other one where a gradient is next to zero.
        assert difference.mean() < 5e-3 if mode == "float16" else difference.max() < 1e-5, key


# Bad input.

@pytest.mark.parametrize("options, message", [
    (dict(name="adamx"), r"Unknown optimizer 'adamx'; did you mean adam or adamw\?"),
    (dict(name="SGD"), r"did you mean sgd\?"),
    (dict(name=keras.optimizers.SGD), "Unknown optimizer"),
    (dict(learning_rate="fast"), "learning_rate must be a number above 0 or a keras"),
    (dict(learning_rate=0), "learning_rate must"),
    (dict(learning_rate=-1.0), "learning_rate must"),
    (dict(learning_rate=math.nan), "learning_rate must"),
    (dict(learning_rate=lambda: 0.1), "learning_rate must"),
    (dict(momentum=1.0), "momentum must"),
    (dict(momentum=None), "momentum must"),
    (dict(nesterov=True, momentum=0), "nesterov needs"),
    (dict(nesterov=True, name="adam"), "nesterov needs \"sgd\""),
    (dict(weight_decay=-1e-4), "weight_decay must"),
    (dict(weight_decay=None), "weight_decay must"),
    (dict(clip_norm=0), "clip_norm must"),
    (dict(accumulate=0), "accumulate must"),
    (dict(accumulate=1.5), "accumulate must"),
    (dict(accumulate=True), "accumulate must"),
    (dict(ema=1.0), "ema must"),
    (dict(ema=0), "ema must"),
    (dict(ema=True), "ema must"),
    (dict(no_decay="head"), "no_decay must be a list"),
    (dict(no_decay=["haed"]),
     r"no_decay: 'haed' matches no layer with weights; did you mean head\? There are stem_conv, stem_bn, "),
    (dict(lr_multipliers={"haed": 2}), r"lr_multipliers: 'haed' matches no layer .*; did you mean head\?"),
    (dict(lr_multipliers={"stage4*": 2}), "'stage4.*' matches no layer"),
    (dict(lr_multipliers={"head": -1}), r"lr_multipliers\['head'\] must"),
    (dict(lr_multipliers={"head": "10"}), r"lr_multipliers\['head'\] must"),
    (dict(lr_multipliers={3: 1}), "A pattern must be a str"),
    (dict(lr_multipliers=[("head", 10)]), "lr_multipliers must be {pattern"),
    (dict(lr_multipliers={"*": 2, "head": 10}), "Put the special ones first"),
])
def test_bad_arguments_are_answered_in_words(options, message):
    with pytest.raises(ValueError, match=message):
        optimizer(small(), **options)


def test_a_model_without_weights_is_refused():
    with pytest.raises(ValueError, match="not built yet"):
        optimizer(keras.Sequential([keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match="must have weights to train"):
        optimizer(keras.Sequential([keras.Input((3,)), keras.layers.Flatten()]))
    with pytest.raises(ValueError, match="model must be a keras.Model; got str"):
        optimizer("resnet18")


def test_a_subclassed_model_is_taken_once_it_is_built():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = keras.layers.Dense(4, name="first")
            self.head = keras.layers.Dense(1, name="head")

        def call(self, x):
            return self.head(self.first(x))

    model = Own()
    with pytest.raises(ValueError, match="not built yet"):
        optimizer(model)
    model(np.zeros((1, 3), "float32"))
    made = optimizer(model, lr_multipliers={"head": 2.0}, verbose=False)
    assert sorted(multipliers(made).values()) == [1, 1, 2, 2]


def test_a_weight_without_a_gradient_is_named():
    model = small()
    made = optimizer(model, verbose=False)
    variables = model.trainable_variables
    with pytest.warns(UserWarning, match="does not depend on stem_conv/kernel"):
        made.apply([None, *(keras.ops.ones(v.shape) for v in variables[1:])], variables)
    with pytest.raises(ValueError, match="No weight has a gradient"):
        made.apply([None] * len(variables), variables)


def test_the_class_alone_works_as_keras_own():
    model = compiled(small(), SGD(0.1, weight_decay=1e-4))
    fit(model)
    assert [path for path, row in rows(model.optimizer).items() if row.decays] == [
        "stem_conv/kernel", "stage1_conv/kernel", "head/kernel"
    ]
