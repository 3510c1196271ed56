"""kerazoo: the model zoo for Keras, from LeNet-5 to EfficientNet, with augmentation, training tools and export.

    from kerazoo import resnet18
    model = resnet18(classes=10)

Names resolve on first use: importing kerazoo loads neither Keras nor a backend.
"""
import importlib

from kerazoo.registry import create_model, facts, list_families, list_models, table
from kerazoo.version import __version__  # noqa: F401

ROOMS = ("analyze", "augment", "data", "export", "models", "registry", "train", "visualize", "weights")
FUNCTIONS = {
    "compare": "kerazoo.analyze", "conv_output_size": "kerazoo.analyze", "count_parameters": "kerazoo.analyze",
    "decode_predictions": "kerazoo.weights", "feature_extractor": "kerazoo.models.features",
    "list_weights": "kerazoo.weights", "load_model": "kerazoo.saving", "load_weights": "kerazoo.weights",
    "receptive_field": "kerazoo.analyze", "save_weights": "kerazoo.weights",
}

__all__ = [  # noqa: F822  (most of these resolve in __getattr__)
    "create_model", "facts", "list_families", "list_models", *FUNCTIONS, *ROOMS, *table(),
]


def __getattr__(name):
    if name in table():
        value = getattr(importlib.import_module(f"kerazoo.models.{table()[name].family}"), name)
    elif name in FUNCTIONS:
        value = getattr(importlib.import_module(FUNCTIONS[name]), name)
    elif name in ROOMS:
        return importlib.import_module(f"kerazoo.{name}")
    else:
        from kerazoo.registry import nearest

        raise AttributeError(f"kerazoo has no {name!r}{nearest(name, __all__)}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*__all__, "__version__", "__doc__", "__all__"})
