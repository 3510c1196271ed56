"""Where a training first came to something that is no number."""
import contextlib
import math
import time

import keras
import numpy as np

from kerazoo.train.cached import batches_of
from kerazoo.train.diagnosis_data import as_it_was
from kerazoo.train.diagnosis_evidence import RATIO_HIGH, ratios
from kerazoo.train.diagnosis_model import NORMS
from kerazoo.train.diagnosis_probe import rectifies

HARMLESS = (
    *NORMS,
    keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout, keras.layers.ReLU, keras.layers.ZeroPadding2D,
    keras.layers.MaxPooling2D, keras.layers.AveragePooling2D, keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D, keras.layers.Rescaling, keras.layers.Add, keras.layers.Concatenate,
)
LOOKING = 10.0  # seconds, in data in which nothing was found so far


def harmless(operation):
    """Whether a derivative is sound wherever its input is."""
    return isinstance(operation, HARMLESS) or isinstance(operation, keras.layers.Activation) and rectifies(operation)


def broken_data(given):
    """A sentence on values in the data that are no numbers; "" if none are found."""
    begun = time.monotonic()
    whole = isinstance(given, (tuple, list))
    with contextlib.nullcontext() if whole else as_it_was(given) as data:
        for number, batch in enumerate([given] if whole else batches_of(data)):
            for name, part in zip(("images", "labels", "weights"), batch):
                for leaf in keras.tree.flatten(part):
                    leaf = np.asarray(leaf)
                    if leaf.dtype.kind == "f" and (bad := int((~np.isfinite(leaf)).sum())):
                        # Shuffled data have other batches each time.
                        where = "" if whole else f" in batch {number} of the training data, as they came then,"
                        return f"{bad:,} values of the {name}{where} are NaN or infinite."
            if time.monotonic() - begun > LOOKING:
                break
    return ""


def broken_layer(probe, evidence, broken):
    """(direction, layer, sentence) by the weights that the model has now, which are finite."""
    seen = probe(everything=True)
    for name, peak in seen["peak"].items():
        if not math.isfinite(peak):
            return "forward", name, f"Forward, the output of {name} is the first that is no finite number."
    if seen["loss"] is not None and not math.isfinite(seen["loss"]):
        return "forward", "the loss", "All outputs are finite numbers, and the loss of them is not."
    bad = [name for name, norm in seen["gradient"].items() if not math.isfinite(norm)]
    if bad:
        # Backward, what comes last in the graph comes first; what breaks may be an operation behind that kernel.
        names = [name for name, _ in probe.parts]
        kernels = list(probe.kernels)
        place = kernels.index(bad[-1])
        after = kernels[place + 1] if place + 1 < len(kernels) else None
        between = names[names.index(bad[-1]) + 1 : names.index(after) if after else None]
        operations = dict(probe.parts)
        suspects = [name for name in between if not harmless(operations[name])] or between
        where = " or ".join(suspects[-2:]) if suspects else bad[-1]
        return "backward", where, (
            f"Backward, the gradient of {bad[-1]} is the first that is no finite number, while "
            + (f"that of {after}, behind it, is: it breaks between them, in {' or '.join(between[:4])}."
               if between and after else "what is behind it is sound.")
        )
    # Under absurd steps, some weights are no numbers before others are, and no derivative is to blame.
    absurd = max(ratios(evidence), default=0.0) >= RATIO_HIGH
    if broken and not absurd and probe.kernels and list(probe.kernels)[-1] not in broken:
        return "backward", broken[-1], f"Weights that became no numbers are those of {broken[0]} to {broken[-1]}."
    largest = max(seen["peak"], key=seen["peak"].get, default=None)
    if largest is None:
        return None, None, ""
    return "forward", largest, (
        f"Before, all was finite; the largest outputs then were those of {largest}, up to "
        f"{seen['peak'][largest]:.3g}."
    )
