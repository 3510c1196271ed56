import keras
import pytest

from kerazoo.train import WarmupCosine


def rate(schedule, step):
    return float(keras.ops.convert_to_numpy(schedule(step)))


def test_the_rate_rises_to_the_peak_and_falls_to_zero():
    schedule = WarmupCosine(0.4, epochs=10, warmup=2, steps=5)
    assert rate(schedule, 0) == 0
    assert rate(schedule, 5) == pytest.approx(0.2)
    assert rate(schedule, 10) == pytest.approx(0.4)
    assert rate(schedule, 30) == pytest.approx(0.2)
    assert rate(schedule, 50) == pytest.approx(0, abs=1e-7)
    assert rate(schedule, 60) == pytest.approx(0, abs=1e-7)


def test_without_warm_up_it_starts_at_the_peak():
    assert rate(WarmupCosine(0.4, epochs=10, steps=5), 0) == pytest.approx(0.4)


def test_it_is_saved_with_the_optimizer():
    optimizer = keras.optimizers.SGD(WarmupCosine(0.4, epochs=10, warmup=2, steps=5))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again._learning_rate.get_config() == optimizer._learning_rate.get_config()


@pytest.mark.parametrize("options", [
    dict(peak=0, epochs=3), dict(peak=-1, epochs=3), dict(peak=1, epochs=0), dict(peak=1, epochs=3, warmup=3),
    dict(peak=1, epochs=3, warmup=-1), dict(peak=1, epochs=3, steps=0),
])
def test_bad_arguments_are_answered_in_words(options):
    with pytest.raises(ValueError, match="must be"):
        WarmupCosine(**options)
