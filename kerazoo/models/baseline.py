"""The two baselines of a first course: dense layers alone, and two convolutions in front of a dense layer."""
import functools

from kerazoo.models.builder import builder


def dense_stack(x, kit, *, units):
    """Flattened pixels through dense layers: each pixel has its own weights, and a shifted image is a new one."""
    x = kit.flatten(x)
    for i, width in enumerate(units if isinstance(units, (list, tuple)) else [units], 1):
        x = kit.act(kit.normalize(kit.dense(x, width, name=f"fc{i}"), f"fc{i}_bn"), f"fc{i}_act")
        x = kit.dropout(x, f"fc{i}_dropout")
    return x


def check_units(name, units):
    widths = units if isinstance(units, (list, tuple)) else [units]
    if not widths or not all(isinstance(width, int) and not isinstance(width, bool) and width > 0 for width in widths):
        raise ValueError(f"{name} must be a positive integer or a list of them, one a hidden layer; got {units!r}.")


def two_convolutions(x, kit):
    """Two 3x3 convolutions of 32 and 64 channels, each followed by a max pooling."""
    for stage, filters in enumerate((32, 64), 1):
        x = kit.conv_norm_act(x, filters, 3, name=f"stage{stage}_conv")
        x = kit.max_pool(x, 2, name=f"stage{stage}_pool")
    return x


def dense_layer(x, kit):
    """One hidden layer of 128 units, with dropout behind it."""
    return kit.dropout(kit.dense_act(kit.flatten(x), 128, name="fc"), "head_dropout")


digits = functools.partial(builder, input_shape=(28, 28, 1), classes=10, preprocessing="unit")

mlp = digits(
    "mlp", dense_stack, top=lambda x, kit: x, dropout=0.2, min_size=1, kit={"norm": "none", "initializer": "he"},
    options={"units": ((512, 512), check_units, "units of the hidden layers, an integer or a list.")},
    reference="LeCun et al. 1998, https://doi.org/10.1109/5.726791, compare such networks (section III.C)",
)
cnn_mnist = digits(
    "cnn_mnist", two_convolutions, top=dense_layer, dropout=0.5, min_size=4, kit={"norm": "none"},
    reference="LeCun et al. 1998, https://doi.org/10.1109/5.726791, with today's parts",
)
