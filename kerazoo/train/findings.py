"""What the evidence of a training says: rules from measurements to findings, and the order of causes.

Each rule is a function of the evidence alone, a dictionary of plain data that `kerazoo.train.Diagnostics` gathers:

    data        what the labels and pixels are like (`kerazoo.train.diagnosis_data`)
    classes     outputs of the model, or None
    first_loss  as logged with the first batch, before anything was learned
    epochs      [{epoch, loss, accuracy, val_loss, val_accuracy, rate, highest, ended}], epoch counted from 1; highest:
                rate in it; ended: whether the schedule's end lies behind
    planned     epochs that fit was asked for
    samples     [{epoch, step, loss, rate, std, peak, gradient, ratio, dead, input}], the first one before training;
                all but the first four are by layer
    kernels     {layer: numbers in its kernel}, in the order of the graph
    units       {layer: units that can be zero}, of activations such as ReLU
    back        {layer: units that were silent once and are active again}
    broken      {epoch, step, where, direction, what} once something became no number
    peak_rate   the highest learning rate so far
    scheduled   whether the rate follows a schedule
    model       {norms, activations, dropout, augmented, loss, optimizer, clipped, decay, half}: what the remedies, and
                some of the rules, depend on

The thresholds are those of the literature or of arithmetic, and stand below with their source.
"""
import dataclasses
import math

import numpy as np

# Learning rates. "A rough heuristic is that this ratio should be somewhere around 1e-3" (Karpathy, CS231n notes,
# Neural Networks Part 3, "Ratio of weights:updates"): two decades above and one below are far from it.
RATIO_HIGH, RATIO_LOW = 1e-1, 1e-4
# "As much as 40% of your network can be dead" where the rate is too high (CS231n notes, Neural Networks Part 1).
DEAD, ALL_DEAD = 0.4, 0.9
FEW_UNITS = 4  # of fewer, one silent unit would be a large share
# Between the gradients of the first and the last layers. A sigmoid passes on a quarter at most (Glorot, Bengio 2010),
# so that seven layers of them lose four decades; kernels of initialized nets differ by two.
DECADES = 4.0
# Of activations over what goes in. Variance is to stay the same from layer to layer (He et al. 2015, section 2.2).
GROWTH = 1e3
# Generalization loss, in percent of the lowest validation loss (Prechelt, Early Stopping - But When?, 1998: GL of 5).
GENERALIZATION = 5.0
HALF, UNLEARNED = 0.5, 0.1  # of what can be learned
GAP, CLEAR_GAP = 0.05, 0.10  # of accuracy, between training and validation
STRIP = 3  # epochs in a row that count as a trend, a little below Prechelt's strips of five
FLAT_EPOCHS, FLAT = 5, 0.01  # a plateau: epochs without an improvement by one percent
# Classes with ten and a hundred times as many images (Leevy et al. 2018 call 100:1 to 10,000:1 high imbalance).
IMBALANCE, HIGH_IMBALANCE = 10.0, 100.0
# Of what the first layer with weights takes: means near zero and deviations near one are wanted (LeCun et al.,
# Efficient BackProp, 1998, section 4.3); pixels divided by 255 once too often have deviations of 0.001 to 0.02.
SMALL_INPUT, LARGE_INPUT = 0.05, 20.0

TITLES = {
    "inputs": "the images look wrong",
    "labels": "the labels look wrong",
    "nan": "not a number",
    "exploding": "exploding activations or gradients",
    "dead": "dying ReLUs",
    "vanishing": "vanishing gradients",
    "rate_high": "the learning rate is too high",
    "rate_low": "the learning rate is too low",
    "imbalance": "classes of very different size",
    "overfitting": "overfitting",
    "underfitting": "underfitting",
    "plateau": "a plateau",
}
ADAPTIVE = ("adam", "adamw", "nadam", "adamax", "lamb", "lion", "adafactor", "rmsprop", "adagrad", "adadelta")
CLIP = "kerazoo.train.optimizer(..., clip_norm=1.0)"
WARMUP = "kerazoo.train.WarmupCosine(peak, epochs, warmup=..., steps=len(train))"
SEVERITIES = ("severe", "warning", "note")
# What another cause explains. Where that is there, the first are told after it, the others not at all.
FOLLOWS = {
    "nan": ("inputs", "exploding", "rate_high"),
    "exploding": ("inputs", "rate_high"),
    "dead": ("inputs", "rate_high"),
    "vanishing": ("inputs", "dead", "rate_high"),
}
HIDDEN = {
    "vanishing": ("dead",),
    "rate_high": ("exploding", "inputs"),
    "rate_low": ("labels", "inputs", "exploding", "dead", "vanishing", "rate_high"),
    "underfitting": ("labels", "inputs", "exploding", "dead", "vanishing", "rate_high", "rate_low", "nan"),
    "plateau": (
        "labels", "inputs", "exploding", "dead", "vanishing", "rate_high", "rate_low", "nan", "underfitting",
        "overfitting",
    ),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is wrong with a training.

    Attributes:
        kind: one of `kerazoo.train.findings.TITLES`.
        where: the layers, data or epochs that it is about.
        evidence: what was measured, a sentence.
        remedies: what to try, most likely first.
        severity: "severe", "warning" or "note".
        epoch: when it was first found, counted from 1; 0: before training.
        early: whether it was there before the first step, and so has no cause in training.
    """

    kind: str
    where: str
    evidence: str
    remedies: list
    severity: str = "warning"
    epoch: int = 0
    early: bool = False

    @property
    def title(self):
        return TITLES[self.kind]

    def __str__(self):
        remedies = "; ".join(self.remedies)
        when = "before training" if self.epoch == 0 else f"in epoch {self.epoch}"
        where = f", {self.where}" if self.where else ""
        return f"{sentence(self.title)} ({self.severity}, found {when}{where}): {self.evidence} Try: {remedies}."

    def as_json(self):
        """A dictionary for JSON."""
        found = {name: getattr(self, name) for name in ("kind", "title", "where", "evidence", "remedies", "severity")}
        return {**found, "epoch": self.epoch}


def findings_of(evidence, at_end=False):
    """All that the evidence shows, the most likely cause first.

    Args:
        evidence: as above.
        at_end: whether training has ended, so that what has not been reached will not be.

    Returns:
        A list of `Finding`.
    """
    times = evidence["epochs"] or evidence["samples"]
    now = times[-1]["epoch"] if times else 0
    found = []
    for rule in (inputs, labels, broken, exploding, dead, vanishing, rate_high, rate_low, imbalance, overfitting,
                 underfitting, plateau):
        finding = rule(evidence, at_end)
        if finding is not None:
            found.append(finding if finding.epoch or finding.early else dataclasses.replace(finding, epoch=now))
    return ordered(found)


def ordered(found):
    """Without what another finding explains away, causes in front of consequences."""
    kinds = {finding.kind: finding for finding in found}

    def behind(finding, cause):
        if cause not in kinds or (finding.early and not kinds[cause].early):
            return False  # what was there before the first step is no consequence of how the steps went
        # These may be consequences themselves.
        return kinds[cause].early if cause == "exploding" else cause != "dead" or kinds[cause].severity == "severe"

    def explained(finding, table):
        return any(behind(finding, cause) for cause in table.get(finding.kind, ()))

    left = [finding for finding in found if not explained(finding, HIDDEN)]
    order = list(TITLES)

    def severity(finding):
        """A cause is as severe as what it has brought about."""
        results = [one for one in left if finding.kind in FOLLOWS.get(one.kind, ()) and behind(one, finding.kind)]
        return min(SEVERITIES.index(one.severity) for one in [finding, *results])

    return sorted(left, key=lambda finding: (severity(finding), explained(finding, FOLLOWS), order.index(finding.kind)))


# Data.

def inputs(evidence, at_end):
    data, samples = evidence["data"], evidence["samples"]
    if data.get("broken"):
        return Finding(
            "inputs", "training images",
            f"{data['broken']:,} of {data['values']:,} pixel values that were looked at are NaN or infinite.",
            ["find these images (numpy.isfinite) and repair or remove them",
             "look for a division by zero in your own preprocessing"], "severe", early=True,
        )
    if data.get("alike"):
        return Finding(
            "inputs", "training images", f"All {data['images']} images that were looked at are equal.",
            ["look at them: kerazoo.visualize.augmentation_sheet", "check how they are read"], "severe", early=True,
        )
    if not samples or not samples[0].get("input"):
        return None
    mean, std, low, high = samples[0]["input"]
    seen = (
        f"The first layer with weights takes values from {low:.3g} to {high:.3g}, mean {mean:.3g}, deviation {std:.2g};"
    )
    if not math.isfinite(std):
        return None
    if std < SMALL_INPUT:
        return Finding(
            "inputs", "pixels", f"{seen} wanted is a deviation near 1. So were pixels scaled twice.",
            ["kerazoo's models take pixels from 0 to 255 and scale them themselves: feed them as they are, or multiply "
             "by 255",
             "or build the model for pixels as they come: preprocessing=None, or (mean, std) of your own"],
            "severe", early=True,
        )
    if low >= 0 and high > LARGE_INPUT and not evidence["model"].get("normalized_first"):
        return Finding(
            "inputs", "pixels", f"{seen} wanted are values around 0 with a deviation near 1.",
            ["scale them inside the model: preprocessing=\"unit\" or \"imagenet\" of kerazoo's builders, or "
             "keras.layers.Rescaling(1 / 127.5, -1) in front"], "severe", early=True,
        )
    return None


def labels(evidence, at_end):
    data, classes = evidence["data"], evidence["classes"]
    counts = data.get("counts") or {}
    if counts and classes and classes > 1 and (data["lowest"] < 0 or data["highest"] >= classes):
        return Finding(
            "labels", "training labels",
            f"Labels go from {data['lowest']} to {data['highest']}, and the model has {classes} outputs, which stand "
            f"for 0 to {classes - 1}.",
            [f"build the model with classes={data['highest'] + 1}, or number the labels from 0 on"], "severe",
            early=True,
        )
    if len(counts) == 1 and data["labels"] >= 16:
        label = next(iter(counts))
        return Finding(
            "labels", "training labels",
            f"All {data['labels']:,} labels that were looked at are {label}"
            + (f", and the model has {classes} outputs." if classes and classes > 1 else "."),
            ["check how the labels are read, and that each image has its own",
             "shuffle the data, if they are sorted by class: kerazoo.data.load does"], "severe", early=True,
        )
    return None


def imbalance(evidence, at_end):
    data, classes = evidence["data"], evidence["classes"]
    counts = data.get("counts") or {}
    if classes == 1 and set(counts) <= {"0", "1"}:
        classes = 2  # told apart by one output
    if len(counts) < 2 or not classes or classes < 2:
        return None
    missing = classes > len(counts) and data["labels"] >= 20 * classes
    largest, smallest = max(counts.values()), 0 if missing else min(counts.values())
    # Three more is what a class may have of which few or none were seen (the rule of three, at 95 %).
    ratio = largest / (smallest + 3)
    if ratio < IMBALANCE:
        return None
    name = max(counts, key=counts.get)
    share = 100 * largest / data["labels"]
    return Finding(
        "imbalance", "training labels",
        f"Class {name} has {largest:,} of {data['labels']:,} images that were looked at ({share:.0f} %), and the "
        f"rarest of {classes} classes has {smallest:,}. A model that always says {name} is right in {share:.0f} %.",
        ["weigh the classes, unless you do so already: fit(class_weight={label: all images / (classes x images of the "
         "class)})",
         "look at each class's own accuracy instead of the mean, such as in a confusion matrix",
         "draw the rare classes more often, with augmentation= that varies them"],
        "severe" if ratio >= HIGH_IMBALANCE else "warning", early=True,
    )


# Signals.

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
        "severe" if seen[worst] >= ALL_DEAD else "warning", early=worst in early,
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


# The learning rate.

def entropy(evidence):
    """The loss of a model that knows how frequent each class is and no more; None where there is no such."""
    counts = evidence["data"].get("counts") or {}
    total = sum(counts.values())
    if evidence["model"].get("loss") != "categorical":
        return None  # others, such as binary cross-entropy over a thousand outputs, begin elsewhere
    if not evidence["classes"] or evidence["classes"] < 2 or not total or len(counts) < 2:
        return None
    return -sum(count / total * math.log(count / total) for count in counts.values())


def ratios(evidence):
    """[median over the layers of update over weight] of the samples that know it."""
    return [
        float(np.median(list(sample["ratio"].values()))) for sample in evidence["samples"]
        if sample.get("ratio") and any(sample["ratio"].values())
    ]


def rate_high(evidence, at_end):
    epochs, first = evidence["epochs"], evidence["first_loss"]
    seen = ratios(evidence)
    ratio = max(seen, default=0.0)
    floor = entropy(evidence)
    losses = [epoch["loss"] for epoch in epochs if epoch.get("loss") is not None]
    finite = [loss for loss in losses if math.isfinite(loss)]
    first = None if first is None or not math.isfinite(first) else first
    grown, severity = None, "severe"
    # What was logged may hold penalties and weights of classes: under many right answers it says little.
    guessing = learned_of(accuracies(evidence, "accuracy"), evidence) < HALF
    what = evidence.get("broken")
    # No step has caused what was no number before the first.
    begun = all(map(math.isfinite, evidence["samples"][0].get("std", {}).values())) if evidence["samples"] else True
    if what and what["direction"] == "forward" and what["step"] and ratio >= RATIO_HIGH and begun:
        grown = f"the loss became no number after {what['step']} batches"
    elif guessing and first is not None and finite and finite[-1] >= 1.5 * first and (
            finite[-1] >= 0.5 * (floor or first)):
        grown = f"the loss rose from {first:.3g} in the first batch to {finite[-1]:.3g}"
        if seen and ratio < RATIO_LOW:
            return None  # what hardly moves has not caused that
    elif guessing and floor and finite and ratio >= RATIO_HIGH and (len(finite) > 1 or at_end) and (
            min(finite) >= 0.97 * floor):
        grown = f"the loss has not come below {floor:.3g}, which is that of guessing"
    elif len(finite) > 3 and min(finite[-2:]) >= 1.5 * min(finite[:-2]) and finite[-1] >= 0.2 * (floor or finite[0]):
        grown, severity = f"the training loss rose from {min(finite[:-2]):.3g} to {finite[-1]:.3g}", "warning"
    if grown is None:
        return None
    rate = evidence["peak_rate"]
    moved = ""
    if seen:
        moved = f", and one step changed the weights of a layer by {percent(ratio)} (median; 0.1 % is usual)"
    return Finding(
        "rate_high", "" if rate is None else f"learning rate {rate:.3g}", f"With a learning rate of up to "
        f"{rate if rate is None else f'{rate:.3g}'}, {grown}{moved}.",
        ["a learning rate ten times smaller; kerazoo.train.find_learning_rate(model, train) suggests one",
         f"a warm-up: {WARMUP}", *([] if evidence["model"].get("clipped") else [CLIP]),
         *([] if evidence["model"].get("norms") else ["norm=\"batch\", which allows higher rates"])],
        severity,
    )


def rate_low(evidence, at_end):
    epochs, first = evidence["epochs"], evidence["first_loss"]
    losses = [epoch["loss"] for epoch in epochs if epoch.get("loss") is not None and math.isfinite(epoch["loss"])]
    if not losses or first is None or not math.isfinite(first):
        return None
    rates = [epoch.get("rate") for epoch in epochs]
    peak, planned = evidence["peak_rate"], evidence["planned"] or 0
    floor, accuracy = entropy(evidence), accuracies(evidence, "accuracy")
    left = losses[-1] / min(first, floor or first)
    if floor is None and accuracy:
        left = 1 - known(accuracy[-1], evidence)
    scheduled, last = evidence.get("scheduled", True), epochs[-1]
    # Schedules may rise again: either this one has ended, or a whole epoch at such a rate has brought nothing.
    over = last.get("ended") or len(losses) > 1 and losses[-1] > (1 - FLAT) * losses[-2] and (
        last.get("highest") or rates[-1] or 0.0) <= 1e-3 * (peak or 0.0)
    ran_out = (
        rates[-1] is not None and peak and rates[-1] <= 1e-3 * peak and last["epoch"] <= 0.8 * planned and left > 0.1
    )
    if ran_out and over:
        return Finding(
            "rate_low", f"learning rate {rates[-1]:.2g}",
            f"The rate has fallen from {peak:.3g} to {rates[-1]:.2g} by the end of epoch {last['epoch']} of {planned}: "
            f"nothing more is learned. The loss is {losses[-1]:.3g}, and was {first:.3g} at first.",
            ["count the schedule in batches: kerazoo.train.WarmupCosine(peak, epochs, steps=len(train)), where "
             "steps is the number of batches in an epoch", "give the schedule as many epochs as fit"] if scheduled else
            ["let the rate fall less far: min_lr of keras.callbacks.ReduceLROnPlateau, or more patience",
             "stop there: run.callbacks(early_stopping=5)"], "severe" if scheduled else "warning",
        )
    seen = ratios(evidence)
    moves = [max(sample["ratio"].values()) for sample in evidence["samples"] if sample.get("ratio")]
    # A single step may be left out, by a loss scale or until gradients have added up.
    same = len(losses) > 1 and abs(losses[-1] - losses[-2]) <= 1e-4 * losses[-2]
    if moves and not any(moves) and (len(moves) > 1 or same):
        seen = [0.0]
    rising = len(rates) > 1 and None not in rates[-2:] and rates[-1] > 1.01 * rates[-2]
    if not seen:
        return None
    start = evidence["samples"][0]["rate"]
    warming = len(rates) == 1 and None not in (rates[0], start) and rates[0] > 2 * start
    # A warm-up is still to come to its rate, unless there is no training left for it.
    if (rising or warming) and not at_end or not (len(losses) > 1 or at_end):
        return None
    ratio = max(seen)
    slow = (losses[-2] if len(losses) > 1 else first) - losses[-1] < 0.05 * losses[-1]
    if ratio >= RATIO_LOW or left < 0.5 or not slow:
        return None
    return Finding(
        "rate_low", "" if peak is None else f"learning rate {peak:.3g}",
        f"A step changes the weights of a layer by {percent(ratio)} at most (median; 0.1 % is usual), and the loss is "
        f"{losses[-1]:.3g} after {count(len(losses), 'epoch')}, where it was {first:.3g} at first.",
        [*([f"a shorter warm-up, counted in batches: {WARMUP}"] if rising or warming else []),
         "a learning rate ten to a hundred times higher; kerazoo.train.find_learning_rate(model, train) suggests one",
         *adaptive(evidence, ", which scales each step by itself")], "severe",
    )


def adaptive(evidence, why=""):
    """To try an optimizer that adapts its steps, where there is none."""
    if evidence["model"].get("optimizer") in ADAPTIVE:
        return []
    return [f"kerazoo.train.optimizer(model, \"adamw\", 1e-3){why}"]


# Generalization.

def accuracies(evidence, name):
    return [epoch[name] for epoch in evidence["epochs"] if epoch.get(name) is not None]


def learned(evidence):
    """Which share of what can be learned has been, by training accuracy or loss, whichever says more; None: unknown."""
    last, floor = evidence["epochs"][-1], entropy(evidence)
    shares = [] if floor is None or last.get("loss") is None else [max(0.0, 1 - last["loss"] / floor)]
    if last.get("accuracy") is not None:
        shares.append(known(last["accuracy"], evidence))
    return max(shares, default=None)


def learned_of(accuracy, evidence):
    """The same by the last of the accuracies alone; 0 where there are none."""
    return known(accuracy[-1], evidence) if accuracy else 0.0


def known(accuracy, evidence):
    """Of accuracy: 0 for guessing the most frequent class, 1 for all right."""
    counts = evidence["data"].get("counts") or {}
    total = sum(counts.values())
    chance = max(counts.values()) / total if total and len(counts) > 1 else 1 / max(evidence["classes"] or 2, 2)
    return (accuracy - chance) / max(1 - chance, 1e-6)


def overfitting(evidence, at_end):
    epochs = [epoch for epoch in evidence["epochs"] if epoch.get("val_loss") is not None
              and math.isfinite(epoch["val_loss"]) and epoch.get("loss") is not None]
    if len(epochs) < STRIP + 1:
        return None
    losses = [epoch["val_loss"] for epoch in epochs]
    best = int(np.argmin(losses[:-STRIP]))
    lowest = losses[best]
    loss = 100 * (min(losses[-STRIP:]) / lowest - 1) if lowest > 0 else 0.0  # Prechelt's, of each epoch of the strip
    falls = epochs[-1]["loss"] < epochs[best]["loss"]
    gaps = [epoch["accuracy"] - epoch["val_accuracy"] for epoch in epochs
            if epoch.get("accuracy") is not None and epoch.get("val_accuracy") is not None]
    if gaps:
        wide = len(gaps) >= STRIP and min(gaps[-STRIP:]) > GAP
        by_heart = known(epochs[-1]["accuracy"], evidence) > 0.9
        # Validation that neither rises nor falls, while nearly all of the training images are known by heart.
        stalled = min(losses[-STRIP:]) > 0.98 * min(losses[:-STRIP])
        clear = len(gaps) >= STRIP and min(gaps[-STRIP:]) > CLEAR_GAP and by_heart and stalled
    else:
        wide, clear = losses[-1] > 1.5 * epochs[-1]["loss"], False
    if not (wide and falls and loss > GENERALIZATION) and not clear:
        return None
    where = epochs[best]["epoch"] if loss > 0 else epochs[int(np.argmin(losses))]["epoch"]
    slope = (losses[-1] - losses[-STRIP]) / (STRIP - 1)
    gap = "" if not gaps else (
        f" Accuracy is {percent(epochs[-1]['accuracy'])} in training and {percent(epochs[-1]['val_accuracy'])} in "
        f"validation, a gap of {100 * gaps[-1]:.1f} points, {100 * gaps[0]:.1f} at first."
    )
    model = evidence["model"]
    few = evidence["data"].get("total") or 0
    return Finding(
        "overfitting", f"since epoch {where}",
        f"Validation loss was lowest in epoch {where} ({min(losses):.3g}) and is {losses[-1]:.3g} now ({slope:+.2g} an "
        f"epoch), while training loss went on to {epochs[-1]['loss']:.3g}.{gap}",
        ["more images" + (f" (these are {few:,})" if 0 < few < 2000 else "") + ", or published weights and "
         "kerazoo.train.fine_tune, with more layers frozen: kerazoo.train.freeze(model, up_to=...)",
         ("stronger augmentation: kerazoo.augment.RandAugment, MixUp or CutMix" if model.get("augmented") else
          "augmentation=[kerazoo.augment.RandomAffine(rotation=10, translation=0.1), kerazoo.augment.MixUp(0.2)]"),
         "dropout=0.3 to 0.5" + (f" (it is {model['dropout']:.2g})" if model.get("dropout") else ""),
         f"weight_decay=1e-4 to 5e-4 of \"sgd\" (0.01 to 0.1 of \"adamw\") in kerazoo.train.optimizer"
         + (f"; it is {model['decay']:.2g}" if model.get("decay") else ""),
         "label_smoothing=0.1 in the loss",
         "the weights of the best epoch: run.callbacks(early_stopping=5)"],
    )


def flat(evidence, epochs):
    """Whether the training loss has not fallen by a hundredth over so many epochs, at a rate that was still there."""
    losses = [epoch["loss"] for epoch in evidence["epochs"] if epoch.get("loss") is not None]
    if len(losses) < epochs + 1 or not all(map(math.isfinite, losses)):
        return False
    rates, peak = [epoch.get("rate") for epoch in evidence["epochs"]], evidence["peak_rate"]
    # At the end of a schedule nothing moves, and that is as it should be.
    if peak and rates[-epochs] is not None and rates[-epochs] < 0.1 * peak:
        return False
    return min(losses[-epochs:]) > (1 - FLAT) * min(losses[:-epochs])


def underfitting(evidence, at_end):
    train, validation = accuracies(evidence, "accuracy"), accuracies(evidence, "val_accuracy")
    if not train or not flat(evidence, FLAT_EPOCHS):
        return None
    share = learned(evidence)
    if share is None or not UNLEARNED <= share < HALF or (validation and train[-1] - validation[-1] > GAP):
        return None
    model = evidence["model"]
    return Finding(
        "underfitting", f"the last {FLAT_EPOCHS} epochs",
        f"Training accuracy stays at {percent(train[-1])}"
        + (f", validation accuracy at {percent(validation[-1])}" if validation else "")
        + f", and the training loss has not fallen by 1 % in {FLAT_EPOCHS} epochs: the model cannot tell the training "
        "images apart.",
        ["a larger model: more units or stages, such as kerazoo.resnet20 in the place of lenet5",
         *([f"less dropout (it is {model['dropout']:.2g})"] if model.get("dropout") else []),
         *(["weaker augmentation"] if model.get("augmented") else []),
         "less weight_decay", "a lower learning rate at the end: kerazoo.train.WarmupCosine",
         *([] if model.get("norms") else ["norm=\"batch\""])],
    )


def plateau(evidence, at_end):
    losses = [epoch["loss"] for epoch in evidence["epochs"] if epoch.get("loss") is not None]
    if not flat(evidence, FLAT_EPOCHS):
        return None
    train = accuracies(evidence, "accuracy")
    share = learned(evidence)
    if share is not None and share > 0.95:
        return None
    unlearned = share is not None and share < UNLEARNED
    remedies = [
        "divide the rate by ten: run.callbacks(plateau=5), or a schedule, kerazoo.train.WarmupCosine or WarmupStep",
        *[f"another optimizer: {one}" for one in adaptive(evidence)],
        "a larger model, if the loss is too high for what you need",
    ]
    if unlearned:
        remedies = ["check that each label belongs to its image: show some, with kerazoo.visualize.mistakes", *remedies]
    return Finding(
        "plateau", f"the last {FLAT_EPOCHS} epochs",
        f"The training loss has not fallen by 1 % in {FLAT_EPOCHS} epochs (now {losses[-1]:.3g})"
        + (f" at an accuracy of {percent(train[-1])}" if train else "")
        + (", which is that of guessing, although gradients and steps are of the usual size." if unlearned else
           ", at an unchanged learning rate." + " What is left may be all that there is." * (share is None)),
        remedies, "note" if share is None else "warning",
    )


def percent(share):
    return f"{100 * share:.3g} %"


def count(number, noun):
    return f"{number} {noun}{'s' * (number != 1)}"


def some(names, most=4):
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def sentence(text):
    """With a capital in front; the rest, such as ReLU, stays."""
    return text[:1].upper() + text[1:]
