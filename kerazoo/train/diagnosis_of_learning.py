"""What losses and logged show: overfitting, underfitting, plateaus."""
import math

import numpy as np

from kerazoo.train.diagnosis_evidence import (
    APART, FLAT, HALF, SHRUNK, STRIP, UNLEARNED, UNRELATED, logged, balanced, entropy, is_guess, known, lead, learned,
    left_of_kernels,
)
from kerazoo.train.findings import Finding, adaptive, percent

# Generalization loss, in percent of the lowest validation loss (Prechelt, Early Stopping - But When?, 1998: GL of 5).
GENERALIZATION = 5.0
GAP, CLEAR_GAP = 0.05, 0.10  # of accuracy, between training and validation
MOST = 0.8  # of what can be learned
FLAT_EPOCHS = 5  # a plateau: epochs without an improvement by one percent (FLAT)


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
         "weight_decay=1e-4 to 5e-4 of \"sgd\" (0.01 to 0.1 of \"adamw\") in kerazoo.train.optimizer"
         + (f"; it is {model['decay']:.2g}" if model.get("decay") else ""),
         "label_smoothing=0.1 in the loss",
         "the weights of the best epoch: run.callbacks(early_stopping=5)"],
    )


def flat(evidence, epochs):
    """Whether the training loss has not fallen by a hundredth over so many epochs, at a rate that was still there."""
    losses = logged(evidence, "loss")
    if len(losses) < epochs + 1 or not all(map(math.isfinite, losses)):
        return False
    rates, peak = [epoch.get("rate") for epoch in evidence["epochs"]], evidence["peak_rate"]
    # At the end of a schedule nothing moves, and that is as it should be.
    if peak and rates[-epochs] is not None and rates[-epochs] < 0.1 * peak:
        return False
    return min(losses[-epochs:]) > (1 - FLAT) * min(losses[:-epochs])


def guessed(evidence):
    """Whether the last epochs have the loss and the accuracy of guessing, and are not on their way to others."""
    losses, floor = logged(evidence, "loss"), entropy(evidence)
    train = logged(evidence, "accuracy")
    if len(losses) < STRIP or floor is None or not balanced(evidence):
        return False
    stays = min(losses) > (1 - STRIP * FLAT) * losses[0]
    was_better = bool(train) and not is_guess(max(train), evidence)
    return (stays or was_better) and min(losses[-STRIP:]) > (1 - STRIP * FLAT) * floor and all(
        is_guess(accuracy, evidence) for accuracy in train[-STRIP:]
    )


def drops_too_much(evidence):
    """Whether dropout drops more than it keeps, and training is far behind validation, which stands still."""
    known_lead = lead(evidence)
    if known_lead is None or evidence["model"].get("dropout", 0.0) <= HALF:
        return False
    # The accuracy of training is a mean over the epoch: behind, as long as much is learned in one.
    least, rise = known_lead
    return least > APART and rise < APART / STRIP


def underfitting(evidence, at_end):
    train, validation = logged(evidence, "accuracy"), logged(evidence, "val_accuracy")
    over = flat(evidence, FLAT_EPOCHS)
    shrunk = left_of_kernels(evidence)
    model = evidence["model"]
    starved = at_end and shrunk < SHRUNK  # decay has had its way, at any rate
    drowned = at_end and bool(train) and drops_too_much(evidence)
    if not train or not over and not starved and not drowned and not (at_end and guessed(evidence)):
        return None
    share = learned(evidence)
    if share is None or share >= (MOST if starved or drowned else HALF) or (
            validation and train[-1] - validation[-1] > GAP):
        return None
    neighbors = evidence["data"].get("neighbors")
    if share < UNLEARNED and not (neighbors and neighbors["deviations"] > UNRELATED):
        return None  # there may be nothing to learn: a plateau, which says so
    decays = [f"less weight_decay (it is {model['decay']:.2g})" if model.get("decay") else
              "less weight_decay, or kernel_regularizer"]
    weaker = [
        *([f"less dropout (it is {model['dropout']:.2g})"] if model.get("dropout") else []),
        *(["weaker augmentation"] if model.get("augmented") else []),
    ]
    strong = shrunk < SHRUNK or model.get("dropout", 0.0) > HALF
    larger = "a larger model: more units or stages, such as kerazoo.resnet20 in the place of lenet5"
    first = [*(decays if shrunk < SHRUNK else []), *weaker, larger] if strong else [larger, *weaker]
    first = weaker if drowned else first
    return Finding(
        "underfitting", f"the last {FLAT_EPOCHS} epochs" if over else "",
        f"Training accuracy {'stays at' if over or not drowned else 'has come to'} {percent(train[-1])}"
        + (f", validation accuracy at {percent(validation[-1])}" if validation else "")
        + (f", and the training loss has not fallen by 1 % in {FLAT_EPOCHS} epochs" if over else "")
        + (f", although {percent(neighbors['right'] / neighbors['images'])} of images have the label of the image that "
           "is most like them" if share < UNLEARNED else "")
        + (f": dropout of {model['dropout']:.2g} leaves too little to learn from." if drowned else
           ": the model cannot tell the training images apart.")
        + (f" Its kernels have shrunk to {percent(shrunk)} of what they were (median)." if shrunk < SHRUNK else ""),
        [*first, *(decays if shrunk >= SHRUNK else []), "a lower learning rate at the end: kerazoo.train.WarmupCosine",
         *([] if model.get("norms") else ["norm=\"batch\""])],
    )


def plateau(evidence, at_end):
    losses = logged(evidence, "loss")
    over = flat(evidence, FLAT_EPOCHS)
    if not over and not (at_end and guessed(evidence)):
        return None
    train = logged(evidence, "accuracy")
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
        "plateau", f"the last {FLAT_EPOCHS} epochs" if over else "",
        (f"The training loss has not fallen by 1 % in {FLAT_EPOCHS} epochs (now {losses[-1]:.3g})" if over else
         f"The training loss has come from {losses[0]:.3g} to {losses[-1]:.3g} in {len(losses)} epochs")
        + (f" at an accuracy of {percent(train[-1])}" if train else "")
        + (", which is that of guessing, although gradients and steps are of the usual size." if unlearned else
           ", at an unchanged learning rate." + " What is left may be all that there is." * (share is None)),
        remedies, "note" if share is None else "warning",
    )
