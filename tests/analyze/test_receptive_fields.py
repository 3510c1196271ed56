"""Receptive fields against the published table, and against brute force."""
import doctest
import math
import pathlib
import re
import sys

import keras
import pytest

import kerazoo
from kerazoo.models.kit import Kit
from kerazoo.models.resnet import bottleneck, stages

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import brute  # noqa: E402

layers = keras.layers


def rows_of(model, **options):
    return {row.name: row for row in kerazoo.analyze(model, **options).rows}


# Araujo, Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks, Distill 2019, and the table that
# they keep at https://github.com/google-research/receptive_field: size, effective stride, effective padding.
PUBLISHED = {
    "alexnet_v2": {
        "conv1": (11, 4, 0), "pool1": (19, 8, 0), "conv2": (51, 8, 16), "conv3": (99, 16, 32), "conv4": (131, 16, 48),
        "conv5": (163, 16, 64), "pool5": (195, 32, 64),
    },
    "vgg_16": {
        "conv1_1": (3, 1, 1), "pool1": (6, 2, 2), "conv2_1": (10, 2, 4), "pool2": (16, 4, 6), "conv3_1": (24, 4, 10),
        "conv3_2": (32, 4, 14), "pool3": (44, 8, 18), "conv4_1": (60, 8, 26), "conv4_2": (76, 8, 34),
        "pool4": (100, 16, 42), "conv5_1": (132, 16, 58), "conv5_2": (164, 16, 74), "pool5": (212, 32, 90),
    },
}


def test_every_layer_of_vgg16_agrees_with_the_published_table():
    rows = rows_of(kerazoo.vgg16(include_top=False))
    for name, (size, stride, padding) in PUBLISHED["vgg_16"].items():
        stage = name.removeprefix("conv").removeprefix("pool").split("_")
        row = rows[f"stage{stage[0]}_conv{stage[1]}" if name.startswith("conv") else f"stage{stage[0]}_pool"]
        assert (row.receptive_field, row.jump) == ((size, size), (stride, stride)), name
        # The first unit sees the pixels from -padding on.
        assert row.start == (size / 2 - padding,) * 2, name


def test_every_layer_of_alexnet_agrees_with_the_published_table():
    # TF-Slim's first layer does not pad; ours does, by 2, as torchvision's.
    rows = rows_of(kerazoo.alexnet(include_top=False))
    for name, (size, stride, padding) in PUBLISHED["alexnet_v2"].items():
        row = rows[f"stage{name[4]}_{name[:4]}"]
        assert (row.receptive_field, row.jump) == ((size, size), (stride, stride)), name
        assert row.start == (size / 2 - padding - 2,) * 2, name


def slim_resnet(depths):
    """ResNet as TF-Slim has it: each stage but the last halves the image in its last block's 3x3."""
    image, kit = keras.Input((224, 224, 3)), Kit()
    x = kit.conv_norm_act(image, 64, 7, 2, name="stem_conv")
    x = kit.max_pool(x, 3, 2, padding=1, name="stem_pool")
    return keras.Model(image, stages(x, kit, bottleneck, depths, halve_last=True))


SLIM = {
    "AlexNet": (lambda: kerazoo.alexnet(include_top=False), 195),
    "VGG-16": (lambda: kerazoo.vgg16(include_top=False), 212),
    "ResNet-50": (lambda: slim_resnet((3, 4, 6, 3)), 483),
    "ResNet-101": (lambda: slim_resnet((3, 4, 23, 3)), 1_027),
    "ResNet-152": (lambda: slim_resnet((3, 8, 36, 3)), 1_507),
    "Inception-v3": (lambda: kerazoo.inception_v3(include_top=False), 1_311),
    "MobileNet-v1": (lambda: keras.applications.MobileNet(weights=None), 315),
}


@pytest.mark.parametrize("name", SLIM)
def test_with_the_same_strides_the_published_sizes_come_out(name):
    make, size = SLIM[name]
    analysis = kerazoo.analyze(make())
    assert analysis.receptive_field == (size, size)
    assert [row for row in analysis.rows if row.receptive_field == (size, size)][-1].jump == (32, 32)


# Where the strides of ours sit elsewhere; docs/receptive-fields.md says why.
OURS = {
    "resnet50": 427, "resnet101": 971, "resnet152": 1_451, "resnet50_v1": 483, "resnet101_v1": 1_027,
    "tf_resnet50_v2": 483, "resnet50_v2": 427,
}


@pytest.mark.parametrize("name", OURS)
def test_sizes_of_our_resnets(name):
    analysis = kerazoo.analyze(kerazoo.create_model(name))
    assert analysis.receptive_field == (OURS[name],) * 2


# (model, side of an image in which the middle unit's field lies whole)
MODELS = {
    "alexnet": 319, "vgg16": 320, "googlenet": 960, "inception_v3": 1_379, "resnet18": 480, "resnet50": 480,
    "resnet50_v1": 544, "tf_resnet50_v2": 544, "resnet20": 160, "preact_resnet18": 256, "wide_resnet28_10": 224,
    "densenet40_12": 256, "efficientnet_b0": 928, "tf_efficientnet_b0": 928,
}


@pytest.mark.parametrize("name", MODELS)
def test_models_agree_with_the_gradient_of_the_image(name):
    side = MODELS[name]
    model = kerazoo.create_model(name, input_shape=(side, side, 3), include_top=False)
    analysis = kerazoo.analyze(model)
    assert max(analysis.receptive_field) < side, "enlarge the image"
    row = [row for row in analysis.rows if row.receptive_field == analysis.receptive_field][-1]
    ((unit, measured),) = brute.spans(brute.thin(model)).items()
    for axis in range(2):
        middle, size = row.start[axis] + unit[axis] * row.jump[axis], row.receptive_field[axis]
        assert measured[axis] == (middle - size / 2, middle + size / 2 - 1)


def conv(size=3, stride=1, padding="same", **options):
    return layers.Conv2D(1, size, stride, padding, **options)


CHAINS = {
    "dilation": lambda: [conv(3, dilation_rate=2), conv(5, padding="valid", dilation_rate=3), conv(3, 2)],
    "padding of even sides": lambda: [conv(3, 2), conv(5, 2), layers.AveragePooling2D(3, 2, "same"), conv(3, 2)],
    "even kernels": lambda: [conv(4, 2), conv(2), layers.AveragePooling2D(2), conv(4, 3, "valid")],
    "rectangles": lambda: [conv((1, 7)), conv((3, 1), (2, 1)), layers.AveragePooling2D((1, 3), (1, 2))],
    "nearest neighbors": lambda: [conv(3, 2), layers.UpSampling2D(2), conv(3), layers.UpSampling2D((3, 2)), conv(5)],
    "nearest, smaller": lambda: [conv(3), layers.Resizing(48, 32, interpolation="nearest"), conv(3)],
    "nearest, larger": lambda: [conv(3, 2), layers.Resizing(72, 60, interpolation="nearest"), conv(3)],
    "bilinear, smaller": lambda: [conv(3), layers.Resizing(48, 32), conv(3)],
    "bilinear, larger": lambda: [conv(3, 2), layers.Resizing(64, 72), conv(3)],
    "center": lambda: [conv(3), layers.CenterCrop(61, 50), conv(5, 2)],
    "bilinear": lambda: [conv(3, 2), layers.UpSampling2D(2, interpolation="bilinear"), conv(3)],
    "bilinear by three": lambda: [conv(3, 3), layers.UpSampling2D(3, interpolation="bilinear"), conv(3), conv(3, 2)],
    "bicubic": lambda: [conv(3, 2), layers.UpSampling2D(2, interpolation="bicubic")],
    "transposed": lambda: [conv(3, 2), layers.Conv2DTranspose(1, 3, 2, "same"), conv(3)],
    "transposed, 4": lambda: [conv(3, 2), conv(3, 2), layers.Conv2DTranspose(1, 4, 2, "same"), conv(3)],
    "transposed, valid": lambda: [conv(3, 2), layers.Conv2DTranspose(1, 5, 3), conv(5, 2)],
    "transposed with gaps": lambda: [conv(3, 2), layers.Conv2DTranspose(1, 2, 3), conv(3)],
    "margins": lambda: [
        layers.ZeroPadding2D(((3, 1), (0, 2))), conv(5, 2, "valid"), layers.Cropping2D(((1, 2), (3, 0))), conv(3)],
    "depthwise and separable": lambda: [
        layers.DepthwiseConv2D(5, 2, "same"), layers.SeparableConv2D(1, 3, padding="same"), layers.Dense(2), conv(3)],
    "down and up": lambda: [
        conv(3, 2), conv(3, 2), conv(3, 2), layers.UpSampling2D(4), conv(3), layers.UpSampling2D(2), conv(3)],
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_agree_with_the_gradient_of_the_image(name):
    model = keras.Sequential([keras.Input((96, 96, 2)), *CHAINS[name]()])
    for weight in model.weights:
        weight.assign(keras.ops.ones(weight.shape))
    row = kerazoo.analyze(model).rows[-1]
    assert not row.unseen
    measured = brute.spans(model64(model), units=12).values()
    for axis in range(2):
        # Behind upsampling units see more or less: the largest counts.
        assert max(last - first + 1 for first, last in (span[axis] for span in measured)) == row.receptive_field[axis]
    unit, span = next(iter(brute.spans(model64(model)).items()))
    for axis in range(2):
        if row.jump[axis] == int(row.jump[axis]):
            middle = (span[axis][0] + span[axis][1] + 1) / 2
            assert middle == row.start[axis] + unit[axis] * row.jump[axis]


def model64(model):
    """The model in float64, whose resizing has no rounding that would look like a path."""
    copy = keras.models.clone_model(
        model, clone_function=lambda layer: type(layer).from_config({**layer.get_config(), "dtype": "float64"})
    )
    copy.set_weights(model.get_weights())
    return copy


def test_branches_show_the_largest_and_the_smallest_path():
    image = keras.Input((64, 64, 3))
    x = layers.Conv2D(8, 3, 2, "same", name="stem")(image)
    wide = layers.Conv2D(8, 5, padding="same", name="wide")(x)
    deep = layers.Conv2D(8, 3, padding="same")(layers.Conv2D(8, 3, padding="same", name="first")(x))
    total = layers.Add(name="sum")([x, wide, deep])
    both = layers.Concatenate(name="both")([x, layers.Conv2D(8, 7, padding="same")(total)])
    rows = rows_of(keras.Model(image, both))
    assert (rows["stem"].receptive_field, rows["wide"].receptive_field) == ((3, 3), (11, 11))
    assert (rows["sum"].receptive_field, rows["sum"].smallest_receptive_field) == ((11, 11), (3, 3))
    assert (rows["both"].receptive_field, rows["both"].smallest_receptive_field) == ((23, 23), (3, 3))
    assert "3..23" in str(kerazoo.analyze(keras.Model(image, both)))


def test_an_asymmetric_branch_moves_the_field_and_widens_it():
    image = keras.Input((32, 32, 1))
    left = layers.Cropping2D(((0, 2), (0, 0)))(layers.Conv2D(1, 3, padding="same")(image))
    right = layers.Cropping2D(((2, 0), (0, 0)))(layers.Conv2D(1, 3, padding="same")(image))
    row = kerazoo.analyze(keras.Model(image, layers.Add()([left, right]))).rows[-1]
    # Pixels -1 to 1 of the one, 1 to 3 of the other.
    assert (row.receptive_field, row.smallest_receptive_field) == ((5, 3), (3, 3))
    assert row.start == (1.5, 0.5)


def test_global_pooling_flatten_and_dense_see_the_whole_image():
    rows = rows_of(kerazoo.lenet5())
    assert rows["stage2_pool"].receptive_field == (16, 16)
    assert rows["flatten"].receptive_field is rows["head"].receptive_field is None
    rows = rows_of(kerazoo.resnet18())
    assert rows["stage4_block2_out"].receptive_field == (435, 435) and rows["pool"].receptive_field is None
    assert kerazoo.analyze(kerazoo.mlp()).receptive_field is None
    # C5 of LeNet-5 is one unit of a 5x5 window: it sees the 32 pixels of the paper's field and no more.
    assert rows_of(kerazoo.lenet5_1998())["c5_act"].receptive_field == (32, 32)


def test_gates_are_left_out_and_the_table_says_so():
    analysis = kerazoo.analyze(kerazoo.efficientnet_b0())
    rows = {row.name: row for row in analysis.rows}
    assert not rows["stage1_block1_dw_act"].gated and rows["stage1_block1_se_pool"].receptive_field is None
    assert rows["stage1_block1_se_scale"].receptive_field == (7, 7) and rows["stage1_block1_se_scale"].gated
    assert analysis.receptive_field == (851, 851)
    assert "851*" in str(analysis)
    assert "from stage1_block1_se_scale on: through it, every unit sees the whole image" in str(analysis)
    lite = kerazoo.analyze(kerazoo.efficientnet_lite0())
    assert lite.receptive_field == (851, 851) and not any(row.gated for row in lite.rows) and not lite.notes


def test_a_factor_for_each_row_is_no_gate():
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    rows = layers.AveragePooling2D((1, 32))(x)
    analysis = kerazoo.analyze(keras.Model(image, layers.Multiply(name="scaled")([x, rows])))
    assert not analysis.rows[-1].gated and not any(note.startswith("*") for note in analysis.notes)
    assert math.isnan(analysis.rows[-1].receptive_field[1]) and "scaled: paths of different jumps meet" in str(analysis)
    # One a map, of a pooling as large as the map, is one.
    whole = layers.AveragePooling2D(32)(x)
    analysis = kerazoo.analyze(keras.Model(image, layers.Multiply(name="scaled")([x, whole])))
    assert analysis.rows[-1].gated and analysis.rows[-1].receptive_field == (3, 3)


def test_reshaping_keeps_places_only_where_each_axis_stays_in_place():
    def behind(shape, *between):
        return kerazoo.analyze(keras.Sequential([
            keras.Input((16, 1, 4)), layers.Conv2D(4, (3, 1), padding="same"), layers.Reshape(shape, name="new"),
            *between,
        ]))

    assert behind((16, 1, 4)).rows[-1].receptive_field == (3, 1)
    for shape in ((1, 16, 4), (16, 4), (4, 4, 4)):
        analysis = behind(shape)
        assert all(map(math.isnan, analysis.rows[-1].receptive_field))
        assert "? new: analyze cannot tell where Reshape puts each place" in analysis.notes
    # What stands in front has the reason already.
    analysis = behind((16, 4), layers.Conv1D(2, 3))
    assert len(analysis.notes) == 1


def test_a_layer_along_other_axes_is_named_with_its_reason():
    model = keras.Sequential([
        keras.Input((5, 5, 1)), layers.Conv2D(8, 3), layers.AveragePooling2D(3), layers.Reshape((1, 8)),
        layers.Conv1D(2, 1, name="line"),
    ])
    assert kerazoo.analyze(model).notes == [
        "? line: Conv1D works along other axes, so that its units have no place in the image"
    ]


def test_the_last_map_of_a_network_of_1x1_convolutions_sees_one_pixel():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, name="one")(layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert kerazoo.analyze(model).receptive_field == (1, 1)
    assert "receptive field of the last feature map (one): 1 x 1 pixels" in str(kerazoo.analyze(model))
    flat = keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.ZeroPadding2D()(layers.Rescaling(2)(image)))))
    assert kerazoo.analyze(flat).receptive_field is None


def test_norms_over_the_whole_image_are_left_out_as_gates_are():
    analysis = kerazoo.analyze(kerazoo.resnet20(norm="group"))
    assert analysis.rows[-3].gated and "from stem_bn on" in analysis.notes[0]
    assert not kerazoo.analyze(kerazoo.resnet20(norm="layer")).notes  # over the channels of each unit alone


def test_paths_of_different_jumps_have_no_common_field():
    image = keras.Input((64, 64, 1))
    halves = layers.Conv2D(1, 3, 2, "same")(image)
    corner = layers.Cropping2D(((0, 32), (0, 32)))(image)
    analysis = kerazoo.analyze(keras.Model(image, layers.Add(name="sum")([halves, corner])))
    assert all(map(math.isnan, analysis.rows[-1].receptive_field))
    assert "sum: paths of different jumps meet" in str(analysis)


PAGE = pathlib.Path(__file__).parents[2] / "docs" / "receptive-fields.md"
TEXT = PAGE.read_text(encoding="utf-8").split("## The zoo")[1]
ZOO = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", TEXT, re.MULTILINE))
QUICK = {"lenet5", "alexnet", "vgg16", "resnet18", "resnet20", "densenet40_12", "efficientnet_b0", "cnn_mnist"}


def test_the_page_names_every_model():
    assert set(ZOO) == set(kerazoo.list_models())


@pytest.mark.parametrize("name", [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in kerazoo.list_models()
])
def test_the_page_says_what_the_analysis_says(name):
    assert ZOO[name] == line(kerazoo.analyze(kerazoo.create_model(name)))


def line(analysis):
    """A model's figures as the page has them: field, smallest field, jump."""
    if analysis.receptive_field is None:
        return "the whole image | |"
    row = [row for row in analysis.rows if row.receptive_field == analysis.receptive_field][-1]
    gated = "*" if row.gated else ""
    jump = "" if row.jump is None else row.jump[0]
    return f"{row.receptive_field[0]:,}{gated} | {row.smallest_receptive_field[0]:,} | {jump}"


def test_the_code_of_the_page_runs_and_says_what_the_page_says():
    failures, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried >= 8 and not failures
