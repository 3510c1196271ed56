"""What a model and its optimizer have already, so that nobody is told to try it."""
import collections

import keras

from kerazoo.train.graph import layers_of
from kerazoo.train.optimizers import unwrapped

NORMS = (
    keras.layers.BatchNormalization, keras.layers.GroupNormalization, keras.layers.LayerNormalization,
)
USUAL = 3  # layers with an activation that is the network's, and not a gate's


def about_model(model, probe):
    """{norms, normalized_first, activations, dropout, augmented, optimizer, clipped, decay} of a compiled model."""
    layers = list(layers_of(model))
    names = collections.Counter(activation_name(layer) for layer in layers)
    first = dict(probe.parts).get(probe.entered)
    rule = unwrapped(model.optimizer)
    return {
        "norms": any(isinstance(layer, NORMS) for layer in layers),
        "normalized_first": isinstance(first, NORMS),
        "activations": sorted(name for name, times in names.items() if name and times >= USUAL),
        "dropout": max((float(layer.rate) for layer in layers if isinstance(layer, keras.layers.Dropout)), default=0.0),
        "augmented": any(augments(layer) for layer in layers),
        "optimizer": type(rule).__name__.lower(),
        "clipped": any(getattr(rule, name, None) for name in ("clipnorm", "global_clipnorm", "clipvalue")),
        "decay": float(getattr(rule, "weight_decay", None) or 0.0),
    }


def activation_name(layer):
    return getattr(getattr(layer, "activation", None), "__name__", None)


def augments(layer):
    module, kind = type(layer).__module__, type(layer).__name__
    return module.startswith("kerazoo.augment") or (module.startswith("keras") and kind.startswith("Random")) or (
        hasattr(layer, "take_mixing")
    )
