"""What the evidence of a training comes to: figures that several rules go by.

The evidence is a dictionary of plain data that `kerazoo.train.Diagnostics` gathers:

    data        what the labels and pixels are like (`kerazoo.train.diagnosis_data`)
    classes     outputs of the model, or None
    first_loss  as logged with the first batch, before anything was learned
    epochs      [{epoch, loss, accuracy, val_loss, val_accuracy, rate, highest, ended, known}], epoch counted from 1;
                highest: rate in it; ended: whether the schedule's end lies behind; known: the accuracy on the sample at
                inference, or None: it is only taken where validation is far below training
    planned     epochs that fit was asked for
    samples     [{epoch, step, loss, rate, std, peak, gradient, ratio, dead, input}], the first one before training;
                all but the first four are by layer
    kernels     {layer: numbers in its kernel}, in the order of the graph
    units       {layer: units that can be zero}, of activations such as ReLU
    back        {layer: units that were silent once and are active again}
    broken      {epoch, step, where, direction, what} once something became no number
    outputs     [lowest, highest, smallest and largest sum of an image's] before training
    trainable   how many weights training can change
    sizes       {layer: norm of its kernel when it was first measured}
    shrunk      {layer: norm of its kernel now over that}
    ahead       {within, beyond} of a schedule that still rises at the end of the epochs planned: its highest rate in
                them, and in 10,000 times as many
    peak_rate   the highest learning rate so far
    scheduled   whether the rate follows a schedule
    model       {norms, normalized_first, momentum, activations, dropout, augmented, loss, from_logits, ends_in,
                optimizer, clipped, decay, half}: what the remedies, and some of the rules, depend on

Thresholds are those of the literature or of arithmetic, and stand with their source here or above the rules.
"""
import math

import numpy as np

# Learning rates. "A rough heuristic is that this ratio should be somewhere around 1e-3" (Karpathy, CS231n notes,
# Neural Networks Part 3, "Ratio of weights:updates"): two decades above and one below are far from it.
RATIO_HIGH, RATIO_USUAL, RATIO_LOW = 1e-1, 1e-3, 1e-4
# Standard deviations above what chance gives; of a normal distribution, one in a thousand is beyond three.
UNRELATED = 3.0
HALF, UNLEARNED = 0.5, 0.1  # of what can be learned
FLAT = 0.01  # of a loss: less in an epoch, or in several, is no improvement
APART, BY_HEART = 0.2, 0.1  # of accuracy
SHRUNK = 0.1  # of the norm that kernels had: decay has won
BALANCED = 1.5  # times as many images as an even share
STRIP = 3  # epochs in a row that count as a trend, a little below Prechelt's strips of five


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


def left_of_kernels(evidence):
    """The share of their norms at first that kernels have now, the median of them."""
    return float(np.median([*(evidence.get("shrunk") or {"": 1.0}).values()]))


def beyond_training(evidence):
    """Whether the last epoch's validation is at the accuracy of guessing, while training is not."""
    last = evidence["epochs"][-1]
    return last.get("accuracy") is not None and last.get("val_accuracy") is not None and (
        known(last["accuracy"], evidence) > HALF and is_guess(last["val_accuracy"], evidence)
    )


def lead(evidence):
    """(least lead of validation over training in accuracy, in the last epochs, and how far validation rose in them).

    None where it is not known, or is as it should be: augmentation makes training harder.
    """
    pairs = [(row.get("accuracy"), row.get("val_accuracy")) for row in evidence["epochs"][-STRIP:]]
    if len(pairs) < STRIP or any(None in pair for pair in pairs) or evidence["model"].get("augmented"):
        return None
    return min(after - before for before, after in pairs), pairs[-1][1] - pairs[0][1]


def learns_by_heart(evidence):
    """Whether training has left guessing and validation never has, which no cause in the model or the rate explains."""
    train, validation = logged(evidence, "accuracy"), logged(evidence, "val_accuracy")
    return len(validation) >= STRIP and bool(train) and train[-1] - validation[-1] > BY_HEART and all(
        is_guess(accuracy, evidence) for accuracy in validation
    )


def far_apart(evidence):
    """Whether training knows much more than validation, in a model that computes otherwise at inference."""
    last = evidence["epochs"][-1]
    return bool(evidence["model"].get("norms")) and None not in (last.get("accuracy"), last.get("val_accuracy")) and (
        last["accuracy"] - last["val_accuracy"] > APART
    )


def is_guess(accuracy, evidence):
    """Whether an accuracy may be that of always naming the most frequent class; of many classes, guessing is little."""
    return known(accuracy, evidence) < UNLEARNED and accuracy < 2 * chance(evidence)


def logged(evidence, name):
    """One figure of the epochs that have it, such as "loss"."""
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
    return (accuracy - chance(evidence)) / max(1 - chance(evidence), 1e-6)


def chance(evidence):
    """The accuracy of always naming the most frequent class."""
    counts = evidence["data"].get("counts") or {}
    total = sum(counts.values())
    return max(counts.values()) / total if total and len(counts) > 1 else 1 / max(evidence["classes"] or 2, 2)


def balanced(evidence):
    """Whether the most frequent class is not much more so than others: of the rest, accuracy says little."""
    classes = max(len(evidence["data"].get("counts") or {}), evidence["classes"] or 2)
    return chance(evidence) < BALANCED / classes


def improves(evidence):
    """Whether training has learned most of what can be learned, or its loss still falls from epoch to epoch."""
    losses = logged(evidence, "loss")
    share = learned(evidence) if evidence["epochs"] else None
    return (share or 0.0) >= HALF or len(losses) > 1 and losses[-1] < (1 - FLAT) * losses[-2]
