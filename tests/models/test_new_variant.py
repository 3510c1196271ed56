"""A new variant of a family is one line and one row of facts."""
import keras
import numpy as np
import pytest

import kerazoo
from kerazoo import registry
from kerazoo.models import resnet
from kerazoo.models.builder import builder

# timm has this one; its count is PyTorch's.
ROW = dict(
    name="resnet26", family="resnet", parameters=15_995_176, gmacs=2.342, input_shape=(224, 224, 3), classes=1000,
    dataset="ImageNet-1k", top1=None, top5=None, paper="https://arxiv.org/abs/1512.03385", deviations="",
    source="timm's resnet26",
)


@pytest.fixture
def resnet26(monkeypatch):
    line = builder("resnet26", resnet.resnet, block=resnet.bottleneck, depths=(2, 2, 2, 2), reference=resnet.V1)
    monkeypatch.setattr(resnet, "resnet26", line, raising=False)
    monkeypatch.setitem(registry.table(), "resnet26", registry.Facts(**ROW))


def test_it_is_built_listed_counted_saved_and_taken_apart_like_any_other(resnet26, tmp_path):
    assert "resnet26" in kerazoo.list_models("resnet2*")
    model = kerazoo.create_model("resnet26")
    analysis, facts = kerazoo.analyze(model), kerazoo.facts("resnet26")
    assert analysis.trainable == facts.parameters
    assert analysis.macs == pytest.approx(1e9 * facts.gmacs, rel=0.005)
    assert kerazoo.feature_extractor(model, "stage2").output_shape == (None, 28, 28, 512)

    small = kerazoo.create_model("resnet26", input_shape=(32, 32, 3), classes=3)
    kerazoo.save_weights(small, tmp_path / "resnet26.safetensors")
    again = kerazoo.create_model(
        "resnet26", input_shape=(32, 32, 3), classes=3, weights=tmp_path / "resnet26.safetensors"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype="uint8")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(pixels)), keras.ops.convert_to_numpy(small(pixels)))
