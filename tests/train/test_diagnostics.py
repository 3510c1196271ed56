"""The callback that finds out why a training fails: on small trainings, in plain fit and in a Run."""
import json
import math

import keras
import numpy as np
import pytest

import kerazoo
from kerazoo.train import state
from kerazoo.train.diagnosis_data import look
from kerazoo.train.diagnosis_probe import Probe
from kerazoo.train.diagnostics import Diagnostics

RNG = np.random.default_rng(0)
LABELS = np.arange(96) % 3
# Each class is bright in another third of the image, so that there is something to learn.
IMAGES = RNG.integers(0, 100, (96, 12, 12, 1)).astype("float32")
for label in range(3):
    IMAGES[LABELS == label, :, 4 * label : 4 * label + 4] += 120
DATA = IMAGES.astype("uint8"), LABELS


def network(activation="relu", norm=True, extra=None, depth=2):
    image = keras.Input((12, 12, 1))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    for number in range(1, depth + 1):
        x = keras.layers.Conv2D(8, 3, padding="same", name=f"conv{number}")(x)
        x = keras.layers.BatchNormalization(name=f"bn{number}")(x) if norm else x
        x = keras.layers.Activation(activation, name=f"act{number}")(x)
        if extra is not None and number == 1:
            x = extra(x)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, keras.layers.Dense(3, name="head")(x), name="net")


def compiled(model, rule="adam", rate=1e-2):
    optimizer = keras.optimizers.get({"class_name": rule, "config": {"learning_rate": rate}})
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def fit(model, diagnostics, data=DATA, epochs=3, **options):
    x, y = data
    return model.fit(x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=[diagnostics], **options)


def kinds(diagnostics):
    return [finding.kind for finding in diagnostics.findings]


def test_a_healthy_training_has_no_findings_and_says_so(capsys):
    diagnostics = Diagnostics(DATA, every=2)
    fit(compiled(network()), diagnostics, epochs=4, validation_data=DATA)
    assert diagnostics.findings == []
    assert capsys.readouterr().out.strip().endswith("nothing looks wrong.")


def shuffled():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(DATA).shuffle(96, seed=1).batch(16)


@pytest.mark.parametrize("kind", ["arrays", "tf.data"])
def test_it_changes_nothing_of_the_training(kind):
    weights = []
    for watched in (False, True):
        keras.utils.set_random_seed(0)
        model = compiled(network())
        if kind == "arrays":
            options, seen = {"x": DATA[0], "y": DATA[1], "batch_size": 16}, DATA
        else:
            # One like it: what tf.data shuffle comes in another order when it is gone through again.
            options, seen = {"x": shuffled()}, shuffled()
        callbacks = [Diagnostics(seen, every=1, verbose=False)] if watched else []
        model.fit(**options, epochs=2, verbose=0, callbacks=callbacks)
        weights.append(state.values_of([*model.variables, *model.optimizer.variables]))
    for one, two in zip(*weights):
        np.testing.assert_array_equal(one, two)


def test_the_probe_measures_what_autodiff_and_numpy_do():
    import tensorflow as tf

    model = compiled(network(norm=False))
    seen = Probe(model, *DATA)()
    with tf.GradientTape() as tape:
        loss = model.loss(LABELS, model(DATA[0], training=False))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert seen["loss"] == pytest.approx(float(loss), rel=1e-5)
    norms = [math.hypot(*(float(tf.norm(one)) for one in gradients[2 * i : 2 * i + 2])) for i in range(3)]
    assert list(seen["gradient"].values()) == pytest.approx(norms, rel=1e-4)
    first = keras.Model(model.input, model.get_layer("conv1").output)(DATA[0])
    assert seen["std"]["conv1"] == pytest.approx(float(tf.math.reduce_std(first)), rel=1e-4)
    assert seen["input"] == pytest.approx(
        [(IMAGES / 127.5 - 1).mean(), (IMAGES / 127.5 - 1).std(), -1, IMAGES.max() / 127.5 - 1], abs=2e-2
    )


def test_batch_norms_are_measured_as_in_training_and_stay_as_they_are():
    model = compiled(network())
    before = state.values_of(model.variables)
    model.get_layer("bn1").moving_mean.assign(np.full(8, 1e6))  # of no matter: the sample has statistics of its own
    assert Probe(model, *DATA)()["std"]["conv2"] < 10
    assert (state.value_of(model.get_layer("bn1").moving_mean) == 1e6).all()
    model.get_layer("bn1").moving_mean.assign(np.zeros(8))
    for one, two in zip(before, state.values_of(model.variables)):
        np.testing.assert_array_equal(one, two)


def test_dead_units_are_counted_by_channel():
    model = compiled(network(norm=False))
    bias = np.zeros(8)
    bias[:3] = -1000.0
    model.get_layer("conv1").bias.assign(bias)
    assert list(Probe(model, *DATA)()["dead"]["act1"]) == [True] * 3 + [False] * 5


def test_models_in_models_and_models_with_shared_layers_are_seen_through():
    inner = keras.Sequential([keras.Input((12, 12, 8)), keras.layers.Conv2D(8, 3, name="conv")], name="inner")
    shared = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="shared")
    image = keras.Input((12, 12, 1))
    x = shared(shared(keras.layers.Conv2D(8, 1, name="first")(keras.ops.divide(image, 255.0))))
    x = keras.layers.GlobalAveragePooling2D()(inner(x))
    model = compiled(keras.Model(image, keras.layers.Dense(3, name="head")(x)))
    seen = Probe(model, *DATA)()
    assert list(seen["gradient"]) == ["first", "shared", "inner/conv", "head"]
    assert list(seen["dead"]) == ["shared"] and all(value > 0 for value in seen["gradient"].values())


def test_models_of_the_zoo_with_auxiliary_heads_and_mixing_are_measured():
    model = kerazoo.googlenet(classes=3, input_shape=(64, 64, 3), augmentation=kerazoo.augment.MixUp(0.2))
    compiled(model)
    images = RNG.integers(0, 256, (6, 64, 64, 3)).astype("uint8")
    seen = Probe(model, images, np.arange(6) % 3)()
    assert not any("aux" in name for name in seen["std"]) and math.isfinite(seen["loss"])


def test_labels_that_are_all_the_same_are_told_before_training(capsys):
    diagnostics = Diagnostics((DATA[0], LABELS * 0))
    fit(compiled(network()), diagnostics, (DATA[0], LABELS * 0), epochs=1)
    assert kinds(diagnostics)[0] == "labels"
    text = capsys.readouterr().out
    assert text.index("DIAGNOSIS: The labels look wrong") < text.index("the most likely cause first")
    assert diagnostics.findings[0].epoch == 0


def test_negative_biases_are_told_as_dying_relus():
    model = compiled(network(norm=False))
    for name in ("conv1", "conv2"):
        model.get_layer(name).bias.assign(np.full(8, -50.0))
    diagnostics = Diagnostics(DATA, every=2, verbose=False)
    fit(model, diagnostics, epochs=2)
    first = diagnostics.findings[0]
    assert (first.kind, first.severity, first.epoch) == ("dead", "severe", 0)
    assert "act1" in first.where and "act2" in first.where
    assert "vanishing" not in kinds(diagnostics)


def test_a_rate_of_1000_is_told_and_finite_weights_are_put_back():
    model = compiled(network(norm=False), "sgd", 1e30)
    diagnostics = Diagnostics(DATA, verbose=False)
    history = fit(model, diagnostics, epochs=5).history
    assert kinds(diagnostics)[:2] == ["rate_high", "nan"]
    assert len(history["loss"]) == 1 and all(map(state.finite, state.values_of(model.weights)))
    assert "has the weights of" in diagnostics.findings[1].evidence


def test_nan_pixels_in_later_batches_of_a_data_set_are_found():
    import tensorflow as tf

    images = np.tile(IMAGES, (20, 1, 1, 1))
    labels = np.tile(LABELS, 20)
    images[1900, 3, 3] = np.nan
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(16)
    diagnostics = Diagnostics(data, verbose=False)
    compiled(model := network()).fit(data, epochs=2, verbose=0, callbacks=[diagnostics])
    (finding,) = diagnostics.findings
    assert finding.kind == "nan" and finding.where == "training images"
    assert "1 values of the images in batch 118" in finding.evidence
    assert all(map(state.finite, state.values_of(model.weights)))


def test_a_gradient_that_breaks_is_placed_at_its_layer():
    root = keras.layers.Activation(keras.ops.sqrt, name="root")
    diagnostics = Diagnostics(DATA, verbose=False)
    fit(compiled(network(norm=False, extra=root)), diagnostics)
    first = diagnostics.findings[0]
    assert first.kind == "nan" and first.where == "root"
    assert "gradient of conv1 is the first that is no finite number" in first.evidence


def test_vanishing_gradients_of_a_deep_sigmoid_net():
    diagnostics = Diagnostics(DATA, verbose=False)
    fit(compiled(network("sigmoid", norm=False, depth=12)), diagnostics, epochs=1)
    first = diagnostics.findings[0]
    assert first.kind == "vanishing" and first.where.startswith("conv1")
    assert first.remedies[0].startswith('activation="relu" in the place of sigmoid')


def test_a_subclassed_model_is_watched_by_its_losses(capsys):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.flat, self.head = keras.layers.Flatten(), keras.layers.Dense(3)

        def call(self, x):
            return self.head(self.flat(x) / 255)

    diagnostics = Diagnostics((DATA[0], LABELS * 0))
    fit(compiled(Net()), diagnostics, (DATA[0], LABELS * 0), epochs=1)
    assert "sees no layers" in capsys.readouterr().out
    assert kinds(diagnostics) == ["labels"]


def test_frozen_layers_are_measured_without_gradients():
    model = network()
    model.get_layer("conv1").trainable = model.get_layer("bn1").trainable = False
    seen = Probe(compiled(model), *DATA)()
    assert list(seen["gradient"]) == ["conv2", "head"] and list(seen["std"]) == ["conv1", "conv2", "head"]


def test_it_measures_seldom_enough():
    diagnostics = Diagnostics(DATA, verbose=False)
    fit(compiled(network()), diagnostics, epochs=30)
    cost = diagnostics.overhead
    # A few at the beginning are taken in any case, and the last one.
    steps = [sample["step"] for sample in diagnostics.as_json()["measures"]]
    assert steps[:2] == [0, 1] and steps[-1] == 180 and len(steps) < 60
    # Measured in each step, it takes more than half of the time; those at the beginning are not asked for their cost.
    assert cost["first"] > 0 and cost["later"] < 0.2 * cost["seconds"] + cost["first"]


def test_files_hold_the_diagnosis(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = compiled(network(norm=False), "sgd", 1e30)
    diagnostics = Diagnostics(DATA, folder=tmp_path / "run", verbose=False)
    fit(model, diagnostics)

    def refuse(value):
        raise AssertionError(f"{value} is no JSON")

    written = json.loads((tmp_path / "run" / "diagnosis.json").read_text(), parse_constant=refuse)
    assert written["version"] == 1
    assert [finding["kind"] for finding in written["findings"]] == kinds(diagnostics)
    assert set(written["findings"][0]) == {"kind", "title", "where", "evidence", "remedies", "severity", "epoch"}
    first, after = written["measures"][:2]
    assert (first["epoch"], first["step"]) == (0, 0)
    assert set(first["layers"]["conv1"]) == {"gradient_norm", "update_ratio", "dead", "activation_std"}
    assert first["layers"]["conv1"]["gradient_norm"] > 0 and first["layers"]["act1"]["dead"] is not None
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "diagnosis")).Reload()
    assert "diagnosis_gradient_norm/conv1" in board.Tags()["scalars"]
    text = "diagnosis/the learning rate is too high"
    assert text in board.Tags()["tensors"]
    assert b"Try:" in board.Tensors(text)[0].tensor_proto.string_val[0]
    assert after["step"] >= 1


@pytest.mark.parametrize(("data", "message"), [
    (DATA[0], "an array (96, 12, 12, 1) without labels"),
    ((DATA[0], LABELS[:5]), "arrays of one length"),
    ((DATA[0][:0], LABELS[:0]), "at least one image; got arrays without any"),
    ("mnist", "kerazoo.data.load('mnist', 'train')"),
    (3, "got a int"),
    (iter([DATA]), "gone through again"),
])
def test_data_that_are_none_are_refused_in_words(data, message):
    with pytest.raises(ValueError) as error:
        Diagnostics(data)
    assert message in str(error.value)


def test_the_first_step_and_the_last_of_a_short_training_are_measured():
    diagnostics = Diagnostics(DATA, verbose=False)
    fit(compiled(network()), diagnostics, epochs=2)
    measures = [m for m in diagnostics.as_json()["measures"] if m["layers"]["conv1"]["update_ratio"] is not None]
    steps = 2 * len(LABELS) // 16
    assert measures[0]["step"] == 1 and measures[-1]["step"] == steps


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("text")
    with pytest.raises(ValueError, match="folder must be a folder, such as that of a run; got the file .*run"):
        Diagnostics(DATA, folder=tmp_path / "run")


def test_images_that_the_model_does_not_take_are_told_and_end_no_training():
    diagnostics = Diagnostics((np.zeros((64, 16, 16, 3)), np.arange(64) % 3), verbose=False)
    model = compiled(kerazoo.cnn_mnist(input_shape=(12, 12, 1), classes=3), rate=1e-3)
    with pytest.warns(UserWarning, match=r"images of \(16, 16, 3\), and cnn_mnist takes \(12, 12, 1\)"):
        fit(model, diagnostics, epochs=1)


@pytest.mark.parametrize("every", [0, -1, 2.5, True, "often"])
def test_every_must_be_a_number_of_batches(every):
    with pytest.raises(ValueError, match="positive number of batches"):
        Diagnostics(DATA, every=every)


def test_the_sample_is_small_finite_and_from_all_over():
    images = IMAGES.copy()
    images[5] = np.inf
    x, y, facts = look((images, LABELS))
    assert len(x) == len(y) == 64 and np.isfinite(x).all() and facts["broken"] == 144
    assert facts["counts"] == {"0": 32, "1": 32, "2": 32}
    large = np.zeros((80, 128, 128, 3), "uint8")
    assert len(look((large, np.arange(80) % 3))[0]) == 16


@pytest.mark.parametrize("preprocessing", [
    "imagenet", *(pytest.param(one, marks=pytest.mark.slow) for one in ("cifar10", "unit")),
])
def test_pixels_that_were_scaled_before_are_told_under_every_normalization(preprocessing):
    images = RNG.integers(0, 256, (32, 16, 16, 3)) / 255
    for pixels, found in ((images, True), (255 * images, False)):
        keras.utils.set_random_seed(0)
        model = kerazoo.cnn_mnist(input_shape=(16, 16, 3), classes=3, preprocessing=preprocessing)
        data = pixels.astype("float32"), np.arange(32) % 3
        diagnostics = Diagnostics(data, verbose=False)
        fit(compiled(model, rate=1e-3), diagnostics, data, epochs=1)
        assert ("inputs" in kinds(diagnostics)[:1]) == found


CODE = """
import keras, numpy as np, sys
sys.path.insert(0, sys.argv[1])
from kerazoo.train.diagnostics import Diagnostics
from kerazoo.train import state
rng = np.random.default_rng(0)
x, y = rng.integers(0, 256, (64, 12, 12, 1)).astype("uint8"), np.arange(64) % 3
def train(callbacks, bias=0.0, rate=1e-3, **options):
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 1))
    h = keras.layers.Conv2D(8, 3, name="conv1")(keras.layers.Rescaling(1 / 255)(image))
    h = keras.layers.BatchNormalization(beta_initializer=keras.initializers.Constant(bias))(h)
    h = keras.layers.ReLU(name="act1")(h)
    h = keras.layers.Dropout(0.3)(keras.layers.Flatten()(h))
    model = keras.Model(image, keras.layers.Dense(3)(h))
    rule = keras.optimizers.Adam(rate) if rate < 1 else keras.optimizers.SGD(rate, use_ema=True)
    model.compile(rule, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(x, y, **{"batch_size": 16, "epochs": 2, "verbose": 0, **options}, callbacks=callbacks)
    return state.values_of(model.variables)
plain = train([])
diagnostics = Diagnostics((x, y), every=1, verbose=False)
for one, two in zip(plain, train([diagnostics])):
    np.testing.assert_array_equal(one, two)
assert [one["step"] for one in diagnostics.as_json()["measures"]] == list(range(9))
assert diagnostics.as_json()["measures"][1]["layers"]["conv1"]["update_ratio"] > 0
dead = Diagnostics((x, y), every=1, verbose=False)
train([dead], bias=-50.0)
assert dead.findings[0].kind == "dead", dead.report()
for label in range(3):
    x[y == label, :, 4 * label : 4 * label + 4] //= 3
    x[y == label, :, 4 * label : 4 * label + 4] += 160
beside = Diagnostics((x, y), verbose=False)
train([beside], rate=3e-2, epochs=6, validation_data=(x, (y + 1) % 3))
assert beside.findings[0].kind == "validation", beside.report()
for one in train([Diagnostics((x, y), verbose=False)], rate=1e38):
    assert np.isfinite(one).all()
if keras.backend.backend() == "torch":
    import torch
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=16, shuffle=True
    )
    orders = []
    for watched in (False, True):
        torch.manual_seed(0)
        if watched:
            Diagnostics(loader, verbose=False)
        orders.append(np.concatenate([batch[0] for batch in loader]))
    np.testing.assert_array_equal(*orders)
print("fine")
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_measure_and_change_nothing(run_python, backend, pytestconfig):
    assert run_python(CODE, pytestconfig.rootpath, backend=backend).stdout.strip() == "fine"


def test_a_run_that_diverges_leaves_a_diagnosis(tmp_path):
    from kerazoo.train.resume import Diverged

    model = compiled(network(norm=False), "sgd", 1e30)
    run = kerazoo.train.Run(tmp_path, model, {}, monitor=None)
    with pytest.raises(Diverged), run:
        model.fit(*DATA, batch_size=16, epochs=3, verbose=0,
                  callbacks=run.callbacks(Diagnostics(DATA, folder=tmp_path, verbose=False)))
    written = json.loads((tmp_path / "diagnosis.json").read_text())
    assert [finding["kind"] for finding in written["findings"]][:2] == ["rate_high", "nan"]
    # The run puts back others than those of the last measurement, and tells which.
    assert "has the weights of" not in written["findings"][1]["evidence"]


def test_the_page_shows_what_happens(pytestconfig, tmp_path, monkeypatch):
    page = (pytestconfig.rootpath / "docs" / "diagnosis.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "docs/diagnosis.md", "exec"), names)
    assert kinds(names["diagnostics"])[0] == "rate_high"
