"""torchvision's networks with random weights, and ours with the same: the logits agree."""
import importlib.util

import numpy as np
import pytest

import kerazoo
from kerazoo.weights.names import find_layouts
from kerazoo.weights.writers import to_torchvision, write_pytorch, write_safetensors

# One of each family, the smallest.
SMALL = ("alexnet", "vgg11_bn", "resnet18", "densenet121", "googlenet_bn", "inception_v3", "efficientnet_b0")
QUICK = (*SMALL, "resnext50_32x4d")
LIGHT = ("alexnet", "resnet18", "googlenet_bn")


def has_torchvision(name):
    return any(layout.source == "torchvision" for layout in find_layouts(name, "pytorch"))


NAMES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in kerazoo.list_models() if has_torchvision(name)
]


def sizes(name):
    return (96, 97) if name == "inception_v3" else (64, 65)


def options(name):
    return {"aux_heads": False} if name in ("googlenet_bn", "inception_v3") else {}


@pytest.fixture
def make(torchvision, randomize):
    """A network of torchvision's by our name."""

    def make(name, classes=10, **own):
        # Its slow default initialization is overwritten anyway.
        own |= {"init_weights": False} if options(name) else {}
        return randomize(getattr(torchvision.models, name.removesuffix("_bn") if name == "googlenet_bn" else name)(
            num_classes=classes, **own))

    return make


def test_all_that_torchvision_has_are_compared():
    assert len(NAMES) == 33 and set(QUICK) <= set(kerazoo.list_models())


@pytest.mark.parametrize("name", NAMES)
def test_logits_agree(name, make, agree):
    agree(name, make(name), sizes(name), **options(name))


@pytest.mark.parametrize("kind", ["legacy pickle", "safetensors"])
@pytest.mark.parametrize("name", [
    name if name in LIGHT else pytest.param(name, marks=pytest.mark.slow) for name in SMALL if name != "vgg11_bn"
])
def test_logits_agree_from_other_kinds_of_files(name, kind, make, agree, torch):
    def save(state, path):
        if kind == "legacy pickle":
            torch.save(state, path, _use_new_zipfile_serialization=False)
        else:
            pytest.importorskip("safetensors", reason="safetensors is not installed: pip install safetensors")
            from safetensors.torch import save_file

            save_file(state, path)

    agree(name, make(name), sizes(name)[:1], save, **options(name))


@pytest.mark.parametrize("backend", [pytest.param("jax", marks=pytest.mark.slow), "torch"])
@pytest.mark.parametrize("name", [
    name if name == "resnet18" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL
])
def test_logits_agree_on_other_backends(name, backend, make, agree_elsewhere):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install {backend}")
    agree_elsewhere(backend, name, make(name), sizes(name)[0])


@pytest.mark.parametrize(("name", "size"), [("googlenet_bn", 64), ("inception_v3", 96)])
def test_auxiliary_heads_are_loaded_where_the_model_has_them(name, size, make, torch, tmp_path):
    network = make(name)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = kerazoo.create_model(name, classes=10, input_shape=(size, size, 3), aux_heads=True)
    kerazoo.load_weights(model, tmp_path / "weights.pth")
    pairs = {"aux1_head": network.aux1.fc2, "aux2_fc": network.aux2.fc1} if name == "googlenet_bn" else {
        "aux_head": network.AuxLogits.fc}
    for layer, theirs in pairs.items():
        ours, theirs = np.array(model.get_layer(layer).kernel), theirs.weight.detach().numpy().T
        if layer == "aux2_fc":
            theirs = theirs.reshape(128, 4, 4, -1).transpose(1, 2, 0, 3).reshape(ours.shape)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("name", [
    name if name in LIGHT else pytest.param(name, marks=pytest.mark.slow) for name in SMALL
])
def test_torchvision_loads_what_is_written_for_it(name, ending, make, torch, random_images, logits_of, assert_close,
                                                  tmp_path):
    size, path = sizes(name)[1], tmp_path / f"weights.{ending}"
    model = kerazoo.create_model(name, classes=10, preprocessing=None, input_shape=(size, size, 3), **options(name))
    state = to_torchvision(model)
    if ending == "pth":
        write_pytorch(path, state)
        read = torch.load(path, weights_only=True, mmap=True)
    else:
        write_safetensors(path, state)
        read = pytest.importorskip("safetensors.torch").load_file(path)
    network = make(name, **({"aux_logits": False} if options(name) else {}))
    network.load_state_dict(read, strict=True)
    images = random_images(size, size)
    assert_close(model(images), logits_of(network.eval(), images))


def test_the_names_in_the_oldest_densenet_files_are_known(make, agree):
    network = make("densenet121")
    # They have a dot in "norm.1", which torchvision replaces as it loads them.
    state = {name.replace("norm1", "norm.1").replace("conv1.", "conv.1.").replace("norm2", "norm.2")
             .replace("conv2.", "conv.2."): value for name, value in network.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    network.state_dict = lambda: state
    agree("densenet121", network, (64,))
