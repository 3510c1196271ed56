import math

import keras
import numpy as np
import pytest

import kerazoo
from kerazoo.train import (
    OneCycle, WarmupCosine, WarmupInverseSquareRoot, WarmupLinear, WarmupPolynomial, WarmupStep,
)

# One of each, with all arguments given.
ALL = [
    WarmupCosine(0.4, epochs=10, warmup=2, steps=5),
    WarmupStep(0.4, boundaries=(4, 8), factor=0.5, warmup=2, steps=5),
    WarmupInverseSquareRoot(0.4, warmup=2, steps=5),
    WarmupLinear(0.4, epochs=10, warmup=2, steps=5),
    WarmupPolynomial(0.4, epochs=10, power=3, warmup=2, steps=5),
    OneCycle(0.4, epochs=10, pct_start=0.2, div_factor=10, final_div_factor=100, steps=5),
]


def rate(schedule, step):
    return float(keras.ops.convert_to_numpy(schedule(step)))


def rates(schedule, steps):
    return [rate(schedule, step) for step in steps]


@pytest.mark.parametrize("schedule", ALL[:-1], ids=lambda schedule: schedule.name)
def test_the_rate_rises_from_zero_to_the_peak_in_a_straight_line(schedule):
    assert rates(schedule, [0, 1, 5, 9, 10]) == pytest.approx([0, 0.04, 0.2, 0.36, 0.4])


def test_a_cosine_falls_to_zero_and_stays_there():
    assert rates(ALL[0], [20, 30, 50, 60]) == pytest.approx([0.2 * (1 + 2**-0.5), 0.2, 0, 0], abs=1e-7)


@pytest.mark.parametrize("warmup", [0, 0.7, 3])
def test_a_cosine_has_the_figures_of_keras_to_the_bit(warmup):
    # Runs that were begun before this class was our own go on at the same rates.
    rise, fall = round(warmup * 7), round((10 - warmup) * 7)
    keras_own = (
        keras.optimizers.schedules.CosineDecay(0.0, fall, warmup_target=0.3, warmup_steps=rise) if warmup else
        keras.optimizers.schedules.CosineDecay(0.3, fall)
    )
    steps = range(80)
    assert rates(WarmupCosine(0.3, epochs=10, warmup=warmup, steps=7), steps) == rates(keras_own, steps)


def test_steps_are_taken_at_the_end_of_the_epochs_named():
    assert rates(ALL[1], [19, 20, 39, 40, 1000]) == pytest.approx([0.4, 0.2, 0.2, 0.1, 0.1])
    by_default = WarmupStep(1.0)
    assert rates(by_default, [0, 29, 30, 59, 60, 89, 90]) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_the_inverse_square_root_halves_after_four_times_the_warm_up():
    assert rates(ALL[2], [10, 40, 1000]) == pytest.approx([0.4, 0.2, 0.04])


def test_a_line_and_a_power_of_it_end_in_zero():
    assert rates(ALL[3], [10, 30, 49, 50, 51]) == pytest.approx([0.4, 0.2, 0.01, 0, 0])
    assert rates(ALL[4], [10, 30, 49, 50, 51]) == pytest.approx([0.4, 0.05, 0.4 / 40**3, 0, 0])
    assert rate(WarmupPolynomial(0.4, epochs=10), 5) == pytest.approx(0.1)  # squares, by default


def test_one_cycle_rises_falls_and_stays():
    # 50 steps, the top one before a fifth of them, the end at the last.
    assert rates(ALL[5], [0, 9, 49, 60]) == pytest.approx([0.04, 0.4, 0.0004, 0.0004])
    assert rates(ALL[5], [4.5, 29]) == pytest.approx([0.22, 0.2002])


@pytest.mark.parametrize("schedule", [
    WarmupCosine(0.4, epochs=10), WarmupStep(0.4), WarmupLinear(0.4, epochs=10), WarmupPolynomial(0.4, epochs=10),
    OneCycle(0.4, epochs=10, pct_start=0, steps=3),
], ids=lambda schedule: schedule.name)
def test_without_warm_up_it_starts_at_the_peak(schedule):
    assert rate(schedule, 0) == pytest.approx(0.4)
    assert rate(schedule, 1) <= rate(schedule, 0)


@pytest.mark.parametrize("schedule, steps", [
    (OneCycle(0.5, 7, steps=11), 77), (OneCycle(0.5, 30, 0.5, 10, 1e3), 30),
    (WarmupStep(0.5, (3, 5), 0.3, steps=4), 40), (WarmupPolynomial(0.5, 10, 1.7, steps=3), 50),
    (WarmupCosine(0.5, 20), 20), (WarmupLinear(0.5, 20), 30),
], ids=lambda value: getattr(value, "name", ""))
def test_the_figures_are_those_of_torch(schedule, steps):
    torch = pytest.importorskip("torch")
    torch_schedules = torch.optim.lr_scheduler
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = {
        "OneCycle": lambda own: torch_schedules.OneCycleLR(
            optimizer, 0.5, total_steps=own.epochs * own.steps, pct_start=own.pct_start, div_factor=own.div_factor,
            final_div_factor=own.final_div_factor, cycle_momentum=False,
        ),
        "WarmupStep": lambda own: torch_schedules.MultiStepLR(
            optimizer, [boundary * own.steps for boundary in own.boundaries], own.factor
        ),
        "WarmupPolynomial": lambda own: torch_schedules.PolynomialLR(optimizer, own.epochs * own.steps, own.power),
        "WarmupCosine": lambda own: torch_schedules.CosineAnnealingLR(optimizer, own.epochs),
        "WarmupLinear": lambda own: torch_schedules.LinearLR(optimizer, 1.0, 0.0, own.epochs),
    }[schedule.name](schedule)
    expected = []
    for step in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        if step < steps - 1:
            optimizer.step()
            theirs.step()
    assert rates(schedule, range(steps)) == pytest.approx(expected, rel=2e-6, abs=1e-7)


def test_half_a_million_steps_are_told_apart():
    line = WarmupLinear(0.1, epochs=100, warmup=5, steps=5000)
    assert rates(line, [24_999, 25_000]) == pytest.approx([0.1 * 24_999 / 25_000, 0.1], rel=1e-7)
    assert rates(line, [499_998, 499_999, 500_000]) == pytest.approx([0.2 / 475_000, 0.1 / 475_000, 0], rel=1e-6)
    cycle = OneCycle(0.1, epochs=100, steps=5000)
    least = 0.1 / 25 / 1e4
    for before in (1, 2, 1000):
        share = math.sin(0.5 * math.pi * before / (499_999 - 149_999)) ** 2
        assert rate(cycle, 499_999 - before) == pytest.approx(least + (0.1 - least) * share, rel=1e-6)
    steps = WarmupStep(0.1, boundaries=(99.9998,), steps=5000)
    assert rates(steps, [499_998, 499_999]) == pytest.approx([0.1, 0.01])


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: schedule.name)
def test_it_is_saved_with_the_optimizer(schedule):
    optimizer = keras.optimizers.SGD(schedule)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))._learning_rate
    assert type(again) is type(schedule) and again.get_config() == schedule.get_config()
    assert rates(again, range(0, 60, 7)) == rates(schedule, range(0, 60, 7))


def test_a_file_of_an_earlier_version_is_read():
    config = {"peak": 0.4, "epochs": 10, "warmup": 2.5, "steps": 5, "name": "WarmupCosine"}
    assert WarmupCosine.from_config(config).get_config() == config
    assert WarmupCosine(0.4, 10, 2.5, 5, "WarmupCosine").get_config() == config


def test_numbers_of_numpy_can_be_saved():
    schedule = WarmupLinear(np.float32(0.5), epochs=np.int64(10), warmup=np.float64(0.5), steps=np.int32(4))
    assert list(map(type, schedule.get_config().values())) == [float, int, float, int, str]


CODE = """
import sys
import keras, numpy as np, kerazoo
from kerazoo.train import *

x, y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")
for schedule in (WarmupCosine(0.1, 2, 1, 4), WarmupStep(0.1, (1,), 0.1, 0.5, 4), WarmupInverseSquareRoot(0.1, 1, 4),
                 WarmupLinear(0.1, 2, 1, 4), WarmupPolynomial(0.1, 2, 2, 1, 4), OneCycle(0.1, 2, steps=4)):
    eager = [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(9)]
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(schedule), "mse", jit_compile=keras.backend.backend() != "torch")
    seen = []

    class See(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if keras.backend.backend() == "jax":
                self.model.jax_state_sync()
            seen.append(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))

    before = model.get_weights()[0].copy()
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[See()])
    assert np.allclose(seen, eager[1:], rtol=1e-6, atol=1e-9), (schedule.name, seen, eager)
    assert not np.allclose(before, model.get_weights()[0])
    if keras.backend.backend() == "jax":
        import jax
        compiled = jax.jit(schedule)
        assert np.allclose([compiled(step) for step in range(9)], eager, rtol=1e-6, atol=1e-9)
    model.save(sys.argv[1])
    again = kerazoo.load_model(sys.argv[1])
    assert again.optimizer._learning_rate.get_config() == schedule.get_config()
print(*eager)
"""


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_other_backends_compile_it(run_python, tmp_path, backend):
    pytest.importorskip(backend)
    shown = run_python(CODE, tmp_path / "model.keras", backend=backend).stdout
    assert [float(figure) for figure in shown.split()] == pytest.approx(
        rates(OneCycle(0.1, 2, steps=4), range(9)), rel=1e-5
    )


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: schedule.name)
def test_it_runs_under_xla_in_a_saved_and_loaded_model(tmp_path, schedule):
    x, y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(schedule), "mse", jit_compile=True)
    model.fit(x, y, batch_size=2, epochs=2, verbose=0)
    assert float(model.optimizer.learning_rate) == pytest.approx(rate(schedule, 8))
    model.save(tmp_path / "model.keras")
    again = kerazoo.load_model(tmp_path / "model.keras")
    assert float(again.optimizer.learning_rate) == pytest.approx(rate(schedule, 8))


@pytest.mark.parametrize("kind, options, named", [
    (WarmupCosine, dict(peak=0, epochs=3), "peak"),
    (WarmupCosine, dict(peak=-1, epochs=3), "peak"),
    (WarmupCosine, dict(peak="0.1", epochs=3), "peak"),
    (WarmupCosine, dict(peak=math.nan, epochs=3), "peak"),
    (WarmupCosine, dict(peak=1, epochs=0), "epochs"),
    (WarmupCosine, dict(peak=1, epochs=None), "epochs"),
    (WarmupCosine, dict(peak=1, epochs=3, warmup=3), "warmup"),
    (WarmupCosine, dict(peak=1, epochs=3, warmup=-1), "warmup"),
    (WarmupCosine, dict(peak=1, epochs=3, steps=0), "steps"),
    (WarmupCosine, dict(peak=1, epochs=3, steps=2.5), "steps"),
    (WarmupCosine, dict(peak=True, epochs=3), "peak"),
    (WarmupLinear, dict(peak=1, epochs=3, warmup=4), "warmup"),
    (WarmupPolynomial, dict(peak=1, epochs=3, power=0), "power"),
    (WarmupInverseSquareRoot, dict(peak=1, warmup=0), "warmup"),
    (WarmupStep, dict(peak=1, boundaries=30), "boundaries"),
    (WarmupStep, dict(peak=1, boundaries=(60, 30)), "boundaries"),
    (WarmupStep, dict(peak=1, boundaries=(0, 30)), "boundaries"),
    (WarmupStep, dict(peak=1, factor=10), "factor"),
    (WarmupStep, dict(peak=1, warmup=31), "warmup"),
    (OneCycle, dict(peak=1, epochs=3, pct_start=1), "pct_start"),
    (OneCycle, dict(peak=1, epochs=3, div_factor=0.5), "div_factor"),
    (OneCycle, dict(peak=1, epochs=3, final_div_factor=0), "final_div_factor"),
])
def test_bad_arguments_are_answered_in_words(kind, options, named):
    with pytest.raises(ValueError, match=f"^{named}.* must .*; got "):
        kind(**options)
