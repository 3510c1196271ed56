"""What a model, its loss and its optimizer are and have already, so that nobody is told to try it."""
import collections

import keras

from kerazoo.train.diagnosis_probe import single_loss
from kerazoo.train.graph import layers_of
from kerazoo.train.optimizers import schedule_of, unwrapped
from kerazoo.train.schedules import Ending

NORMS = (
    keras.layers.BatchNormalization, keras.layers.GroupNormalization, keras.layers.LayerNormalization,
)
USUAL = 3  # layers with an activation that is the network's, and not a gate's
# Of these alone, the loss of guessing is the entropy of the labels.
CATEGORICAL = ("categoricalcrossentropy", "sparsecategoricalcrossentropy", "crossentropy", "ce")


def about_model(model, probe):
    """{norms, normalized_first, activations, dropout, augmented, loss, optimizer, clipped, decay, half} of a model."""
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
        "loss": "categorical" if loss_name(model) in CATEGORICAL else "",
        "optimizer": type(rule).__name__.lower(),
        "clipped": any(getattr(rule, name, None) for name in ("clipnorm", "global_clipnorm", "clipvalue")),
        "decay": float(getattr(rule, "weight_decay", None) or 0.0),
        "half": probe.half,
    }


def loss_name(model):
    """Of the compiled loss, whether it is a name, a function or a class, in small letters alone."""
    loss = single_loss(model)
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name.replace("_", "").lower()


def about_rate(optimizer):
    """{scheduled: whether the rate follows a schedule, ended: whether the end of that, where it knows one, is past}."""
    schedule, ended = schedule_of(optimizer), False
    if isinstance(schedule, Ending):
        batches = unwrapped(optimizer)._iterations  # as `rate_at` counts
        ended = int(keras.ops.convert_to_numpy(batches)) >= schedule.end
    return {"scheduled": schedule is not None, "ended": ended}


def activation_name(layer):
    return getattr(getattr(layer, "activation", None), "__name__", None)


def augments(layer):
    module, kind = type(layer).__module__, type(layer).__name__
    return module.startswith("kerazoo.augment") or (module.startswith("keras") and kind.startswith("Random")) or (
        hasattr(layer, "take_mixing")
    )
