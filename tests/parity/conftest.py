"""Networks of other libraries with random weights, to compare with ours; without the library, tests are skipped."""
import glob
import importlib.util
import os
import re

import numpy as np
import pytest

import kerazoo

TORCH = "PyTorch is not installed: pip install torch"
TORCHVISION = "torchvision is not installed: pip install --no-deps torchvision"
TIMM = "timm is not installed: pip install --no-deps timm"


@pytest.fixture(scope="session")
def torch():
    torch = pytest.importorskip("torch", reason=TORCH)
    torch.set_num_threads(2)
    return torch


@pytest.fixture(scope="session")
def torchvision(torch):
    return import_torchvision(torch)


@pytest.fixture(scope="session")
def timm(torch):
    import_torchvision(torch)
    return pytest.importorskip("timm", reason=TIMM)


def import_torchvision(torch):
    """torchvision's package index wheel is for PyTorch with CUDA; beside another build its own operators are missing.

    Classifiers use none of them, but importing torchvision describes them, so that they must have been declared.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None:
        pytest.skip(TORCHVISION)
    folder = found.submodule_search_locations[0]
    try:
        for library in glob.glob(os.path.join(folder, "_C.*")):
            torch.ops.load_library(library)
    except OSError:
        with open(os.path.join(folder, "_meta_registrations.py")) as file:
            operators = set(re.findall(r"(?:torchvision::|register_meta\(\")(\w+)\"", file.read()))
        if not hasattr(torch.ops.torchvision, "nms"):
            # PyTorch forgets what it has been told once the library object is gone.
            import_torchvision.declared = torch.library.Library("torchvision", "DEF")
            for operator in operators:
                import_torchvision.declared.define(f"{operator}() -> ()")
    return pytest.importorskip("torchvision", reason=TORCHVISION)


@pytest.fixture
def randomize(torch):
    """Gives a PyTorch network new random weights, also where training would start from zeros and ones."""

    def randomize(network, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def uniform(tensor, low, high):
            tensor.uniform_(low, high, generator=generator)

        with torch.no_grad():
            for module in network.modules():
                weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
                if hasattr(module, "running_var"):
                    uniform(weight, 0.5, 1.5), uniform(bias, -0.2, 0.2)
                    uniform(module.running_mean, -0.2, 0.2), uniform(module.running_var, 0.5, 1.5)
                elif weight is not None:
                    # He et al. 2015, so that activations neither vanish nor explode.
                    bound = ((3 if bias is None else 6) / weight[0].numel()) ** 0.5
                    uniform(weight, -bound, bound)
                    if bias is not None:
                        uniform(bias, -0.2, 0.2)
        return network.eval()

    return randomize


@pytest.fixture
def logits_of(torch):
    """A PyTorch network's logits for images with the channels last."""

    def logits_of(network, images):
        with torch.no_grad():
            return network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()

    return logits_of


@pytest.fixture
def random_images():
    """Normalized images, as the network sees them behind its first layer."""

    def random_images(height, width, batch=2):
        return np.random.default_rng(height).normal(0, 1, (batch, height, width, 3)).astype("float32")

    return random_images


@pytest.fixture
def assert_close():
    """The logits agree within a share of the largest, and are no constant."""

    def assert_close(ours, theirs, tolerance=1e-4):
        ours = np.asarray(ours)
        assert ours.shape == theirs.shape
        assert np.isfinite(theirs).all() and theirs.std() > 0.01 * np.abs(theirs).max()
        assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()

    return assert_close


@pytest.fixture
def agree(torch, logits_of, random_images, assert_close, tmp_path):
    """Save a PyTorch network, load it into our model of that name, and compare the logits at two image sizes."""

    def agree(name, network, sizes, save=None, **options):
        path = tmp_path / "weights.pth"
        (save or torch.save)(network.state_dict(), path)
        dense = name.startswith(("alexnet", "vgg"))
        model = None
        for size in sizes:
            if dense or model is None:
                model = kerazoo.create_model(
                    name, classes=10, preprocessing=None, input_shape=(size, size, 3) if dense else (None, None, 3),
                    **options,
                )
                kerazoo.load_weights(model, path)
            images = random_images(size, size)
            assert_close(model(images), logits_of(network, images))
        path.unlink()

    return agree


# In a fresh process: arguments are the model, the weights, the images and the expected logits.
ELSEWHERE = """
import sys, keras, numpy as np, kerazoo
name, path, images, expected = sys.argv[1:]
images, expected = np.load(images), np.load(expected)
options = {"aux_heads": False} if name in ("googlenet_bn", "inception_v3") else {}
model = kerazoo.create_model(name, classes=10, preprocessing=None, input_shape=images.shape[1:], **options)
kerazoo.load_weights(model, path)
logits = keras.ops.convert_to_numpy(model(images))
assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
print(keras.config.backend(), "agrees")
"""


@pytest.fixture
def agree_elsewhere(torch, logits_of, random_images, run_python, tmp_path):
    """The same on another backend, at one image size."""

    def agree_elsewhere(backend, name, network, size):
        images = random_images(size, size)
        torch.save(network.state_dict(), tmp_path / "weights.pth")
        np.save(tmp_path / "images.npy", images)
        np.save(tmp_path / "expected.npy", logits_of(network, images))
        files = [tmp_path / name for name in ("weights.pth", "images.npy", "expected.npy")]
        assert run_python(ELSEWHERE, name, *files, backend=backend).stdout.split() == [backend, "agrees"]

    return agree_elsewhere
