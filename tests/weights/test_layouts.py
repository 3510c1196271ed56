"""From a file's arrays to a model's variables: everything fits, or nothing happens."""
import dataclasses
import hashlib
import json

import keras
import ml_dtypes
import numpy as np
import pytest

import kerazoo
from kerazoo.weights import hub, layouts, published, tags
from kerazoo.weights.layouts import saved_options
from kerazoo.weights.names import LAYOUTS
from kerazoo.weights.readers import WeightsError, read
from kerazoo.weights.writers import to_torchvision, write_pytorch, write_safetensors

SHAPE = (32, 32, 3)


def build(architecture="resnet18", /, **options):
    return getattr(kerazoo, architecture)(**{"input_shape": SHAPE, "classes": 3, **options})


def randomize(model, seed=1):
    random = np.random.default_rng(seed)
    for layer in model.layers:
        for variable in layer.weights:
            low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.2, 0.2)
            variable.assign(random.uniform(low, high, variable.shape).astype("float32"))
    return model


def values(model):
    return {variable.path: np.array(variable) for layer in model.layers for variable in layer.weights}


def assert_equal(model, other, but=()):
    ours, theirs = values(model), values(other)
    assert list(ours) == list(theirs)
    for name in ours:
        assert np.array_equal(ours[name], theirs[name]) == (name.split("/")[0] not in but), name


@pytest.fixture(scope="module")
def donor():
    return randomize(build())


@pytest.fixture
def state(donor):
    """The donor's weights as torchvision names them, to be spoiled."""
    return to_torchvision(donor)


@pytest.fixture
def write(tmp_path):
    def write(state):
        write_pytorch(tmp_path / "weights.pth", state)
        return tmp_path / "weights.pth"

    return write


def test_every_variable_is_set_once_and_every_array_used(donor, state, write):
    model = build()
    path = write(state)
    plan = layouts.make_plan(model, "resnet18", read(path), None, False)
    assert len({id(variable) for variable, _ in plan}) == len(plan) == sum(len(layer.weights) for layer in model.layers)
    kerazoo.load_weights(model, path)
    assert_equal(model, donor)


SPOIL = {
    "an array is missing": (
        lambda s: s.pop("layer1.0.conv1.weight"), r"missing in the file \(1\): layer1\.0\.conv1\.weight\."),
    "many are missing": (
        lambda s: [s.pop(name) for name in list(s) if name.startswith("layer4") and "tracked" not in name],
        r"missing in the file \(25\): layer4\.0\.\S+, \S+, \S+, and more\."),
    "an array too many": (
        lambda s: s.update({"layer1.0.conv9.weight": np.ones(3, "f4")}),
        r"belonging to no layer \(1\): layer1.0.conv9.weight"),
    "another shape": (
        lambda s: s.update({"conv1.weight": np.ones((64, 3, 5, 5), "f4")}),
        r"of another shape \(1\): conv1.weight \(64, 3, 5, 5\) for stem_conv/kernel \(7, 7, 3, 64\)"),
    "the same size, another shape": (
        lambda s: s.update({"layer1.0.conv1.weight": s["layer1.0.conv1.weight"].reshape(64, 576, 1, 1)}),
        r"of another shape \(1\): layer1.0.conv1.weight"),
    "a scalar": (
        lambda s: s.update({"bn1.weight": np.float32(1)}), r"of another shape \(1\): bn1.weight \(\) for stem_bn"),
    "not a number": (
        lambda s: s["layer2.0.conv1.weight"].__setitem__((5, 5, 1, 1), np.nan), r"not finite \(1\): layer2.0"),
    "infinity": (lambda s: s["bn1.running_var"].__setitem__(7, np.inf), r"not finite \(1\): bn1.running_var"),
    "too large": (
        lambda s: s.update({"bn1.bias": np.full(64, 1e300)}), r"not finite \(1\): bn1.bias"),
    "integers": (
        lambda s: s.update({"bn1.bias": np.ones(64, "int64")}), r"no floating-point numbers \(1\): bn1.bias: int64"),
    "several defects": (
        lambda s: (s.pop("bn1.bias"), s.update(x=np.ones(1, "f4"))),
        r"read in the names of torchvision\) are missing in the file \(1\): bn1.bias; belonging to no layer \(1\): x\."),
    "a bias where no norm follows": (
        lambda s: s.update({"layer1.0.downsample.0.bias": np.ones(64, "f4")}),
        r"belonging to no layer \(1\): layer1.0.downsample"),
    "an auxiliary head that the network never has": (
        lambda s: s.update({"aux1.fc2.weight": np.ones((3, 3), "f4")}),
        r"belonging to no layer \(1\): aux1.fc2.weight"),
    "strange names": (
        lambda s: [s.update({f"net/{name}": s.pop(name)}) for name in list(s)],
        r"names, such as net/\S+, .* are none that are known for this network \(known: kerazoo, torchvision\)"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOIL.values(), ids=SPOIL)
def test_a_file_that_does_not_fit_is_refused_and_the_model_stays_as_it_was(spoil, message, state, write):
    model = build()
    before = values(model)
    spoil(state)
    with pytest.raises(WeightsError, match=f"The weights in .* do not fit resnet18: .*{message}"):
        kerazoo.load_weights(model, write(state))
    after = values(model)
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


@pytest.mark.parametrize(("name", "message"), [
    ("resnet50_v1", "names are those of torchvision for: resnet18, .*resnet50_v1 differs from them in more than names"),
    ("resnet18_v2", "names are those of torchvision for: resnet18, "),
    ("resnet34", r"missing in the file \(\d+\): layer1.2"),
    ("vgg11", r"are none that are known for this network \(known: kerazoo, torchvision, timm\)"),
])
def test_weights_of_another_network_are_refused(name, message, donor, write):
    # resnet50_v1 and resnet50 differ in where the stride is, and in nothing that a file shows.
    state = to_torchvision(build("resnet50")) if name == "resnet50_v1" else to_torchvision(donor)
    with pytest.raises(WeightsError, match=f"do not fit {name}: .*{message}"):
        kerazoo.load_weights(build(name), write(state))


def test_a_head_of_another_size_is_left_alone_on_request_only(donor, state, write):
    model, path = build(classes=5), write(state)
    before = values(model)
    with pytest.raises(WeightsError, match=r"are of the head and of another size \(2\): fc.weight \(3, 512\) for head/k"
                                           r"ernel \(512, 5\).* kerazoo.load_weights\(model, ..., fresh_head=True\) "):
        kerazoo.load_weights(model, path)
    kerazoo.load_weights(model, path, fresh_head=True)
    after, theirs = values(model), values(donor)
    for name in after:
        np.testing.assert_array_equal(after[name], (before if name.startswith("head/") else theirs)[name])


def test_a_head_that_was_exchanged_for_several_layers_is_left_out_on_request(state, write):
    # What `model.fc = Sequential(Dropout(), Linear(512, 3))` makes of torchvision's names.
    state = {name.replace("fc.", "fc.1."): array for name, array in state.items()}
    model, path = build(classes=5), write(state)
    with pytest.raises(WeightsError, match="fc.weight, fc.bias"):
        kerazoo.load_weights(model, path)
    kerazoo.load_weights(model, path, fresh_head=True)
    np.testing.assert_array_equal(values(model)["stem_bn/gamma"], state["bn1.weight"])


def test_a_misspelled_tag_is_told_from_a_file(tmp_path, monkeypatch):
    for wrong, right in (("imagnet", "did you mean imagenet"), ("tv_in1k", "did you mean imagenet/tv_in1k")):
        with pytest.raises(FileNotFoundError, match=f"There are no weights '{wrong}'; {right}"):
            kerazoo.load_weights(build(), wrong)
    monkeypatch.setenv("HOME", str(tmp_path))
    kerazoo.save_weights(build(), tmp_path / "mine.safetensors")
    kerazoo.load_weights(build(), "~/mine.safetensors")


def test_a_fresh_head_excuses_nothing_else(state, write):
    del state["bn1.weight"]
    with pytest.raises(WeightsError, match=r"missing in the file \(1\): bn1.weight"):
        kerazoo.load_weights(build(), write(state), fresh_head=True)


def test_a_file_without_a_head_fits_with_a_fresh_one(donor, state, write):
    del state["fc.weight"], state["fc.bias"]
    with pytest.raises(WeightsError, match=r"missing in the file \(2\): fc.weight, fc.bias. kerazoo.load_weights"):
        kerazoo.load_weights(build(), write(state))
    model = build()
    kerazoo.load_weights(model, write(state), fresh_head=True)
    assert_equal(model, donor, but=("head",))


def test_a_model_without_a_head_takes_the_file_of_a_whole_network(donor, state, write):
    model = build(include_top=False)
    kerazoo.load_weights(model, write(state))
    ours, theirs = values(model), values(donor)
    assert len(ours) == len(theirs) - 2 and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_gray_images_get_the_first_kernel_summed_over_its_channels(donor, state, write):
    model = build(input_shape=(32, 32, 1), preprocessing="unit")
    kerazoo.load_weights(model, write(state))
    np.testing.assert_allclose(model.get_layer("stem_conv").kernel, np.sum(
        donor.get_layer("stem_conv").kernel, axis=2, keepdims=True), atol=1e-6)
    gray = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype("float32")
    color = build(preprocessing="unit")
    color.set_weights(donor.get_weights())
    np.testing.assert_allclose(model(gray), color(np.repeat(gray, 3, -1)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("theirs", "ours"), [(3, 4), (1, 3), (3, 2)])
def test_other_numbers_of_channels_are_refused(theirs, ours, write):
    donor = build(input_shape=(32, 32, theirs), preprocessing="unit")
    with pytest.raises(WeightsError, match=r"of another shape \(1\): conv1.weight"):
        kerazoo.load_weights(build(input_shape=(32, 32, ours), preprocessing="unit"), write(to_torchvision(donor)))


def test_another_epsilon_is_folded_into_the_variance(donor, state, write):
    model = build()
    model.get_layer("stem_bn").epsilon = 1e-3
    kerazoo.load_weights(model, write(state))
    expected = state["bn1.running_var"] + (1e-5 - 1e-3)
    np.testing.assert_allclose(model.get_layer("stem_bn").moving_variance, expected, rtol=1e-6)
    np.testing.assert_array_equal(model.get_layer("stage1_block1_bn1").moving_variance,
                                  state["layer1.0.bn1.running_var"])


def test_a_variance_too_small_for_the_epsilon_is_refused(state, write):
    model = build()
    model.get_layer("stem_bn").epsilon = 1e-3
    state["bn1.running_var"][3] = 5e-4
    with pytest.raises(WeightsError, match=r"variance too small for another epsilon \(1\): stem_bn: 1e-05 there, 0.0"):
        kerazoo.load_weights(model, write(state))


def test_biases_in_front_of_a_norm_are_folded_into_its_mean(donor, state, write):
    bias = np.linspace(-1, 1, 64, dtype="float32")
    state["layer1.0.conv2.bias"] = bias
    model = build()
    kerazoo.load_weights(model, write(state))
    np.testing.assert_allclose(model.get_layer("stage1_block1_bn2").moving_mean,
                               state["layer1.0.bn2.running_mean"] - bias)
    for part in ("conv2/kernel", "bn2/moving_variance", "bn2/beta"):
        name = f"stage1_block1_{part}"
        np.testing.assert_array_equal(values(model)[name], values(donor)[name])


@pytest.mark.parametrize("dtype", ["float16", "float64", ml_dtypes.bfloat16])
def test_other_floating_point_types_are_converted(dtype, state, tmp_path):
    state = {name: array.astype(dtype) if array.dtype == "float32" else array for name, array in state.items()}
    write_safetensors(tmp_path / "weights.safetensors", state)
    model = build()
    kerazoo.load_weights(model, tmp_path / "weights.safetensors")
    kernel = model.get_layer("stem_conv").kernel
    assert kernel.dtype == "float32"
    np.testing.assert_array_equal(kernel, state["conv1.weight"].astype("float32").transpose(2, 3, 1, 0))


OWN = {
    "resnet20": {}, "lenet5_1998": {"classes": 10, "input_shape": (32, 32, 1)},
    "mlp": {"norm": "batch", "dropout": 0.5},
    "preact_resnet18": {"activation": keras.layers.PReLU, "norm": "group"},
}


@pytest.mark.parametrize("ending", ["safetensors", "weights.h5"])
@pytest.mark.parametrize("name", OWN)
def test_what_is_saved_is_loaded(name, ending, tmp_path):
    path = tmp_path / f"model.{ending}"
    model, again = randomize(build(name, **OWN[name])), build(name, name="other", **OWN[name])
    kerazoo.save_weights(model, path)
    assert not any("seed" in array for array in read(path))
    kerazoo.load_weights(again, path)
    assert_equal(again, model)


def test_a_file_of_ours_says_who_wrote_it(tmp_path):
    model = build("resnet20", dropout=0.25, activation=keras.layers.PReLU)
    kerazoo.save_weights(model, tmp_path / "model.safetensors")
    metadata = read(tmp_path / "model.safetensors").metadata
    options = json.loads(metadata["options"])
    assert metadata["builder"] == "resnet20" and metadata["kerazoo"] == kerazoo.__version__
    assert options["classes"] == 3 and options["dropout"] == 0.25 and options["input_shape"] == list(SHAPE)
    assert options["activation"]["class_name"] == "PReLU" and options["norm"] == "batch"


@pytest.mark.parametrize(("given", "mean", "std"), [
    ("unit", [0] * 3, [1] * 3), ((np.array([0.5, 0.4, 0.3]), np.float32(0.25)), [0.5, 0.4, 0.3], [0.25] * 3),
    ((127 / 255, 128 / 255), [127 / 255] * 3, [128 / 255] * 3), (None, None, None),
])
def test_a_file_of_ours_says_how_pixels_are_normalized(given, mean, std, tmp_path):
    kerazoo.save_weights(build("resnet20", preprocessing=given), tmp_path / "model.safetensors")
    found = saved_options(tmp_path / "model.safetensors")["preprocessing"]
    if mean is None:
        assert found is None
    else:
        assert type(found) is list and found[0] == pytest.approx(mean, abs=1e-8) and found[1] == pytest.approx(std)


def test_a_model_from_a_keras_file_says_what_it_is_made_of(tmp_path):
    build("resnet20", activation="gelu", preprocessing="unit").save(tmp_path / "model.keras")
    kerazoo.save_weights(kerazoo.load_model(tmp_path / "model.keras"), tmp_path / "model.safetensors")
    assert saved_options(tmp_path / "model.safetensors") == {
        "activation": "gelu", "norm": "batch", "preprocessing": [[0.0] * 3, [1.0] * 3]}


def my_activation(x):
    return x


ACTIVATIONS = {
    "a name": ("gelu", "gelu"), "another name": ("swish", "silu"), "Keras's function": (keras.activations.elu, "elu"),
    "a function of one's own": (my_activation, "unknown"), "none": (None, "relu"),
}


@pytest.mark.parametrize(("given", "said"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_a_file_of_ours_names_the_activation(given, said, tmp_path):
    model = build("resnet20", activation=given, classifier_activation=given)
    kerazoo.save_weights(model, tmp_path / "model.safetensors")
    options = saved_options(tmp_path / "model.safetensors")
    assert options["activation"] == said and (given is None or options["classifier_activation"] in (given, said))
    kerazoo.load_weights(build("resnet20", activation=given), tmp_path / "model.safetensors")


OTHERS = {
    "activation": (
        dict(activation="gelu"), {}, "activation='gelu', and this one has activation='relu'. Build it with activ"),
    "a layer": (dict(activation=keras.layers.LeakyReLU), {}, "=a layer LeakyReLU, and .* Build it with the same"),
    "a layer's number": (dict(activation=keras.layers.LeakyReLU(0.1)), dict(activation=keras.layers.LeakyReLU(0.2)),
                         "activation=a layer LeakyReLU"),
    "a function": (dict(activation=my_activation), {}, "activation=something that has no name in Keras"),
    "group": (
        dict(norm="group"), dict(norm="layer"), "norm='group', and this one has norm='layer'. Build it with norm"),
    "no norm": (dict(norm="none"), {}, "norm='none', and this one has norm='batch'. Build it with norm='none'"),
    "pixels": (
        dict(preprocessing="unit"), {}, r"mean and deviation 0.0, 1.0, .* Build it with preprocessing=\(0.0, 1.0\)"),
    "pixels as they come": (dict(preprocessing=None), {}, "pixels as they come.* Build it with preprocessing=None"),
}


@pytest.mark.parametrize(("theirs", "ours", "message"), OTHERS.values(), ids=OTHERS)
def test_a_file_of_ours_is_for_models_of_the_same_parts(theirs, ours, message, tmp_path):
    kerazoo.save_weights(build("resnet20", **theirs), tmp_path / "model.safetensors")
    model = build("resnet20", **ours)
    before = values(model)
    with pytest.raises(WeightsError, match=f"do not fit resnet20: .*{message}"):
        kerazoo.load_weights(model, tmp_path / "model.safetensors")
    assert all(np.array_equal(before[name], value) for name, value in values(model).items())
    kerazoo.load_weights(build("resnet20", **theirs), tmp_path / "model.safetensors")


def test_other_ways_to_say_the_same_are_the_same(tmp_path):
    kerazoo.save_weights(build("resnet20"), tmp_path / "model.safetensors")
    mean, std = saved_options(tmp_path / "model.safetensors")["preprocessing"]
    for options in (dict(activation="relu", norm="batch"), dict(activation=keras.activations.relu),
                    dict(preprocessing=(mean, std)), dict(preprocessing=None), dict(dropout=0.5)):
        kerazoo.load_weights(build("resnet20", **options), tmp_path / "model.safetensors")
    gray = build("resnet20", input_shape=(32, 32, 1))
    kerazoo.load_weights(gray, tmp_path / "model.safetensors")


NO_OPTIONS = {
    "no JSON": "{", "a list": "[]", "deep": "[" * 5000 + "]" * 5000, "NaN": '{"preprocessing": [[NaN], [1]]}',
    "long": '{"norm": "' + "a" * 200_000 + '"}', "no deviation": '{"preprocessing": [[0.5], [0]]}',
    "a huge number": '{"preprocessing": [[1%s], [1]]}' % ("0" * 400), "another length": '{"preprocessing": [[0], []]}',
    "an object": '{"preprocessing": {"class_name": "x"}, "weights": "/etc/passwd"}',
}


@pytest.mark.parametrize("options", NO_OPTIONS.values(), ids=NO_OPTIONS)
def test_what_a_file_says_is_left_out_where_it_makes_no_sense(options, tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a": np.ones(1)}, {"format": "kerazoo", "builder": "resnet20", "options": options})
    assert saved_options(path) == {}


def test_only_files_of_ours_have_options(state, write, tmp_path):
    write_safetensors(tmp_path / "theirs.safetensors", state, {"format": "pt", "options": '{"classes": 3}'})
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "theirs.safetensors").read_bytes()[:1000])
    for path in (write(state), tmp_path / "theirs.safetensors", tmp_path / "cut.safetensors", tmp_path, "nowhere"):
        assert saved_options(path) is None


@pytest.mark.parametrize("ending", ["safetensors", "weights.h5"])
def test_a_file_of_ours_is_for_its_builder_alone(ending, tmp_path):
    path = tmp_path / f"model.{ending}"
    kerazoo.save_weights(build("resnet50"), path)
    with pytest.raises(WeightsError, match="do not fit resnet50_v1: they were saved by resnet50, whose layers are"):
        kerazoo.load_weights(build("resnet50_v1"), path)


def test_a_model_from_a_file_under_another_name_asks_which_it_is(donor, state, write, tmp_path):
    build(name="mine").save(tmp_path / "mine.keras")
    model, path = kerazoo.load_model(tmp_path / "mine.keras"), write(state)
    with pytest.raises(WeightsError, match="do not fit mine: .*torchvision for: resnet18, .*architecture='resnet18'"):
        kerazoo.load_weights(model, path)
    kerazoo.load_weights(model, path, architecture="resnet18")
    assert_equal(model, donor)
    kerazoo.save_weights(donor, tmp_path / "donor.safetensors")
    kerazoo.load_weights(model, tmp_path / "donor.safetensors")
    with pytest.raises(ValueError, match="Unknown model 'resnet19'; did you mean"):
        kerazoo.load_weights(model, path, architecture="resnet19")
    with pytest.raises(ValueError, match="which one mine is, is not known. Name it, as in architecture"):
        kerazoo.load_weights(model, "imagenet")


@pytest.fixture
def publish(write, monkeypatch):
    """Take a state dict for the published file."""

    def publish(state, name="resnet18", **changes):
        tag = dataclasses.replace(tags.get_tag(name), classes=3, **changes)
        monkeypatch.setattr(hub, "fetch", lambda tag: write(state))
        monkeypatch.setattr(tags, "get_tag", lambda name, weights: tag)

    return publish


def test_published_weights_for_other_classes_are_not_downloaded(state, publish, monkeypatch):
    publish(state)
    kerazoo.load_weights(build(classes=5), "imagenet", fresh_head=True)
    kerazoo.load_weights(build(include_top=False), "imagenet")
    monkeypatch.setattr(hub, "fetch", lambda tag: pytest.fail("downloaded"))
    with pytest.raises(WeightsError, match=r"imagenet/tv_in1k of resnet18 are for 3 classes, and resnet18 has 5. "
                                           r"kerazoo.load_weights\(model, ..., fresh_head=True\) leaves"):
        kerazoo.load_weights(build(classes=5), "imagenet")


def test_published_weights_want_the_normalization_that_they_were_trained_with(state, publish):
    publish(state)
    kerazoo.load_weights(build(), "imagenet")
    with pytest.raises(WeightsError, match=r"pixels of mean and deviation \(0.485, 0.456, 0.406\), \(0.229, .* built "
                                           r"for 0.0, 1.0. Build it with preprocessing=\(\(0.485, 0.456, 0.406\), \("):
        kerazoo.load_weights(build(preprocessing="unit"), "imagenet")
    # With preprocessing=None, images come normalized.
    kerazoo.load_weights(build(preprocessing=None), "imagenet")
    gray = kerazoo.resnet18(classes=3, input_shape=(32, 32, 1))
    kerazoo.load_weights(gray, "imagenet")


def test_kernels_for_blue_first_are_turned_round(donor, state, publish):
    publish(state, bgr=True)
    model = build()
    kerazoo.load_weights(model, "imagenet")
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel,
                                  np.array(donor.get_layer("stem_conv").kernel)[:, :, ::-1])
    assert_equal(model, donor, but=("stem_conv",))


def digest(path, algorithm):
    return f"{algorithm}:{hashlib.new(algorithm, path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("without_head", [False, True])
def test_a_renamed_published_file_is_known_by_its_content(without_head, tmp_path, monkeypatch):
    network = keras.applications.ResNet50(weights=None, input_shape=SHAPE, include_top=not without_head)
    path = tmp_path / "renamed.h5"
    network.save_weights(tmp_path / "theirs.weights.h5")
    legacy(network, path)
    tag = tags.get_tag("resnet50_v1")
    options = {"input_shape": SHAPE, "include_top": not without_head}
    kernel = np.array(network.get_layer("conv1_conv").kernel)
    for known, turned in ((False, False), (True, True)):
        if known and without_head:
            monkeypatch.setitem(published.WITHOUT_HEAD, tag.hash, digest(path, "md5"))
        elif known:
            changed = dataclasses.replace(tag, hash=digest(path, "md5"))
            monkeypatch.setattr(tags, "table", lambda: {(tag.model, tag.tag): changed})
        model = kerazoo.resnet50_v1(**options, preprocessing=(tag.mean, tag.std))
        kerazoo.load_weights(model, path)
        found = np.array(model.get_layer("stem_conv").kernel)
        np.testing.assert_array_equal(found, kernel[:, :, ::-1] if turned else kernel)
    with pytest.raises(WeightsError, match=r"pixels of mean and deviation .* Build it with preprocessing="):
        kerazoo.load_weights(kerazoo.resnet50_v1(**options), path)


def legacy(network, path):
    """Write the HDF5 file of Keras 2, as published files are."""
    import h5py

    with h5py.File(path, "w") as file:
        layers = [layer for layer in network.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, layer.weights):
                group[name] = np.array(variable)


def test_a_renamed_file_for_other_pixels_is_known_by_its_size_and_content(donor, write, state, monkeypatch):
    path = write(state)
    tag = dataclasses.replace(
        tags.get_tag("resnet18"), mean=(0.5,) * 3, std=(0.5,) * 3, hash=digest(path, "sha256")[:15],
        megabytes=round(path.stat().st_size / 1e6, 1))
    kerazoo.load_weights(build(), path)
    monkeypatch.setattr(tags, "table", lambda: {(tag.model, tag.tag): tag})
    with pytest.raises(WeightsError, match=r"mean and deviation 0.5, 0.5, .* Build it with preprocessing=\(0.5, 0.5\)"):
        kerazoo.load_weights(build(), path)
    kerazoo.load_weights(build(preprocessing=(0.5, 0.5)), path)
    # A file of another size is not read twice.
    monkeypatch.setattr(tags, "table", lambda: {(tag.model, tag.tag): dataclasses.replace(tag, megabytes=1.0)})
    monkeypatch.setattr(hub, "digest_of", lambda *arguments: pytest.fail("read"))
    kerazoo.load_weights(build(), path)


def test_published_files_that_differ_in_pixels_alone_are_all_known():
    """Every such file has a digest, and those of Keras Applications have another without the head."""
    halves = [tag for tag in tags.table().values() if tag.url and (tag.bgr or tag.mean == (0.5,) * 3)]
    assert len(halves) == 11 and all(tag.hash for tag in halves)
    assert {tag.hash for tag in halves if tag.layout == "keras_applications"} == set(published.WITHOUT_HEAD)


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, Stop])
@pytest.mark.parametrize("last", [0, 1, 30, 61])
def test_an_exception_while_assigning_leaves_the_model_as_it_was(error, last, state, write, monkeypatch):
    model = build()
    before, assign, done = values(model), keras.Variable.assign, []

    def spoiled(variable, value):
        # Once: what puts the old values back goes on.
        if len(done) == last:
            done.append(variable)
            raise error
        done.append(variable)
        return assign(variable, value)

    monkeypatch.setattr(type(model.variables[0]), "assign", spoiled)
    with pytest.raises(error):
        kerazoo.load_weights(model, write(state))
    after = values(model)
    assert len(done) >= last + 1 and all(before[name].tobytes() == after[name].tobytes() for name in before)


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_other_backends_go_back_too(backend, run_python, tmp_path):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    kerazoo.save_weights(randomize(build("resnet20")), tmp_path / "model.safetensors")
    code = """
import sys, numpy as np, keras, kerazoo
from kerazoo.weights import transforms
model = kerazoo.resnet20(classes=3, input_shape=(32, 32, 3))
values = lambda: [np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights]
before, calls, make = values(), [], transforms.make_value
def spoiled(*arguments):
    calls.append(len(calls))
    if len(calls) == 50:
        raise KeyboardInterrupt
    return make(*arguments)
transforms.make_value = spoiled
try:
    kerazoo.load_weights(model, sys.argv[1])
except KeyboardInterrupt:
    print(all(np.array_equal(old, new) for old, new in zip(before, values())))
transforms.make_value = make
kerazoo.load_weights(model, sys.argv[1])
print(all(np.array_equal(old, new) for old, new in zip(before, values())))
"""
    assert run_python(code, tmp_path / "model.safetensors", backend=backend).stdout.split() == ["True", "False"]


@pytest.mark.parametrize("bad", [3, None, ["weights.pth"]])
def test_other_kinds_of_paths_are_answered_in_words(bad):
    with pytest.raises(ValueError, match="weights must be 'imagenet', .* or the path of a file; got "):
        kerazoo.load_weights(build("resnet20"), bad)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        kerazoo.load_weights(build("resnet20"), "nowhere.pth")


def test_only_two_endings_are_written(tmp_path):
    with pytest.raises(ValueError, match=r"ends in .safetensors or .weights.h5; got .*weights.pth"):
        kerazoo.save_weights(build("resnet20"), tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []


def test_every_layout_can_be_tried_on_every_network():
    models = [build(name) for name in ("resnet20", "densenet40_12", "tf_efficientnet_b0")]
    models += [build("googlenet", input_shape=(64, 64, 3)), build("inception_v3", input_shape=(96, 96, 3))]
    for model in models:
        layers = [layer.name for layer in model.layers if layer.weights]
        for layout in LAYOUTS:
            names = layout.names(layers, ["conv2d_1", "batch_normalization"])
            assert set(names) <= set(layers)


@pytest.mark.parametrize("backend", ["tensorflow", "jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_a_model_does_not_hang_on_the_file(backend, run_python, tmp_path):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    model = randomize(build("resnet20"))
    kerazoo.save_weights(model, tmp_path / "model.safetensors")
    code = """
import sys, numpy as np, keras, kerazoo
model = kerazoo.resnet20(classes=3, input_shape=(32, 32, 3))
kerazoo.load_weights(model, sys.argv[1])
before = [keras.ops.convert_to_numpy(weight).copy() for weight in model.weights]
with open(sys.argv[1], "r+b") as file:
    size = len(file.read())
    file.seek(0)
    file.write(bytes(size))
for weight, old in zip(model.weights, before):
    assert np.array_equal(keras.ops.convert_to_numpy(weight), old), weight.path
    weight.assign_add(np.ones(weight.shape, weight.dtype))
print("free")
"""
    assert run_python(code, tmp_path / "model.safetensors", backend=backend).stdout.split() == ["free"]


def test_two_arrays_for_one_variable_are_refused(tmp_path):
    import h5py

    model = kerazoo.densenet121(classes=3, input_shape=SHAPE)
    network = keras.applications.DenseNet121(weights=None, classes=3, input_shape=SHAPE)
    network.save_weights(tmp_path / "theirs.weights.h5")
    kerazoo.load_weights(model, tmp_path / "theirs.weights.h5")
    with h5py.File(tmp_path / "theirs.weights.h5", "a") as file:
        # Both names stand for one layer, in files of different years.
        group = file["layers"].create_group("more/vars")
        group.attrs["name"] = "conv1/conv"
        group["0"] = np.zeros((7, 7, 3, 64), "float32")
    with pytest.raises(WeightsError, match=r"belonging to no layer \(1\): conv1/conv/0"):
        kerazoo.load_weights(model, tmp_path / "theirs.weights.h5")


def test_a_file_without_auxiliary_heads_asks_for_a_model_without_them(write):
    options = {"input_shape": (64, 64, 3), "classes": 3}
    state = to_torchvision(kerazoo.googlenet_bn(aux_heads=False, **options))
    with pytest.raises(WeightsError, match=r"missing in the file \(18\): aux1.* Build the model with aux_heads=False"):
        kerazoo.load_weights(kerazoo.googlenet_bn(aux_heads=True, **options), write(state))


class Pair(keras.layers.Layer):
    def build(self, shape):
        self.one, self.two = (self.add_weight(shape=(1,), name="number") for _ in range(2))

    def call(self, x):
        return x * self.one + self.two


def test_a_model_with_two_variables_of_one_name_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((1,)), Pair(name="pair")])
    with pytest.raises(ValueError, match="Two variables of sequential.* are called pair/number. Give each variable"):
        kerazoo.save_weights(model, tmp_path / "model.safetensors")


def test_every_published_file_has_a_layout():
    for tag in tags.table().values():
        axes = "keras" if tag.layout == "keras_applications" else "pytorch"
        assert any(layout.axes == axes and layout.is_for(tag.model) for layout in LAYOUTS), (tag.model, tag.tag)
