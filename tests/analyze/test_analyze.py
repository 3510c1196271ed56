import keras
import pytest

import kerazoo


def test_a_worked_example():
    model = keras.Sequential([
        keras.Input((64, 64, 3)),
        keras.layers.Conv2D(32, 5, padding="same", name="first"),
        keras.layers.MaxPooling2D(2, name="pool"),
        keras.layers.Conv2D(64, 3, padding="same", use_bias=False, name="second"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(10, name="head"),
    ])
    rows = {row.name: row for row in kerazoo.analyze(model).rows}
    assert (rows["first"].output_shape, rows["first"].parameters) == ((64, 64, 32), 2_432)
    assert rows["first"].macs == 64 * 64 * 32 * 5 * 5 * 3
    assert (rows["pool"].output_shape, rows["pool"].parameters, rows["pool"].macs) == ((32, 32, 32), 0, 0)
    assert (rows["second"].output_shape, rows["second"].parameters) == ((32, 32, 64), 18_432)
    assert (rows["norm"].parameters, rows["norm"].trainable) == (256, 128)
    assert rows["head"].macs == 32 * 32 * 64 * 10


def test_groups_and_the_connection_table_count_their_own_weights_alone():
    grouped = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(6, 3, groups=2, padding="same")])
    assert kerazoo.analyze(grouped).macs == 8 * 8 * 6 * 3 * 3 * 2
    rows = {row.name: row for row in kerazoo.analyze(kerazoo.lenet5_1998()).rows}
    assert (rows["c3_conv"].parameters, rows["c3_conv"].macs) == (1_516, 10 * 10 * 60 * 25)


def test_the_table_ends_in_the_totals():
    text = str(kerazoo.analyze(kerazoo.lenet5()))
    assert text.splitlines()[-1] == "lenet5: 61,706 trainable parameters, 0 others, 0.4165 million MACs an image"
    assert "stage2_conv  Conv2D        10 x 10 x 16       2,416  240,000" in text


def test_what_cannot_be_counted_is_refused_in_words():
    with pytest.raises(ValueError, match="needs a fixed image size; resnet20 takes"):
        kerazoo.analyze(kerazoo.resnet20(input_shape=(None, None, 3)))
    with pytest.raises(ValueError, match="functional keras.Model; got 'resnet20'"):
        kerazoo.analyze("resnet20")


def test_a_transposed_convolution_works_at_its_input_positions():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2DTranspose(5, 3, strides=2)])
    assert kerazoo.analyze(model).macs == 8 * 8 * 3 * 3 * 3 * 5


def shared():
    image, layer = keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 3, padding="same", name="twice")
    return keras.Model(image, layer(layer(image)))


UNKNOWN = {
    "a nested model": (lambda: keras.Sequential([keras.Input((32, 32, 3)), kerazoo.resnet20()]), "is a model itself"),
    "a shared layer": (shared, "twice is used 2 times"),
    "another kernel": (
        lambda: keras.Sequential([keras.Input((8, 8, 3)), keras.layers.SeparableConv2D(4, 3)]), "multiplies in a way"),
}


@pytest.mark.parametrize(("make", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_would_be_counted_wrong_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        kerazoo.analyze(make())
