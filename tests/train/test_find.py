"""The learning rate range test. What takes no fixture runs on JAX and PyTorch as well."""
import keras
import numpy as np
import pytest
from keras import layers

from kerazoo.train import find_learning_rate, optimizer
from kerazoo.train.find import RangeTest, steepest
from kerazoo.train.state import global_draws

RNG = np.random.default_rng(0)
IMAGES = RNG.random((256, 12)).astype("float32")
LABELS = (IMAGES @ RNG.normal(size=(12, 3))).argmax(1)


def small(make=lambda model: keras.optimizers.SGD(0.1, momentum=0.9), compile=True):
    keras.utils.set_random_seed(1)
    x = image = keras.Input((12,))
    x = layers.BatchNormalization()(layers.Dense(16, activation="relu")(x))
    model = keras.Model(image, layers.Dense(3)(layers.Dropout(0.2, seed=2)(x)), name="small")
    if compile:
        model.compile(make(model), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def check_it_finds_a_rate_that_trains_and_leaves_no_trace():
    schedule = keras.optimizers.schedules.CosineDecay(1e-4, 100)
    for make in (lambda model: keras.optimizers.SGD(1e-3, momentum=0.9),
                 lambda model: optimizer(model, "adamw", schedule, lr_multipliers={"dense*": 0.5}, verbose=False)):
        model, twin = small(make), small(make)
        for one in (model, twin):  # in the middle of a training
            one.fit(IMAGES, LABELS, batch_size=32, epochs=1, verbose=0, shuffle=False)
        before = values([*model.variables, *model.optimizer.variables])
        draws = np.array(global_draws() if global_draws() is not None else 0)
        found = find_learning_rate(model, (IMAGES, LABELS), batches=80)
        assert np.array_equal(draws, global_draws() if global_draws() is not None else 0)
        after = values([*model.variables, *model.optimizer.variables])
        assert all(np.array_equal(one, other) for one, other in zip(before, after))

        assert found.diverged and 20 < len(found.rates) < 80
        assert len(found.rates) == len(found.losses) == len(found.smoothed)
        np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(1e7) / 79, rtol=1e-6)
        assert 1e-4 < found.suggestion < 1 and found.suggestion in found.rates
        assert f"Suggested learning rate: {found.suggestion:.1e}" in str(found)

        for one in (model, twin):
            one.fit(IMAGES, LABELS, batch_size=32, epochs=2, verbose=0, shuffle=False)
        assert all(np.array_equal(one, other) for one, other in zip(
            values([*model.variables, *model.optimizer.variables]), values([*twin.variables, *twin.optimizer.variables])
        ))


def test_on_tensorflow():
    check_it_finds_a_rate_that_trains_and_leaves_no_trace()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_on_other_backends(backend, run_python):
    if backend == "torch":
        pytest.importorskip("torch")
    run_python(
        "import runpy, sys\nrunpy.run_path(sys.argv[1])['check_it_finds_a_rate_that_trains_and_leaves_no_trace']()",
        __file__, backend=backend,
    )


def test_the_losses_are_those_of_each_batch_before_its_step():
    model = small(lambda model: keras.optimizers.SGD(0.1))
    still = find_learning_rate(model, [IMAGES, LABELS], lowest=1e-12, highest=1e-11, batches=10, batch_size=256)
    # At a rate of nothing, all batches (the whole set each time) have the loss of the start, but for dropout's draws.
    assert np.ptp(still.losses) < 0.3 and not still.diverged
    assert "it did not clearly rise: the highest rate may be too low to tell" in str(still)


def test_how_the_loss_ended_is_said_as_it_was_seen():
    rates = np.logspace(-4, 0, 41)

    def told(smoothed, diverged=False):
        smoothed = np.array(smoothed)
        return str(RangeTest(rates, smoothed, smoothed, steepest(rates, smoothed), diverged))

    fall = np.linspace(2.3, 0.9, 31)
    assert "then it rose from 0.9 to 2.6 beyond a rate of 1.0e-01" in told([*fall, *np.linspace(1, 2.6, 10)])
    assert "did not clearly rise" in told([*fall, *np.linspace(0.9, 0.95, 10)])
    assert told(np.linspace(1, 2, 41)).startswith("No suggestion: the loss did not fall over 41 batches")
    assert "then it rose from 1.25 to 2 beyond" in told(np.linspace(1, 2, 41))
    assert "then it diverged" in told([*fall, *np.linspace(1, 9, 10)], diverged=True)


def test_the_steepest_descent_is_suggested_if_there_is_one():
    rates = np.logspace(-4, 0, 41)
    assert steepest(rates, -np.tanh(3 * (np.log10(rates) + 2))) == pytest.approx(1e-2, rel=0.3)
    assert steepest(rates, [*np.linspace(2, 1, 20), 9, 1.5, *np.linspace(2, 3, 19)]) < rates[20]  # not the fall from 9
    assert steepest(rates, np.linspace(1, 2, 41)) is None
    assert steepest(rates[:2], [2.0, 1.0]) is None


def test_short_data_are_gone_through_again_and_kerazoos_begin_anew():
    class Batches(keras.utils.PyDataset):
        epochs = []

        def __len__(self):
            return 4

        def __getitem__(self, place):
            return IMAGES[place * 8 : place * 8 + 8], LABELS[place * 8 : place * 8 + 8], np.ones(8)

        def set_epoch(self, epoch):
            self.epochs.append(epoch)

    data = Batches()
    assert len(find_learning_rate(small(), data, batches=12, highest=1e-3).rates) == 12
    assert data.epochs == [0]


def test_the_curve_can_be_drawn(tmp_path):
    found = find_learning_rate(small(), (IMAGES, LABELS), batches=40)
    figure = found.figure("small")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log" and {line.get_label() for line in axes.lines} == {
        "of each batch", "running mean", f"suggestion: {found.suggestion:.1e}",
    }
    figure.savefig(tmp_path / "found.png")
    assert (tmp_path / "found.png").stat().st_size > 5000


BAD = {
    "not compiled": (lambda: find_learning_rate(small(compile=False), (IMAGES, LABELS)), "call model.compile"),
    "no model": (lambda: find_learning_rate("small", (IMAGES, LABELS)), "needs the compiled model"),
    "rates": (lambda: find_learning_rate(small(), (IMAGES, LABELS), lowest=1, highest=0.1), "lowest < highest; got 1"),
    "text": (lambda: find_learning_rate(small(), (IMAGES, LABELS), highest="1"), "must be learning rates"),
    "batches": (lambda: find_learning_rate(small(), (IMAGES, LABELS), batches=3), "must be a whole number from 10"),
    "data": (lambda: find_learning_rate(small(), IMAGES), "without labels"),
    "nan": (lambda: find_learning_rate(small(), (IMAGES, LABELS, np.full(256, np.nan))), "no number in the"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_mistakes_are_answered_in_a_sentence(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
