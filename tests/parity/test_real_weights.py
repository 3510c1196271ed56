"""Really trained weights on real photos, where a folder with both is at hand.

The environment variable KERAZOO_TEST_WEIGHTS names it: resnet18.pth (torchvision's names), efficientnet_lite0.pth
(EfficientNet-PyTorch's), and photos/NAME_CLASS.jpg, where CLASS is an index of ImageNet-1k.
"""
import os
import pathlib

import keras
import numpy as np
import pytest

import kerazoo

FOLDER = os.environ.get("KERAZOO_TEST_WEIGHTS")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="KERAZOO_TEST_WEIGHTS names no folder with really trained weights and photos"
)
# Of twenty photos; what PyTorch gets with the same files is 19 and 17.
WANTED = {"resnet18": 19, "efficientnet_lite0": 17}


@pytest.mark.parametrize("name", WANTED)
def test_photos_are_recognized(name):
    folder = pathlib.Path(FOLDER)
    photos = sorted((folder / "photos").glob("*.jpg"))
    model = kerazoo.create_model(name, weights=folder / f"{name}.pth")
    # The photos have been cropped already: their shorter side becomes the network's.
    pixels = np.stack([kerazoo.data.read_image(path, 3, 224) for path in photos])
    best = kerazoo.decode_predictions(model.predict(pixels, verbose=0), top=1)
    names = kerazoo.weights.imagenet.class_names()
    right = sum(found[0][0] == names[int(path.stem.rpartition("_")[2])] for path, found in zip(photos, best))
    assert len(photos) == 20 and right >= WANTED[name], right
    keras.backend.clear_session()
