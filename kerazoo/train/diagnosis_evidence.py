"""What the evidence of a training comes to: figures that several rules go by.

The evidence is a dictionary of plain data that `kerazoo.train.Diagnostics` gathers:

    data        what the labels and pixels are like (`kerazoo.train.diagnosis_data`)
    classes     outputs of the model, or None
    first_loss  as logged with the first batch, before anything was learned
    epochs      [{epoch, loss, accuracy, val_loss, val_accuracy, rate, highest, ended, known}], epoch counted from 1;
                highest: rate in it; ended: whether the schedule's end lies behind; known: the accuracy on the sample at
                inference, or None: it is only taken where validation is at that of guessing, and training is not
    planned     epochs that fit was asked for
    samples     [{epoch, step, loss, rate, std, peak, gradient, ratio, dead, input}], the first one before training;
                all but the first four are by layer
    kernels     {layer: numbers in its kernel}, in the order of the graph
    units       {layer: units that can be zero}, of activations such as ReLU
    back        {layer: units that were silent once and are active again}
    broken      {epoch, step, where, direction, what} once something became no number
    outputs     [lowest, highest, smallest and largest sum of an image's] before training
    trainable   how many weights training can change
    shrunk      {layer: norm of its kernel over what that was before training}
    ahead       {within, beyond} of a schedule: its highest rate in the epochs planned, and in 10,000 times as many
    peak_rate   the highest learning rate so far
    scheduled   whether the rate follows a schedule
    model       {norms, activations, dropout, augmented, loss, from_logits, ends_in, optimizer, clipped, decay, half}:
                what the remedies, and some of the rules, depend on

The thresholds are those of the literature or of arithmetic, and stand below with their source.
"""
import math

import numpy as np

HALF, UNLEARNED = 0.5, 0.1  # of what can be learned
FLAT = 0.01  # of a loss: less in an epoch, or in several, is no improvement
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


def beyond_training(evidence):
    """Whether the last epoch's validation is at the accuracy of guessing, while training is not."""
    last = evidence["epochs"][-1]
    return last.get("accuracy") is not None and last.get("val_accuracy") is not None and (
        known(last["accuracy"], evidence) > HALF and known(last["val_accuracy"], evidence) < UNLEARNED
    )


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
