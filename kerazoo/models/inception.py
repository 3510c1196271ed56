"""Inception-v3: factorized convolutions, 7x7 as 1x7 and 7x1, and a grid that shrinks in two branches at once.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision, 2015,
https://arxiv.org/abs/1512.00567
"""
import functools

from kerazoo.models.builder import builder, check_flag

PAPER = "Szegedy et al.: Rethinking the Inception Architecture, 2015, https://arxiv.org/abs/1512.00567"


def inception(x, kit, *, pool_padding=1, aux_heads):
    """Eleven Inception modules behind five convolutions; layers are numbered as in the authors' code."""
    conv = functools.partial(kit.conv_norm_act, padding="valid")
    average = functools.partial(kit.average_pool, size=3, stride=1, padding=pool_padding)
    x = conv(x, 32, 3, 2, name="stage1_conv")
    x = conv(x, 32, 3, name="stage2_conv1")
    x = kit.conv_norm_act(x, 64, 3, name="stage2_conv2")
    x = kit.max_pool(x, 3, 2, name="stage2_pool")
    x = conv(x, 80, 1, name="stage3_conv")
    x = conv(x, 192, 3, name="stage4_conv")
    x = kit.max_pool(x, 3, 2, name="stage4_pool")
    for letter, pooled in zip("bcd", (32, 64, 64)):
        x = square_module(x, kit, pooled, average, name=f"stage5_{letter}")
    x = shrink_square(x, kit, name="stage6_a")
    for letter, width in zip("bcde", (128, 160, 160, 192)):
        x = factorized_module(x, kit, width, average, name=f"stage6_{letter}")
    taps = [x] if aux_heads else []
    x = shrink_factorized(x, kit, name="stage7_a")
    for letter in "bc":
        x = expanded_module(x, kit, average, name=f"stage7_{letter}")
    return x, taps


def chain(x, kit, name, *steps):
    """Convolutions in a row, (filters, size) or (filters, size, stride), called NAME1, NAME2, ..."""
    for i, (filters, size, *stride) in enumerate(steps, 1):
        x = kit.conv_norm_act(x, filters, size, *stride, name=f"{name}{i}", padding="valid" if stride else "same")
    return x


def square_module(x, kit, pooled, average, *, name):
    """Figure 5: 5x5 and two 3x3 side by side, on the 35x35 grid."""
    return kit.concat([
        kit.conv_norm_act(x, 64, 1, name=f"{name}_1x1_conv"),
        chain(x, kit, f"{name}_5x5_conv", (48, 1), (64, 5)),
        chain(x, kit, f"{name}_3x3dbl_conv", (64, 1), (96, 3), (96, 3)),
        kit.conv_norm_act(average(x, name=f"{name}_pool"), pooled, 1, name=f"{name}_pool_conv"),
    ], f"{name}_concat")


def shrink_square(x, kit, *, name):
    """Figure 10: convolutions and a pooling halve the grid side by side."""
    return kit.concat([
        kit.conv_norm_act(x, 384, 3, 2, padding="valid", name=f"{name}_3x3_conv"),
        chain(x, kit, f"{name}_3x3dbl_conv", (64, 1), (96, 3), (96, 3, 2)),
        kit.max_pool(x, 3, 2, name=f"{name}_pool"),
    ], f"{name}_concat")


def factorized_module(x, kit, width, average, *, name):
    """Figure 6: 7x7 as 1x7 and 7x1, once and twice, on the 17x17 grid."""
    row, column = (1, 7), (7, 1)
    return kit.concat([
        kit.conv_norm_act(x, 192, 1, name=f"{name}_1x1_conv"),
        chain(x, kit, f"{name}_7x7_conv", (width, 1), (width, row), (192, column)),
        chain(x, kit, f"{name}_7x7dbl_conv", (width, 1), (width, column), (width, row), (width, column), (192, row)),
        kit.conv_norm_act(average(x, name=f"{name}_pool"), 192, 1, name=f"{name}_pool_conv"),
    ], f"{name}_concat")


def shrink_factorized(x, kit, *, name):
    """The same as `shrink_square`, with factorized filters."""
    return kit.concat([
        chain(x, kit, f"{name}_3x3_conv", (192, 1), (320, 3, 2)),
        chain(x, kit, f"{name}_7x7x3_conv", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)),
        kit.max_pool(x, 3, 2, name=f"{name}_pool"),
    ], f"{name}_concat")


def expanded_module(x, kit, average, *, name):
    """Figure 7: 1x3 and 3x1 side by side rather than in a row, on the 8x8 grid."""
    conv = kit.conv_norm_act
    middle = conv(x, 384, 1, name=f"{name}_3x3_conv1")
    double = chain(x, kit, f"{name}_3x3dbl_conv", (448, 1), (384, 3))
    return kit.concat([
        conv(x, 320, 1, name=f"{name}_1x1_conv"),
        conv(middle, 384, (1, 3), name=f"{name}_3x3_conv2a"),
        conv(middle, 384, (3, 1), name=f"{name}_3x3_conv2b"),
        conv(double, 384, (1, 3), name=f"{name}_3x3dbl_conv3a"),
        conv(double, 384, (3, 1), name=f"{name}_3x3dbl_conv3b"),
        conv(average(x, name=f"{name}_pool"), 192, 1, name=f"{name}_pool_conv"),
    ], f"{name}_concat")


def auxiliary(x, kit, classes, head, *, name):
    """The classifier on the 17x17 grid (section 4), with a batch norm. On grids too small for its windows it pads."""
    name = name.rstrip("1")
    sides = [side for side in x.shape[1:3] if side is not None]
    fits = all(side >= 17 for side in sides)
    x = kit.average_pool(x, 5, 3, padding="valid" if all(side >= 5 for side in sides) else "same", name=f"{name}_pool")
    x = kit.conv_norm_act(x, 128, 1, name=f"{name}_conv1")
    x = kit.conv_norm_act(x, 768, 5, padding="valid" if fits else "same", name=f"{name}_conv2")
    return head(kit.global_average(x, name=f"{name}_average"), kit, classes, name=f"{name}_head")


def variant(name, *, aux_heads, **design):
    return builder(
        name, inception, input_shape=(299, 299, 3), min_size=75, reference=PAPER,
        # The paper names no weight; this one is TF-Slim's, the authors' code.
        auxiliary=auxiliary, auxiliary_weight=0.4,
        options={"aux_heads": (
            aux_heads, check_flag, "the auxiliary classifier, which takes part in the training of this very model, "
            "not of one made of its layers, and in nothing else; its loss weighs 0.4.",
        )},
        **design,
    )


inception_v3 = variant("inception_v3", aux_heads=True, dropout=0.5, kit={"epsilon": 1e-3})
# Keras Applications' form, which is TF-Slim's: norms without gamma, averages that do not count the padding, pixels from
# -1 to 1.
tf_inception_v3 = variant(
    "tf_inception_v3", aux_heads=False, dropout=0.0, kit={"epsilon": 1e-3, "scale": False}, pool_padding="same",
    preprocessing=(0.5, 0.5),
)
