"""timm's networks with random weights, and ours with the same: the logits agree."""
import importlib.util

import pytest

import kerazoo
from kerazoo.weights.names import find_layouts

# A few that are quick; the others run with the slow tests.
QUICK = ("resnet18", "resnet18_v2", "resnet50_v2", "efficientnet_b0", "tf_efficientnet_b0",
         "efficientnet_lite0")
# Where timm's names are torchvision's.
SHARED = ("resnet", "resnext", "wide_resnet", "densenet", "inception_v3")


def timm_name(name):
    """What timm calls a model of ours, or None."""
    known = {layout.source for layout in find_layouts(name, "pytorch")}
    if not known or not ("timm" in known or name.startswith(SHARED)):
        return None
    if name.endswith("_v2") and name.startswith("resnet"):
        return f"resnetv2_{name.removeprefix('resnet').removesuffix('_v2')}"
    # timm's own efficientnet_lite* pad symmetrically; the ones with the authors' padding have the prefix.
    return f"tf_{name}" if name.startswith("efficientnet_lite") else name


NAMES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in kerazoo.list_models() if timm_name(name)
]


def sizes(name):
    return (96, 97) if name == "inception_v3" else (64, 65)


def options(name):
    return {"aux_heads": False} if name == "inception_v3" else {}


@pytest.fixture
def make(timm, randomize):
    def make(name):
        return randomize(timm.create_model(timm_name(name), num_classes=10))

    return make


def test_all_that_timm_has_are_compared():
    assert len(NAMES) == 49 and set(QUICK) <= set(kerazoo.list_models())


@pytest.mark.parametrize("name", NAMES)
def test_logits_agree(name, make, agree):
    agree(name, make(name), sizes(name), **options(name))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("name", ["resnet18_v2", "tf_efficientnet_b0"])
def test_logits_agree_on_other_backends(name, backend, make, agree_elsewhere):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install {backend}")
    agree_elsewhere(backend, name, make(name), 64)
