"""The table of layers: sizes, parameters, work, and words for what it cannot see."""
import csv
import html.parser
import io
import math
import re
import sys

import keras
import numpy as np
import pytest

import kerazoo

layers = keras.layers


def rows_of(model, **options):
    return {row.name: row for row in kerazoo.analyze(model, **options).rows}


def worked_example():
    return keras.Sequential([
        keras.Input((64, 64, 3)),
        layers.Conv2D(32, 5, padding="same", name="first"),
        layers.MaxPooling2D(2, name="pool"),
        layers.Conv2D(64, 3, padding="same", name="second"),
        layers.BatchNormalization(name="norm"),
        layers.Flatten(name="flat"),
        layers.Dense(10, name="head"),
    ], name="example")


def test_a_worked_example():
    rows = rows_of(worked_example())
    first, pool, second = rows["first"], rows["pool"], rows["second"]
    assert (first.output_shape, first.parameters, first.macs) == ((64, 64, 32), 2_432, 64 * 64 * 32 * 5 * 5 * 3)
    assert (first.kernel, first.stride, first.padding) == ((5, 5), (1, 1), ((2, 2), (2, 2)))
    assert (pool.output_shape, pool.parameters, pool.macs, pool.stride) == ((32, 32, 32), 0, 0, (2, 2))
    assert (second.output_shape, second.parameters, second.dilation) == ((32, 32, 64), 18_496, (1, 1))
    assert (rows["norm"].parameters, rows["norm"].trainable, rows["norm"].kernel) == (256, 128, None)
    assert rows["head"].macs == 32 * 32 * 64 * 10
    assert first.activation_bytes == 4 * 64 * 64 * 32
    seen = [rows[name].receptive_field for name in ("first", "pool", "second", "flat")]
    assert seen == [(5, 5), (6, 6), (10, 10), None]
    assert (second.jump, second.start) == ((2, 2), (1, 1))


def test_padding_of_same_stands_where_keras_puts_it():
    rows = rows_of(keras.Sequential([
        keras.Input((8, 9, 1)), layers.Conv2D(1, 3, 2, "same", name="one"), layers.ZeroPadding2D((0, 3), name="two"),
    ]))
    assert (rows["one"].padding, rows["two"].padding) == (((0, 1), (1, 1)), ((0, 0), (3, 3)))


def test_groups_and_the_connection_table_count_their_own_weights_alone():
    grouped = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(6, 3, groups=2, padding="same")])
    assert kerazoo.analyze(grouped).macs == 8 * 8 * 6 * 3 * 3 * 2
    rows = rows_of(kerazoo.lenet5_1998())
    assert (rows["c3_conv"].parameters, rows["c3_conv"].macs) == (1_516, 10 * 10 * 60 * 25)


@pytest.mark.parametrize(("layer", "macs"), [
    (lambda: layers.Conv2DTranspose(5, 3, strides=2), 8 * 8 * 3 * 3 * 3 * 5),
    (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), 6 * 6 * 3 * 3 * 3 * 2),
    (lambda: layers.SeparableConv2D(4, 3), 6 * 6 * (3 * 3 * 3 + 3 * 4)),
    (lambda: layers.Dense(7), 8 * 8 * 3 * 7),
    (lambda: layers.PReLU(), 0),
])
def test_work_of_other_layers(layer, macs):
    assert kerazoo.analyze(keras.Sequential([keras.Input((8, 8, 3)), layer()])).macs == macs


def test_the_table_ends_in_the_totals_and_fits_the_terminal():
    text = str(kerazoo.analyze(kerazoo.lenet5()))
    assert "lenet5: 61,706 trainable parameters, 0 others, 416.5 k MACs an image" in text
    assert re.search(r"stage2_conv +Conv2D +5x5 +1 +0 +10 x 10 x 16 +2,416 +240,000", text)
    assert text.splitlines()[-1] == "receptive field of the last feature map (stage2_pool): 16 x 16 pixels"
    assert "others, 15.47 G MACs an image" in str(kerazoo.analyze(kerazoo.vgg16()))
    for name in ("inception_v3", "efficientnet_b0", "densenet121", "resnet152", "vgg16_bn"):
        assert max(map(len, str(kerazoo.analyze(kerazoo.create_model(name))).splitlines())) <= 160
    long = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 3, name="b" * 150 + "_end")])
    table = str(kerazoo.analyze(long)).splitlines()[:4]
    assert max(map(len, table)) <= 160 and "…" in table[3] and "b_end " in table[3]


def test_csv_holds_plain_numbers(tmp_path):
    analysis = kerazoo.analyze(kerazoo.lenet5())
    rows = list(csv.DictReader(io.StringIO(analysis.to_csv())))
    assert [row["name"] for row in rows] == [row.name for row in analysis.rows]
    (conv,) = [row for row in rows if row["name"] == "stage2_conv"]
    assert (conv["macs"], conv["kernel_height"], conv["receptive_field_width"]) == ("240000", "5", "14")
    assert conv["padding_top"] == "0" and rows[-1]["whole_image"] == "True" and rows[-1]["kernel_height"] == ""
    assert analysis.to_csv(tmp_path / "table.csv") is None
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == analysis.to_csv()
    with pytest.raises(FileNotFoundError, match="table .*x.csv cannot be written: there is no folder .*nowhere."):
        analysis.to_csv(tmp_path / "nowhere" / "x.csv")
    with pytest.raises(IsADirectoryError, match="cannot be written: Is a directory"):
        analysis.to_csv(tmp_path)


def test_the_frame_holds_plain_numbers():
    pandas = pytest.importorskip("pandas", reason="pandas is optional: pip install pandas")
    analysis = kerazoo.analyze(kerazoo.lenet5())
    frame = analysis.to_frame()
    assert isinstance(frame, pandas.DataFrame) and frame["macs"].sum() == analysis.macs
    assert frame.nlargest(1, "parameters")["name"].item() == "fc5"


def test_without_pandas_the_frame_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        kerazoo.analyze(kerazoo.lenet5()).to_frame()


class Checker(html.parser.HTMLParser):
    """Keeps the cells of a table, and fails on tags that are not closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.cells = [], set(), []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def test_html_is_one_table_with_everything_escaped():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 3, name="<script>&")], name="<b>")
    text = kerazoo.analyze(model).to_html()
    checked = Checker(text)
    assert text.startswith("<table") and text.endswith("</table>") and "<script" not in text and "<b>" not in text
    assert checked.tags == {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
    assert "<script>&" in checked.cells
    assert "http" not in text and "src=" not in text


def test_sizes_that_are_open_are_asked_for():
    model = kerazoo.resnet20(input_shape=(None, None, 3))
    with pytest.raises(ValueError, match="needs a fixed image size; resnet20 takes .* input_shape="):
        kerazoo.analyze(model)
    analysis = kerazoo.analyze(model, input_shape=(48, 40, 3))
    fixed = kerazoo.analyze(kerazoo.resnet20(input_shape=(48, 40, 3)))
    assert analysis.rows == fixed.rows and str(analysis) == str(fixed)
    with pytest.raises(ValueError, match=r"takes images of \(None, None, 3\), and input_shape=\(48, 40, 1\)"):
        kerazoo.analyze(model, input_shape=(48, 40, 1))
    for shape in (48, "48", (48.7, 40, 3), (48, 0, 3), ()):
        with pytest.raises(ValueError, match=rf"must be \(height, width, channels\).* got {re.escape(repr(shape))}"):
            kerazoo.analyze(model, input_shape=shape)
    with pytest.raises(ValueError, match="lenet5 takes images of"):
        kerazoo.analyze(kerazoo.lenet5(), input_shape=(64, 64, 1))


def test_an_analysis_leaves_the_model_as_it_was():
    model = kerazoo.resnet20(input_shape=(None, None, 3))
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    kerazoo.analyze(model, input_shape=(48, 40, 3))
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes


def test_nested_models_are_opened():
    backbone = kerazoo.resnet20(input_shape=(None, None, 3), include_top=False)
    image = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(backbone(layers.RandomFlip()(image)))
    analysis = kerazoo.analyze(keras.Model(image, layers.Dense(5, name="head")(x), name="whole"))
    rows = {row.name: row for row in analysis.rows}
    alone = rows_of(backbone, input_shape=(32, 32, 3))
    inner, outer = alone["stage3_block3_conv2"], rows["resnet20/stage3_block3_conv2"]
    for name in ("output_shape", "macs", "receptive_field", "jump", "start", "parameters", "training_bytes"):
        assert getattr(inner, name) == getattr(outer, name)
    assert analysis.parameters == backbone.count_params() + 64 * 5 + 5
    twice = keras.Sequential([keras.Input((32, 32, 3)), keras.Sequential([backbone], name="middle")])
    assert "middle/resnet20/stem_conv" in rows_of(twice)


def test_a_shared_layer_has_a_row_each_time_and_its_parameters_once():
    image, layer = keras.Input((8, 8, 3)), layers.Conv2D(3, 3, padding="same", name="twice")
    model = keras.Model(image, layer(layer(image)))
    analysis = kerazoo.analyze(model)
    first, second = analysis.rows[1:]
    assert (first.name, second.name) == ("twice", "twice (use 2)")
    assert (first.parameters, second.parameters) == (84, 0) and analysis.parameters == model.count_params()
    assert first.macs == second.macs == 8 * 8 * 3 * 3 * 3 * 3
    assert (first.receptive_field, second.receptive_field) == ((3, 3), (5, 5))


def test_uses_of_a_layer_are_numbered_across_the_models_that_hold_it():
    layer = layers.Conv2D(3, 3, padding="same", name="s")
    inner, image = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    body = keras.Model(inner, layer(inner), name="b")
    analysis = kerazoo.analyze(keras.Model(image, layer(body(body(image)))))
    assert [row.name for row in analysis.rows[1:]] == ["b/s", "b/s (use 2)", "s (use 3)"]
    assert [row.parameters for row in analysis.rows[1:]] == [84, 0, 0]


def test_a_nested_model_called_with_names_gets_each_input_by_its_name():
    wide, narrow = keras.Input((16, 16, 3), name="z"), keras.Input((16, 16, 3), name="a")
    one, two = layers.Conv2D(4, 7, name="of_z")(wide), layers.Conv2D(4, 3, name="of_a")(narrow)
    inner = keras.Model([wide, narrow], [one, two], name="inner")
    image = keras.Input((16, 16, 3))
    seen, plain = layers.Conv2D(3, 5, padding="same")(image), layers.Rescaling(1 / 255)(image)
    rows = rows_of(keras.Model(image, inner({"z": plain, "a": seen})))
    assert (rows["inner/of_z"].receptive_field, rows["inner/of_a"].receptive_field) == ((7, 7), (7, 7))
    rows = rows_of(keras.Model(image, inner({"a": plain, "z": seen})))
    assert (rows["inner/of_z"].receptive_field, rows["inner/of_a"].receptive_field) == ((11, 11), (3, 3))


def test_a_layer_used_in_two_models_counts_its_use_in_this_one_alone():
    image, layer = keras.Input((8, 8, 3)), layers.Conv2D(3, 3, name="once")
    keras.Model(image, layer(image))
    other = keras.Input((16, 16, 3))
    analysis = kerazoo.analyze(keras.Model(other, layer(other)))
    assert [row.output_shape for row in analysis.rows] == [(16, 16, 3), (14, 14, 3)]


@pytest.mark.parametrize("name", [
    "MobileNetV2", "EfficientNetB0", pytest.param("NASNetMobile", marks=pytest.mark.slow), "Xception", "ConvNeXtTiny",
    "MobileNetV3Small",
])
def test_models_of_keras_applications(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))
    analysis = kerazoo.analyze(model)
    assert analysis.parameters == model.count_params() and analysis.macs > 1e7
    assert analysis.rows[-1].receptive_field is None
    assert all(math.isfinite(side) for side in analysis.receptive_field), analysis.notes


@keras.saving.register_keras_serializable(package="tests")
class Shift(layers.Layer):
    def call(self, x):
        return keras.ops.roll(x, 3, axis=1)


@keras.saving.register_keras_serializable(package="tests")
class OwnConv(layers.Conv2D):
    def call(self, x):
        return super().call(keras.ops.roll(x, 3, axis=1))


UNSEEN = {
    "a Lambda": lambda: layers.Lambda(lambda x: x[:, ::2, ::2], name="odd"),
    "a custom layer": lambda: Shift(name="odd"),
    "a custom layer with a kernel": lambda: OwnConv(2, 3, name="odd"),
    "attention": lambda: layers.MultiHeadAttention(2, 4, name="odd"),
}


@pytest.mark.parametrize("make", UNSEEN.values(), ids=UNSEEN)
def test_what_cannot_be_seen_is_marked_and_named(make):
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    layer = make()
    x = layer(x, x) if isinstance(layer, layers.MultiHeadAttention) else layer(x)
    x = layers.Conv2D(4, 3, name="after")(x)
    model = keras.Model(image, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))
    analysis = kerazoo.analyze(model)
    rows = {row.name: row for row in analysis.rows}
    assert rows["odd"].macs is None and rows["odd"].unseen
    assert all(map(math.isnan, rows["after"].receptive_field)) and rows["conv"].receptive_field == (3, 3)
    assert rows["head"].receptive_field is None  # behind global pooling all is seen, whatever came before
    text = str(analysis)
    assert "? odd: analyze cannot tell what" in text and "at least" in text
    assert analysis.macs == sum(row.macs for row in analysis.rows if row.name != "odd")
    assert analysis.parameters == model.count_params()


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def test_a_subclassed_model_is_refused_in_words_also_inside_of_another():
    model = Subclassed()
    model(np.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="is a Subclassed, a subclass with a call of its own: analyze cannot see"):
        kerazoo.analyze(model)
    image = keras.Input((4, 4, 3))
    outer = kerazoo.analyze(keras.Model(image, model(layers.Conv2D(3, 3)(image))))
    assert outer.rows[-1].macs is None and outer.parameters == 84 + 12
    assert "analyze cannot tell what Subclassed reads, multiplies and keeps" in str(outer)


class Doubled(keras.Model):
    """A functional model whose own call does more than its graph."""

    def call(self, x):
        return super().call(2 * super().call(x))


def test_a_functional_model_with_a_call_of_its_own_is_refused_too():
    image = keras.Input((8, 8, 3))
    model = Doubled(image, layers.Conv2D(3, 3, padding="same", name="conv")(image), name="doubled")
    with pytest.raises(ValueError, match="doubled is a Doubled, a subclass with a call of its own"):
        kerazoo.analyze(model)
    outer = keras.Input((8, 8, 3))
    analysis = kerazoo.analyze(keras.Model(outer, model(outer)))
    assert [row.name for row in analysis.rows[1:]] == ["doubled"] and analysis.rows[-1].macs is None

    class Named(keras.Model):
        """With a method of its own, and Keras's call."""

        def name_twice(self):
            return 2 * self.name

    image = keras.Input((8, 8, 3))
    assert rows_of(Named(image, layers.Conv2D(3, 3, name="conv")(image)))["conv"].receptive_field == (3, 3)


def test_three_dimensions_have_a_column_each():
    model = keras.Sequential([keras.Input((8, 9, 10, 1)), layers.Conv3D(2, (1, 2, 3), padding="same", name="conv")])
    (row,) = [row for row in csv.DictReader(io.StringIO(kerazoo.analyze(model).to_csv())) if row["name"] == "conv"]
    assert [row[f"kernel_{axis}"] for axis in ("depth", "height", "width")] == ["1", "2", "3"]
    assert [row[f"receptive_field_{axis}"] for axis in ("depth", "height", "width")] == ["1", "2", "3"]
    assert [row[f"padding_{side}"] for side in ("front", "back", "top", "bottom", "left", "right")] == list("000111")
    line = keras.Sequential([keras.Input((9, 1)), layers.Conv1D(2, 3, name="conv")])
    assert "kernel_height" in kerazoo.analyze(line).to_csv() and "depth" not in kerazoo.analyze(line).to_csv()


@pytest.mark.parametrize(("model", "message"), [
    (lambda: "resnet20", r"got 'resnet20', which is a name. Write kerazoo.analyze.kerazoo.resnet20.*`kerazoo show r"),
    (lambda: "resnet81", "takes a keras.Model; got 'resnet81'; did you mean resnet18.* kerazoo.load_model"),
    (lambda: 3, "functional keras.Model; got 3"),
    (lambda: keras.Sequential([layers.Dense(3)], name="open"), "open is not built"),
    (lambda: keras.Sequential([keras.Input((3, 8, 8)), layers.Conv2D(2, 3, data_format="channels_first", name="odd")]),
     "channels last; the layer odd has data_format='channels_first'"),
])
def test_what_is_no_model_for_it_is_refused_in_words(model, message):
    with pytest.raises(ValueError, match=message):
        kerazoo.analyze(model())


def test_a_model_without_convolutions_or_without_an_image():
    analysis = kerazoo.analyze(kerazoo.mlp())
    assert analysis.receptive_field is None and str(analysis).endswith("the whole image")
    vector = keras.Sequential([keras.Input((12,)), layers.Dense(3, name="head")])
    analysis = kerazoo.analyze(vector)
    assert (analysis.macs, analysis.receptive_field, analysis.rows[-1].receptive_field) == (36, (), ())
    assert "field" not in str(analysis)


def test_augmentation_and_auxiliary_heads_do_not_come_into_the_work_at_inference():
    plain = kerazoo.analyze(kerazoo.resnet20())
    augmented = kerazoo.analyze(kerazoo.resnet20(augmentation=[kerazoo.augment.RandomAffine(), layers.RandomFlip()]))
    for name in ("macs", "activation_bytes", "training_bytes", "receptive_field"):
        assert getattr(augmented, name) == getattr(plain, name)
    with_heads, without = (kerazoo.analyze(kerazoo.googlenet(aux_heads=heads)) for heads in (True, False))
    assert (with_heads.macs, with_heads.receptive_field) == (without.macs, without.receptive_field)
    assert with_heads.activation_bytes == without.activation_bytes
    assert with_heads.training_bytes > without.training_bytes


def test_expressions_of_keras_ops_are_layers_too():
    image = keras.Input((16, 16, 3))
    x = keras.ops.relu(layers.Conv2D(4, 3, padding="same")(image / 255.0 - 0.5))
    x = x + layers.Conv2D(4, 5, padding="same")(x)
    model = keras.Model(image, keras.ops.mean(x, axis=(1, 2)))
    analysis = kerazoo.analyze(model)
    assert not analysis.notes and analysis.receptive_field == (7, 7) and analysis.rows[-1].receptive_field is None


@pytest.mark.slow
def test_the_deepest_model_of_the_zoo_within_seconds():
    analysis = kerazoo.analyze(kerazoo.resnet1202())
    assert len(analysis.rows) > 4_000 and analysis.receptive_field == (5_597, 5_597)


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_other_backends_say_the_same(run_python, backend):
    code = "import kerazoo; print(kerazoo.analyze(kerazoo.resnet18()))"
    assert run_python(code, backend=backend).stdout.strip() == str(kerazoo.analyze(kerazoo.resnet18()))
