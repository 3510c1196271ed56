"""What a model, its loss and its optimizer are and have already, so that nobody is told to try it."""
import collections
import math

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
BINARY = ("binarycrossentropy", "bce")


def about_model(model, probe):
    """{norms, normalized_first, momentum, activations, dropout, augmented, loss, from_logits, ends_in, optimizer,
    clipped, decay, half} of a model."""
    layers = list(layers_of(model))
    names = collections.Counter(activation_name(layer) for layer in layers)
    entered = next((place for place, (name, _) in enumerate(probe.parts) if name == probe.entered), len(probe.parts))
    # Of what answers at inference: auxiliary heads drop more, and hold nothing back.
    dropouts = [float(one.rate) for _, one in probe.parts if isinstance(one, keras.layers.Dropout)]
    momenta = [layer.momentum for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    rule, name, last = unwrapped(model.optimizer), loss_name(model), probe.parts[-1][1]
    return {
        "norms": any(isinstance(layer, NORMS) for layer in layers),
        # A norm behind the first kernel takes back what the scale of pixels does.
        "normalized_first": any(isinstance(one, NORMS) for _, one in probe.parts[entered : entered + 2]),
        "momentum": max(momenta, default=0.0),
        "activations": sorted(name for name, times in names.items() if name and times >= USUAL),
        "dropout": max(dropouts, default=0.0),
        "augmented": any(augments(layer) for layer in layers),
        "loss": "categorical" if name in CATEGORICAL else "binary" if name in BINARY else "",
        "from_logits": from_logits(model),
        "ends_in": activation_name(last) or type(last).__name__.lower(),
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


def from_logits(model):
    """Whether the compiled loss takes logits; None where that is not known."""
    loss = single_loss(model)
    if loss is None:
        return None
    if isinstance(loss, keras.losses.Loss):
        try:
            return loss.get_config().get("from_logits")
        except Exception:  # of a loss of the user's
            return None
    # By name, and as functions, Keras's own take probabilities.
    known = isinstance(loss, str) or getattr(keras.losses, getattr(loss, "__name__", ""), None) is loss
    return False if known else None


def foresee(optimizer, batches):
    """What a schedule has in store that still rises when so many batches have gone by from now on; None: it does not.

    Returns:
        {within: its highest rate in those batches, beyond: in ten thousand times as many}.
    """
    schedule = schedule_of(optimizer)
    if schedule is None or not batches:
        return None
    begun = int(keras.ops.convert_to_numpy(unwrapped(optimizer)._iterations))  # as `rate_at` counts

    def rates(steps):
        try:
            found = [float(keras.ops.convert_to_numpy(schedule(min(begun + step, 2**31 - 1)))) for step in steps]
        except Exception:  # a schedule of the user's need not know of steps so far away
            return []
        return found if all(map(math.isfinite, found)) else []

    within, beyond = rates(part * (batches - 1) // 16 for part in range(17)), rates(batches * 2**k for k in range(14))
    if not within or not beyond or within[-1] < max(within) or max(within) == min(within):
        return None
    return {"within": within[-1], "beyond": max(*within, *beyond)}


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
