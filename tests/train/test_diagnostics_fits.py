"""Diagnostics in all kinds of trainings: losses by name, odd metrics, several outputs, runs that are cut, and so on."""
import os
import signal
import warnings

import keras
import numpy as np
import pytest

import kerazoo
from kerazoo.train import state
from kerazoo.train.diagnosis_data import about_labels, about_neighbors, look, thumbnails
from kerazoo.train.diagnosis_model import foresee
from kerazoo.train.diagnosis_probe import Probe
from kerazoo.train.diagnostics import Diagnostics, accuracy_in
from kerazoo.train.findings import TITLES

RNG = np.random.default_rng(0)
LABELS = np.arange(64) % 2
IMAGES = RNG.integers(0, 256, (64, 6, 6, 1)).astype("uint8")
ONE_HOT = np.eye(2, dtype="float32")[LABELS]
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(outputs=2, activation=None, shape=(6, 6, 1), hidden=8, **options):
    image = keras.Input(shape)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 127.5, -1)(image))
    x = keras.layers.Dense(hidden, "relu", name="hidden", **options)(x)
    return keras.Model(image, keras.layers.Dense(outputs, activation, dtype="float32", name="head")(x), name="net")


def kinds(diagnostics):
    return [finding.kind for finding in diagnostics.findings]


def fit(model, diagnostics, x=IMAGES, y=LABELS, **options):
    return model.fit(x, y, **{"batch_size": 16, "verbose": 0, **options}, callbacks=[diagnostics])


@pytest.mark.parametrize(("loss", "outputs", "labels"), [
    ("binary_crossentropy", 1, LABELS), ("crossentropy", 1, LABELS), ("crossentropy", 2, LABELS),
    ("crossentropy", 2, ONE_HOT), ("hinge", 1, LABELS), ("cosine_similarity", 1, LABELS),
    ("sparse_categorical_crossentropy", 2, LABELS[:, None]), (keras.losses.mean_squared_error, 1, LABELS),
    (["mse"], 1, LABELS.astype("float32")),
])
def test_losses_are_what_keras_makes_of_them(loss, outputs, labels):
    model = network(outputs, "sigmoid" if outputs == 1 else "softmax")
    model.compile("sgd", loss)
    expected = model.evaluate(IMAGES, labels, batch_size=64, verbose=0)
    assert Probe(model, IMAGES, labels)()["loss"] == pytest.approx(expected, rel=1e-4)


def test_one_sigmoid_and_classes_of_different_size():
    labels = (np.arange(64) < 1).astype("int64")
    model = network(1, "sigmoid")
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    diagnostics = Diagnostics((IMAGES, labels), verbose=False)
    fit(model, diagnostics, y=labels, class_weight={0: 1.0, 1: 10.0})
    assert kinds(diagnostics) == ["imbalance"] and "unless you do so already" in diagnostics.findings[0].remedies[0]


def test_metrics_that_are_arrays_are_left_out(tmp_path):
    model = network(2, "softmax")
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy", keras.metrics.F1Score()])
    diagnostics = Diagnostics((IMAGES, ONE_HOT), verbose=False)
    run = kerazoo.train.Run(tmp_path, model, {}, monitor=None)
    with run:
        model.fit(IMAGES, ONE_HOT, verbose=0, callbacks=run.callbacks(diagnostics))
    assert set(run.log()) == {"epoch", "accuracy", "loss", "learning_rate"}
    assert diagnostics.report().startswith("Diagnosis (1 epoch")


def two_headed():
    image = keras.Input((6, 6, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 127.5, -1)(image))
    heads = {"a": keras.layers.Dense(2, name="a")(x), "b": keras.layers.Dense(1, name="b")(x)}
    model = keras.Model(image, heads)
    model.compile("adam", {"a": SPARSE, "b": "mse"})
    return model


def test_several_outputs_are_watched_without_their_labels():
    import tensorflow as tf

    labels = {"a": LABELS * 0, "b": LABELS.astype("float32")}
    data = tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(16)
    for given in (data, (IMAGES, labels)):
        diagnostics = Diagnostics(given, verbose=False)
        two_headed().fit(data, verbose=0, callbacks=[diagnostics])
        assert diagnostics.findings == [] and set(diagnostics.as_json()["measures"][0]["layers"]) == {"a", "b"}


def test_a_pydataset_is_looked_at():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, number):
            return IMAGES[16 * number : 16 * number + 16], LABELS[16 * number : 16 * number + 16]

    assert look(Batches())[2]["counts"] == {"0": 32, "1": 32}


@pytest.mark.parametrize(("labels", "counted"), [
    (ONE_HOT, True), (0.9 * ONE_HOT + 0.05, True), (LABELS[:, None], True), (LABELS > 0, True),
    (np.sort(RNG.random((64, 4)), axis=1), False),  # boxes, of which the last number is the largest
    (np.pad(ONE_HOT, ((0, 0), (1, 0)), constant_values=1), False),  # several classes at once
    (IMAGES, False), (RNG.normal(size=64), False),
])
def test_labels_are_counted_where_they_are_classes(labels, counted):
    assert bool(about_labels(labels)["counts"]) == counted


def test_each_fit_begins_anew():
    diagnostics = Diagnostics((IMAGES, LABELS), verbose=False)
    for hidden, rate in ((8, 1e30), (12, 1e-2)):
        model = network(hidden=hidden)
        model.compile(keras.optimizers.SGD(rate), SPARSE)
        fit(model, diagnostics)
        assert bool(diagnostics.findings) == (rate > 1)
    assert len(diagnostics._evidence["epochs"]) == 1 and diagnostics.as_json()["measures"][-1]["step"] == 4


def test_a_measurement_that_fails_ends_no_training(monkeypatch, capsys):
    def fail(self, everything=False):
        raise MemoryError("no room")

    monkeypatch.setattr(Probe, "__call__", fail)
    model = network()
    model.compile("sgd", SPARSE)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        history = fit(model, Diagnostics((IMAGES, LABELS), every=1), epochs=2)
    assert len(history.history["loss"]) == 2
    assert sum("could not measure net (MemoryError: no room)" in str(one.message) for one in told) == 1
    assert "nothing that could be seen looks wrong" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_several_steps_an_execution_are_counted_as_they_are():
    model = network()
    model.compile("sgd", SPARSE, steps_per_execution=3)
    diagnostics = Diagnostics((IMAGES, LABELS), every=1, verbose=False)
    fit(model, diagnostics, epochs=3)
    assert [sample["step"] for sample in diagnostics.as_json()["measures"]] == [0, 3, 4, 7, 8, 11, 12]


def test_averages_that_are_no_numbers_do_not_come_back():
    model = network()
    model.compile(keras.optimizers.SGD(1e30, use_ema=True), SPARSE)
    fit(model, Diagnostics((IMAGES, LABELS), verbose=False), epochs=2)
    assert all(map(state.finite, state.values_of(model.weights)))


def test_what_is_accumulated_has_moved_nothing_yet():
    model = network()
    model.compile(keras.optimizers.SGD(1e-2, gradient_accumulation_steps=4), SPARSE)
    diagnostics = Diagnostics((IMAGES, LABELS), every=1, verbose=False)
    fit(model, diagnostics)
    ratios = [sample["layers"]["hidden"]["update_ratio"] for sample in diagnostics.as_json()["measures"]]
    assert ratios[:4] == [None] * 4 and ratios[4] > 0


def test_large_gradients_in_float16_are_measured_at_a_smaller_scale():
    model = network(1, dtype="mixed_float16")
    model.compile("sgd", "mse")
    probe = Probe(model, IMAGES, np.full(64, 1000.0))
    assert probe.half and all(0 < norm < np.inf for norm in probe()["gradient"].values())


def test_looking_at_a_data_set_is_no_epoch_of_it():
    def labels(train):
        return np.concatenate([batch[1] for batch in train])

    train, same = (kerazoo.data.load("mnist_sample", "train", batch_size=32, limit=128) for _ in range(2))
    for _ in range(2):
        np.testing.assert_array_equal(labels(train), labels(same))
        look(train)
    np.testing.assert_array_equal(labels(train), labels(same))


def test_looking_draws_nothing():
    class Drawn(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, number):
            return IMAGES + np.random.random(IMAGES.shape), LABELS

    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    look(Drawn())
    assert np.random.random() == expected


class Cut(keras.callbacks.Callback):
    """Ctrl-C in the third batch of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 2):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_run_that_was_cut_goes_on_with_its_evidence(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def start(folder, *callbacks):
        keras.utils.set_random_seed(0)
        train = kerazoo.data.load("mnist_sample", "train", batch_size=32, limit=128)
        model = network(10, shape=(28, 28, 1))
        model.get_layer("hidden").bias.assign(np.full(8, -50.0))
        model.compile("sgd", SPARSE, metrics=["accuracy"], steps_per_execution=3)  # of 4 batches
        watching = [one(train, every=1, verbose=False, folder=folder) if one is Diagnostics else one()
                    for one in callbacks]
        run = kerazoo.train.Run(tmp_path / folder, model, {}, monitor=None, save_every=0)
        with run:
            model.fit(run.data(train), shuffle=False, epochs=3, initial_epoch=run.initial_epoch, verbose=0,
                      callbacks=run.callbacks(*watching))
        return model, watching

    plain, _ = start(tmp_path / "plain")
    with pytest.raises(SystemExit):
        start(tmp_path / "cut", Diagnostics, Cut)
    model, (diagnostics,) = start(tmp_path / "cut", Diagnostics)
    for one, two in zip(state.values_of(plain.weights), state.values_of(model.weights)):
        np.testing.assert_array_equal(one, two)
    measures = diagnostics.as_json()["measures"]
    steps = [0, 3, 4, 7, 8, 11, 12]
    assert [sample["step"] for sample in measures] == steps
    assert [sample["epoch"] for sample in measures] == [0, 1, 1, 2, 2, 3, 3]
    assert (diagnostics.findings[0].kind, diagnostics.findings[0].epoch) == ("dead", 0)
    board = EventAccumulator(str(tmp_path / "cut" / "tensorboard" / "diagnosis")).Reload()
    assert [one.step for one in board.Scalars("diagnosis_gradient_norm/head")] == steps
    assert f"diagnosis/{TITLES['dead']}" in board.Tags()["tensors"]


def test_the_usual_accuracy_is_preferred_to_that_of_the_best_five():
    assert accuracy_in({"top5_accuracy": 1, "loss": 1, "accuracy": 0.5, "val_accuracy": 0.5}) == "accuracy"
    assert accuracy_in({"sparse_top_k_categorical_accuracy": 1, "a_accuracy": 0.5}) == "a_accuracy"
    assert accuracy_in({"loss": 1}) is None


def bright(count=300, size=12, classes=3):
    """Images that are brighter in one place for each class."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, count)
    images = rng.integers(0, 100, (count, size, size, 1)).astype("float32")
    for label in range(classes):
        images[labels == label, :, 4 * label : 4 * label + 4] += 120
    return images, labels


def convolutions(activation=None, momentum=0.9, start=0.0):
    image = keras.Input((12, 12, 1))
    x = keras.layers.Conv2D(8, 3, strides=2)(keras.layers.Rescaling(1 / 127.5, -1)(image))
    start = keras.initializers.Constant(start)
    x = keras.layers.BatchNormalization(momentum=momentum, moving_mean_initializer=start)(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    return keras.Model(image, keras.layers.Dense(3, activation, name="head")(x), name="net")


@pytest.mark.parametrize(("loss", "activation", "told"), [
    ("sparse_categorical_crossentropy", None, True), ("sparse_categorical_crossentropy", "softmax", False),
    (keras.losses.sparse_categorical_crossentropy, None, True), (SPARSE, "softmax", True), (SPARSE, None, False),
    (SPARSE, "relu", True), (keras.losses.SparseCategoricalCrossentropy(), "softmax", False),
    (lambda labels, outputs: keras.losses.sparse_categorical_crossentropy(labels, outputs, True), None, False),
])
def test_a_loss_that_does_not_fit_the_outputs_is_told_before_training(loss, activation, told):
    model = network(2, activation)
    model.compile("adam", loss)
    diagnostics = Diagnostics((IMAGES, LABELS), verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras has seen some of it as well
        fit(model, diagnostics)
    assert kinds(diagnostics)[:1] == ["loss"] * told
    assert not told or diagnostics.findings[0].epoch == 0


def test_a_model_that_cannot_be_trained_is_told(capsys):
    model = network()
    model.trainable = False
    model.compile("adam", SPARSE)
    diagnostics = Diagnostics((IMAGES, LABELS))
    fit(model, diagnostics)
    assert kinds(diagnostics) == ["frozen"] and "No weight of the model is trainable" in capsys.readouterr().out


@pytest.mark.parametrize("validation", [
    lambda x, y: (x, (y + 1) % 3), lambda x, y: (x / 255, y), lambda x, y: (x[:, :, ::-1], y),
])
def test_validation_that_is_not_like_training_is_told(validation):
    x, y = bright()
    model = convolutions()
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    diagnostics = Diagnostics((x, y), verbose=False)
    fit(model, diagnostics, x, y, epochs=5, validation_data=validation(x[:90], y[:90]))
    assert kinds(diagnostics) == ["validation"]
    assert "On images of the training set" in diagnostics.findings[0].evidence


def test_averages_that_lag_behind_are_told():
    x, y = bright()
    model = convolutions(momentum=0.9999, start=100.0)
    model.compile(keras.optimizers.Adam(1e-2), SPARSE, metrics=["accuracy"])
    diagnostics = Diagnostics((x, y), verbose=False)
    fit(model, diagnostics, x, y, epochs=5, validation_data=(x, y))
    assert kinds(diagnostics)[0] == "averages"


def test_images_that_look_alike_tell_whether_labels_belong_to_them():
    x, y = bright()
    right = about_neighbors([x[:100], x[100:]], y)
    assert right["images"] == 300 and right["right"] > 290 and right["deviations"] > 10
    wrong = about_neighbors([x], np.random.default_rng(2).permutation(y))
    assert abs(wrong["deviations"]) < 3 and 0.3 < wrong["chance"] < 0.37
    assert about_neighbors([x], np.random.default_rng(2).random(300)) is None
    assert look((x, y))[2]["neighbors"] == right


def test_thumbnails_are_means_of_blocks():
    image = np.arange(2 * 33 * 40 * 3).reshape(2, 33, 40, 3)
    small = thumbnails(image).reshape(2, 11, 13, 3)
    np.testing.assert_allclose(small[1, 2, 3], image[1, 6:9, 9:12].mean((0, 1)))
    np.testing.assert_array_equal(thumbnails(image[:, :8, :8]).reshape(2, 8, 8, 3), image[:, :8, :8])


def test_labels_of_other_images_are_told():
    x, y = kerazoo.data.arrays(kerazoo.data.load("mnist_sample", "train", batch_size=100, limit=900, seed=0))
    validation, y = (x[600:], y[600:]), np.random.default_rng(3).permutation(y)[:600]
    model = network(10, shape=(28, 28, 1), hidden=256)
    model.compile(keras.optimizers.Adam(1e-3), SPARSE, metrics=["accuracy"])
    diagnostics = Diagnostics((x[:600], y), verbose=False)
    fit(model, diagnostics, x[:600], y, epochs=25, validation_data=validation)
    assert kinds(diagnostics)[0] == "labels"


def test_a_warm_up_longer_than_the_training_is_told_before_it(tmp_path):
    model = network()
    rate = kerazoo.train.WarmupCosine(1e-2, 100, warmup=50, steps=4)
    model.compile(kerazoo.train.optimizer(model, "adam", rate, verbose=False), SPARSE)
    diagnostics = Diagnostics((IMAGES, LABELS), verbose=False)
    fit(model, diagnostics, epochs=2)
    (finding,) = diagnostics.findings
    assert (finding.kind, finding.where, finding.epoch) == ("rate_low", "the schedule", 0)
    fit(model, diagnostics, epochs=10)
    assert "the schedule" not in [finding.where for finding in diagnostics.findings]


def test_weights_that_are_no_numbers_end_the_training_though_no_loss_tells():
    """On CPUs, TensorFlow's ReLU makes zeros of what is none, and the loss stays what it is."""
    image = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Lambda(keras.ops.sqrt, name="root")(x)  # whose derivative at 0 is infinite
    model = keras.Model(image, keras.layers.Dense(2, name="head")(keras.layers.Flatten(name="flat")(x)))
    model.compile(keras.optimizers.SGD(0.1), SPARSE, metrics=["accuracy"])
    diagnostics = Diagnostics((IMAGES, LABELS), verbose=False)
    history = fit(model, diagnostics, epochs=5, validation_data=(IMAGES, LABELS)).history
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert len(history["loss"]) < 5 and diagnostics.findings[0].kind == "nan"
    assert diagnostics.findings[0].where == "root" and "rate_high" not in kinds(diagnostics)


def test_weights_that_are_no_numbers_end_a_training_that_logs_no_loss():
    class Silent(keras.Model):
        """A functional model whose step logs no loss, and takes away a weight."""

        def train_step(self, *args):
            self.layers[-1].bias.assign(np.full(2, np.nan))
            return {"seen": keras.ops.ones(())}

    image = keras.Input((6, 6, 1))
    model = Silent(image, keras.layers.Dense(2, name="head")(keras.layers.Flatten()(image)))
    model.compile("sgd", SPARSE)
    diagnostics = Diagnostics((IMAGES, LABELS), verbose=False)
    fit(model, diagnostics, epochs=2)
    assert "nan" in kinds(diagnostics) and all(np.isfinite(weight).all() for weight in model.get_weights())


def test_batches_of_several_sizes_are_looked_at():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, number):
            side = 6 + 4 * number
            return np.zeros((16, side, side, 1), "uint8"), LABELS[:16]

    assert look(Batches())[2]["neighbors"] is None


def test_a_data_set_that_is_sorted_is_told_and_arrays_are_not():
    import tensorflow as tf

    order = np.argsort(LABELS, kind="stable")
    for data, row in ((tf.data.Dataset.from_tensor_slices((IMAGES[order], LABELS[order])).batch(8), True),
                      ((IMAGES[order], LABELS[order]), False)):
        facts = look(data)[2]
        assert (facts.get("in_a_row", 0) > 0.9) == row


def test_what_a_schedule_has_in_store():
    def ahead(rate, batches, begun=0):
        optimizer = keras.optimizers.SGD(rate)
        optimizer.build([keras.Variable(np.zeros(1, "float32"))])
        optimizer._iterations.assign(begun)
        return foresee(optimizer, batches)

    warm = kerazoo.train.WarmupCosine(0.1, 20, warmup=10, steps=10)
    assert ahead(warm, 10) == pytest.approx({"within": 0.0091, "beyond": 0.1}, rel=0.2)
    assert ahead(warm, 10, begun=95) is None or ahead(warm, 10, begun=95)["within"] > 0.09
    assert ahead(warm, 100_000) is None and ahead(0.1, 10) is None
    assert ahead(keras.optimizers.schedules.PiecewiseConstantDecay([10], [0.1, 0.01]), 450_000) is None

    class Square(keras.optimizers.schedules.LearningRateSchedule):
        """Unbounded behind its end."""

        def __call__(self, step):
            return 0.01 * (1 - keras.ops.cast(step, "float32") / 100) ** 2

        def get_config(self):
            return {}

    assert ahead(Square(), 100) is None
