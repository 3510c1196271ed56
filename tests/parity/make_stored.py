"""Write tests/parity/stored: what other libraries' networks answer for weights that anyone can make again.

    python tests/parity/make_stored.py [--only NAME]

Needs PyTorch, torchvision, timm and efficientnet_pytorch. A file has the names and shapes of a network's arrays and its
logits for one image at two sizes; the numbers in the arrays follow from their names (`fill`), so that the tests, which
have none of these libraries, write the same weight file and load it.
"""
import argparse
import gzip
import json
import pathlib
import zlib

import numpy as np

STORED = pathlib.Path(__file__).with_name("stored")
# Our name: library, its name, sizes of the image, what its function takes.
NETWORKS = {
    "alexnet": ("torchvision", "alexnet", (64, 65), {}),
    "vgg11_bn": ("torchvision", "vgg11_bn", (64, 65), {}),
    "vgg11": ("timm", "vgg11", (64, 65), {}),
    "resnet18": ("torchvision", "resnet18", (64, 65), {}),
    "resnext50_32x4d": ("torchvision", "resnext50_32x4d", (64, 65), {}),
    "resnet18_v2": ("timm", "resnetv2_18", (64, 65), {}),
    "densenet121": ("torchvision", "densenet121", (64, 65), {}),
    "googlenet_bn": ("torchvision", "googlenet", (64, 65), {"init_weights": False}),
    "inception_v3": ("torchvision", "inception_v3", (96, 97), {"init_weights": False}),
    "efficientnet_b0": ("torchvision", "efficientnet_b0", (64, 65), {}),
    "efficientnet_lite0": ("timm", "tf_efficientnet_lite0", (64, 65), {}),
    "tf_efficientnet_b0": ("efficientnet_pytorch", "efficientnet-b0", (64, 65), {}),
}


def fill(shapes):
    """Arrays of these names and shapes, {name: array}, always with the same numbers.

    Uniform numbers by `RandomState`, whose sequence NumPy keeps for good, seeded by the CRC-32 of the name: 0.5 to 1.5
    for the scales and variances of batch norms, -0.2 to 0.2 for biases and means, and for kernels up to the root of
    6 / inputs where the layer has a bias, of 3 / inputs where it has none. Of a large array, the first 100,003 repeat.
    """
    arrays = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            arrays[name] = np.zeros(shape, "int64")
            continue
        layer, _, role = name.rpartition(".")
        low, high = -0.2, 0.2
        if role == "running_var" or (role == "weight" and len(shape) == 1):
            low, high = 0.5, 1.5
        elif role == "weight":
            high = ((6 if f"{layer}.bias" in shapes else 3) / np.prod(shape[1:])) ** 0.5
            low = -high
        random = np.random.RandomState(zlib.crc32(name.encode()))
        numbers = random.uniform(low, high, min(int(np.prod(shape)), 100_003)).astype("float32")
        arrays[name] = np.resize(numbers, shape)
    return arrays


def image(size):
    """One normalized image, channels last."""
    return np.random.RandomState(size).uniform(-1.7, 1.7, (1, size, size, 3)).astype("float32")


def read(name):
    return json.loads(gzip.decompress((STORED / f"{name}.json.gz").read_bytes()))


def build(library, name, options):
    if library == "efficientnet_pytorch":
        from efficientnet_pytorch import EfficientNet

        # Its padding is fixed when it is made, for one image size; None finds it anew for each image.
        return EfficientNet.from_name(name, image_size=None, num_classes=10)
    if library == "timm":
        import timm

        return timm.create_model(name, num_classes=10, **options)
    import torchvision

    return getattr(torchvision.models, name)(num_classes=10, **options)


def main():
    import torch
    from conftest import import_torchvision

    import_torchvision(torch)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=NETWORKS)
    only = parser.parse_args().only
    STORED.mkdir(exist_ok=True)
    for ours, (library, name, sizes, options) in NETWORKS.items():
        if only not in (None, ours):
            continue
        network = build(library, name, options).eval()
        shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
        network.load_state_dict({key: torch.from_numpy(array) for key, array in fill(shapes).items()})
        with torch.no_grad():
            logits = {size: network(torch.from_numpy(image(size).transpose(0, 3, 1, 2).copy()))[0].tolist()
                      for size in sizes}
        text = json.dumps({
            "source": f"{library} {__import__(library).__version__}: {name}", "arrays": shapes,
            "logits": {size: [float(f"{value:.8g}") for value in values] for size, values in logits.items()},
        })
        (STORED / f"{ours}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        print(ours, {size: values[:2] for size, values in logits.items()})


if __name__ == "__main__":
    main()
