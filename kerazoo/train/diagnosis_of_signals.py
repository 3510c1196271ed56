"""What activations and gradients show: numbers that are none, explosions, dead units, vanishing gradients."""
import math

import numpy as np

from kerazoo.train.diagnosis_evidence import UNLEARNED, improves, learned
from kerazoo.train.findings import CLIP, WARMUP, Finding, count, some

# "As much as 40% of your network can be dead" where the rate is too high (CS231n notes, Neural Networks Part 1).
DEAD, ALL_DEAD = 0.4, 0.9
LOST = 0.1  # of a layer's units, that have died in training
FEW_UNITS = 4  # of fewer, one silent unit would be a large share
# Between the gradients of the first and the last layers. A sigmoid passes on a quarter at most (Glorot, Bengio 2010),
# so that seven layers of them lose four decades; kernels of initialized nets differ by two.
DECADES = 4.0
# Of activations over what goes in. Variance is to stay the same from layer to layer (He et al. 2015, section 2.2).
GROWTH = 1e3


def broken(evidence, at_end):
    what = evidence.get("broken")
    if not what:
        return None
    model = evidence["model"]
    clip = [] if model.get("clipped") else [f"clip gradients: {CLIP}"]
    remedies = {
        "data": ["repair or remove the images or labels that are no numbers"],
        "backward": [
            f"look at the derivative of {what['where']}: square roots, logarithms and divisions have none at 0; add a "
            "small number inside", *clip,
        ],
        # Before steps could have done it.
        "start": [
            f"look at what {what['where']} computes: divisions by 0, logarithms and roots of numbers below it; add a "
            "small number inside", *clip,
        ],
    }.get("start" if what["direction"] == "forward" and what["step"] <= 1 else what["direction"], [
        f"lower the learning rate by 10 and begin with a warm-up: {WARMUP}", *clip,
        *([] if model.get("norms") else ["norm=\"batch\", where the model has no normalization"]),
        *(["--mixed-precision bfloat16 instead of float16, whose numbers end at 65,504"] if model.get("half") else []),
    ])
    return Finding("nan", what["where"], what["what"], remedies, "severe", what["epoch"], early=what["step"] == 0)


def exploding(evidence, at_end):
    # Where the loss became no number, there is none but the steps.
    found = [growth(evidence, sample) for sample in evidence["samples"] if sample.get("std") or sample.get("gradient")]
    # It may have come right by itself; not where nothing is a number any more.
    early = bool(found) and found[0] is not None and (found[-1] is not None or bool(evidence.get("broken")))
    lasting = len(found) > 1 and found[-1] is not None and found[-2] is not None
    if not early and not lasting:
        return None
    where, what = found[0] if early else found[-1]
    return Finding("exploding", where, what, [
        *([] if evidence["model"].get("norms") else ["normalize: norm=\"batch\" (or \"group\") of kerazoo's builders"]),
        "initialize by the fan: \"he_normal\" under ReLU, \"glorot_uniform\" elsewhere (Keras's default)",
        "residual connections, as in kerazoo.resnet20",
        *([] if evidence["model"].get("clipped") else [f"clip gradients: {CLIP}"]),
        "a smaller learning rate with a warm-up: kerazoo.train.WarmupCosine",
    ], "severe", early=early)


def growth(evidence, sample):
    """(where, what) if signals of that sample grow beyond bounds on their way, forward or backward."""
    order = list(sample.get("std", {}))
    if len(order) >= 3 and sample.get("input"):
        enter = max(sample["input"][1], 1e-3)
        first, stds = order[0], [sample["std"][name] for name in order]
        # What is no number may come from a division by zero as well; where signals grow, some large numbers come first.
        top = int(np.argmax([std if math.isfinite(std) else -1.0 for std in stds]))
        start = max(stds[0], enter)
        # Both over what comes in and over what the first layer makes of it: large inputs are another matter.
        if top and math.isfinite(start) and stds[top] > GROWTH * start:
            factor = (stds[top] / start) ** (1 / top)
            return f"layers {first} to {order[top]}", (
                f"The deviation of outputs grows from {stds[0]:.2g} in {first} to {stds[top]:.2g} in {order[top]}, by "
                f"a factor of {factor:.2g} a layer; it should stay near one."
            )
    early, late, low, high = ends(evidence, sample)
    if early is not None and early - late > DECADES:
        return f"layers {low[0]} to {high[-1]}", (
            f"Gradients grow on their way back: by number in the kernel, {10 ** early:.1e} in {low[0]} and its "
            f"neighbors, {10 ** late:.1e} in {high[-1]} and its own."
        )
    return None


def ends(evidence, sample):
    """Decimal logarithms of the gradients (root mean square) of the first and the last third of the kernels."""
    names = [name for name in evidence["kernels"] if name in sample.get("gradient", {})]
    if len(names) < 5:
        return None, None, (), ()
    sizes = [sample["gradient"][name] / math.sqrt(evidence["kernels"][name]) for name in names]
    if not all(map(math.isfinite, sizes)) or not any(sizes):
        return None, None, (), ()
    logs = np.log10(np.maximum(sizes, 1e-45))
    third = max(1, len(names) // 3)
    return float(np.median(logs[:third])), float(np.median(logs[-third:])), names[:third], names[-third:]


def dead(evidence, at_end):
    samples, units = evidence["samples"], evidence["units"]
    if not samples:
        return None

    def shares(sample):
        return {
            name: share for name, share in sample.get("dead", {}).items()
            if share >= (DEAD if units.get(name, 0) >= FEW_UNITS else 1.0)
        }

    first, now = shares(samples[0]), shares(samples[-1])
    early = {name: share for name, share in first.items() if share >= ALL_DEAD}
    # What is silent before the first step may yet wake up, unless all of it is: through that, nothing passes back.
    before = shares(samples[-2]) if len(samples) > 1 else {}
    lasting = {name: share for name, share in now.items() if name in before}
    seen = lasting or (early if len(samples) == 1 or samples[-1].get("dead") == {} else {})
    if not seen:
        return None
    worst = max(seen, key=seen.get)
    if seen[worst] < ALL_DEAD and improves(evidence):
        return None  # there are enough others
    # Those that were so from the start are fewer units, and no sign of what training does.
    lost = any(share >= samples[0].get("dead", {}).get(name, 0.0) + LOST for name, share in seen.items())
    back = sum(evidence["back"].get(name, 0) for name in seen)
    silent = sum(round(share * units[name]) for name, share in seen.items())
    total = sum(units[name] for name in seen)
    return Finding(
        "dead", some(sorted(seen, key=lambda name: -seen[name])),
        f"{silent} of {total} units in {count(len(seen), 'layer')} are zero on every image of the sample, "
        f"{100 * seen[worst]:.0f} % of {worst}; {back} that were silent have come back. No gradient passes them.",
        [("initialize biases with zeros, and kernels with \"he_normal\"" if early else
          f"a smaller learning rate, and a warm-up: {WARMUP}"),
         "activation=\"leaky_relu\" or keras.layers.PReLU, which pass on a part of what is negative",
         *([] if evidence["model"].get("norms") else ["norm=\"batch\", which keeps half of a unit's values above 0"]),
         *([] if evidence["model"].get("clipped") else [CLIP])],
        "severe" if seen[worst] >= ALL_DEAD else "warning" if lost else "note", early=worst in early,
    )


def vanishing(evidence, at_end):
    # All of the last three, or of the first two: a layer may start at zero, and then learn.
    samples = [sample for sample in evidence["samples"] if sample.get("gradient")]
    share = learned(evidence) if evidence["epochs"] else None
    # What they were at first still holds where nothing has been learned since: then units die, or only the head moves.
    for part in (samples[-3:], samples[:2] if share is not None and share < UNLEARNED else []):
        found = [ends(evidence, sample) for sample in part]
        if len(part) > 1 and all(early is not None and late - early > DECADES for early, late, _, _ in found):
            break
    else:
        return None
    early, late, low, high = found[-1]
    kinds = [name for name in ("sigmoid", "tanh") if name in evidence["model"].get("activations", ())]
    first = ends(evidence, evidence["samples"][0])
    names = list(evidence["kernels"])
    steps = max(1, len(names) - len(low))
    return Finding(
        "vanishing", f"{low[0]} to {low[-1]}",
        f"Gradients shrink on their way back: by number in the kernel, {10 ** late:.1e} in {high[-1]} and its "
        f"neighbors, {10 ** early:.1e} in {low[0]} and its own, by a factor of {10 ** ((late - early) / steps):.2g} a "
        "layer.",
        [*([f"activation=\"relu\" in the place of {kinds[0]}, whose slope is "
            f"{'a quarter' if kinds[0] == 'sigmoid' else 'one'} at most"] if kinds else []),
         *([] if evidence["model"].get("norms") else ["norm=\"batch\""]),
         "residual connections, as in kerazoo.resnet20",
         "initialize by the fan: \"he_normal\" under ReLU, \"glorot_uniform\" under tanh",
         "fewer layers"],
        "severe", early=first[0] is not None and first[1] - first[0] > DECADES,
    )
