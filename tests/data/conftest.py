"""Sources small enough for tests: folders drawn with Pillow, and a set that TensorFlow Datasets believes in."""
import functools

import numpy as np
import pytest
from PIL import Image

from kerazoo.data import load, parts


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """What is remembered of folders is forgotten with the test."""
    monkeypatch.setenv("KERAZOO_HOME", str(tmp_path / "home"))


@pytest.fixture
def make_folder(tmp_path):
    """A function that draws a folder of images: {"cat": 12} is twelve images of random color and of the class cat."""

    def make(counts, root="images", size=(20, 16), mode="RGB", ending="png"):
        rng = np.random.default_rng(0)
        for name, count in counts.items():
            folder = tmp_path / root / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (*size, 3), "uint8")
                Image.fromarray(pixels).convert(mode).save(folder / f"{i:03}.{ending}")
        return tmp_path / root

    return make


@pytest.fixture(scope="session")
def tiny_tfds(tmp_path_factory):
    """The data_dir of `tiny_digits`: 60 training images of two classes and of differing size, no other split."""
    import tensorflow_datasets as tfds

    class TinyDigits(tfds.core.GeneratorBasedBuilder):
        """A set made on the spot."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image = tfds.features.Image(shape=(None, None, 3))
            label = tfds.features.ClassLabel(names=["even", "odd"])
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return self.dataset_info_from_configs(features=features, supervised_keys=("image", "label"))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(60):
                yield i, {"image": np.full((8 + i % 3, 8, 3), 4 * i, "uint8"), "label": i % 2}

    data_dir = tmp_path_factory.mktemp("tfds")
    tfds.builder("tiny_digits", data_dir=data_dir).download_and_prepare()
    return data_dir


@pytest.fixture(params=["memory", "files", "stream"])
def train(request, make_folder, tiny_tfds, monkeypatch):
    """The training part of each kind of source, as a function of further arguments of `load`; about 49 images."""
    if request.param == "memory":
        return functools.partial(load, "mnist_sample", "train", limit=49)
    monkeypatch.setattr(parts, "MEMORY_LIMIT", 0)
    if request.param == "files":
        name = f"folder:{make_folder({'a': 30, 'b': 30})}"
        return functools.partial(load, name, "train", corrupt_limit=0)
    return functools.partial(load, "tiny_digits", "train", image_size=8, data_dir=tiny_tfds)
