"""LeNet-5: as it is taught today, and as it was published.

LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE, 1998,
https://doi.org/10.1109/5.726791
"""
import functools

from kerazoo.models.builder import builder

FIELD = 32  # pixels; the paper centers its 28x28 digits in a field of 32x32, so that strokes reach the inner windows

# Table I: the maps of S2 that each map of C3 sees. First three neighbors, then four, then two pairs, last all.
CONNECTIONS = (
    *[[(i + k) % 6 for k in range(3)] for i in range(6)],
    *[[(i + k) % 6 for k in range(4)] for i in range(6)],
    [0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5],
    [0, 1, 2, 3, 4, 5],
)

# Figure 3: the digits as 7x12 bitmaps, ten rows of pixels and two blank ones (or a line above). They are the targets of
# the last hidden layer's 84 units, so that confusable characters have similar codes.
BITMAPS = """
.#####. ...##.. .#####. ####### .#####. .#####. ..####. ####### .#####. .#####.
....... ..###.. ....... .....## ....... ....... .##.... .....## ##...## ##..###
....... .####.. .#####. ....##. ....... ####### ##..... .....## ##...## ##...##
..###.. ...##.. ##...## ...##.. .##..## ##..... ##..... ....##. ##...## ##...##
.##.##. ...##.. #....## ..####. .##..## ##..... ######. ...##.. .#####. ##..###
##...## ...##.. ....##. .....## ###..## .####.. ###..## ...##.. ##...## .######
##...## ...##.. ..###.. .....## ##...## ..####. ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ##...## .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... ##...## ##..### ##...## ###..## ..##... ##...## ....##.
.##.##. .###### ####### .#####. .###### .#####. .#####. ..##... .#####. .####..
..###.. ....... ....... ....... .....## ....... ....... ....... ....... .......
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
"""


def lenet(x, kit):
    """Two 5x5 convolutions, each followed by pooling: today's reading, with ReLU and max pooling."""
    x = center(x, kit)
    x = kit.conv_norm_act(x, 6, 5, padding="valid", name="stage1_conv")
    x = kit.max_pool(x, 2, name="stage1_pool")
    x = kit.conv_norm_act(x, 16, 5, padding="valid", name="stage2_conv")
    return kit.max_pool(x, 2, name="stage2_pool")


def dense_layers(x, kit):
    """Dense layers of 120 and 84 units."""
    x = kit.dense_act(kit.flatten(x), 120, name="fc5")
    return kit.dropout(kit.dense_act(x, 84, name="fc6"), "head_dropout")


def lenet_1998(x, kit):
    """The paper's layers C1 to C5: trainable subsampling, a table of connections, scaled tanh throughout."""
    x = center(x, kit)
    x = kit.conv_norm_act(x, 6, 5, padding="valid", name="c1_conv")
    x = kit.act(kit.subsample(x, "s2_subsampling"), "s2_act")
    x = kit.act(kit.normalize(kit.table_conv(x, CONNECTIONS, 5, "c3_conv"), "c3_bn"), "c3_act")
    x = kit.act(kit.subsample(x, "s4_subsampling"), "s4_act")
    return kit.conv_norm_act(x, 120, 5, padding="valid", name="c5_conv")


def f6(x, kit):
    """The paper's layer F6: 84 units, one for each pixel of a bitmap."""
    return kit.dropout(kit.dense_act(kit.flatten(x), 84, name="f6"), "head_dropout")


def radial_basis(x, kit, classes, activation):
    """The paper's output layer: the distance of F6 from the fixed bitmap of each class."""
    from kerazoo.models import assemble, layers

    return layers.RadialBasis(codes(classes), activation, dtype=assemble.full_precision(), name="head")(x)


def codes(classes):
    """Codes of ±1, (classes, 84): the paper's bitmaps for ten digits; random ones, always the same, for others."""
    import numpy as np

    if classes == 10:
        rows = [line.split() for line in BITMAPS.split("\n") if line]
        return [[1 if pixel == "#" else -1 for row in rows for pixel in row[digit]] for digit in range(10)]
    return np.random.default_rng(1998).choice([-1, 1], (classes, 84)).tolist()


def center(x, kit):
    """Put smaller images, such as MNIST's 28x28 pixels, in the middle of the field."""
    if None in x.shape[1:3]:
        raise ValueError(
            "LeNet-5 centers smaller images in a field of 32x32 pixels and so needs a fixed image size; got an "
            "input_shape with None. Give height and width."
        )
    margins = [max(FIELD - side, 0) for side in x.shape[1:3]]
    return kit.pad(x, [(margin // 2, margin - margin // 2) for margin in margins], "center") if any(margins) else x


variant = functools.partial(
    builder, input_shape=(FIELD, FIELD, 1), classes=10, min_size=20,
    reference="LeCun et al.: Gradient-Based Learning, 1998, https://doi.org/10.1109/5.726791",
)

lenet5 = variant("lenet5", lenet, top=dense_layers, preprocessing="unit", kit={"norm": "none"})
# Paper pixels are -0.1, ink is 1.175 (section II.B), for white ink on black: x / 255 * 1.275 - 0.1.
lenet5_1998 = variant(
    "lenet5_1998", lenet_1998, top=f6, head=radial_basis, preprocessing=(0.1 / 1.275, 1 / 1.275),
    kit={"norm": "none", "activation": "scaled_tanh", "initializer": "lecun_1998"},
)
