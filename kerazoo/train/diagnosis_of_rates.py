"""What shows that a learning rate is too high or too low."""
import math

from kerazoo.train.diagnosis_evidence import (
    FLAT, HALF, RATIO_HIGH, RATIO_LOW, RATIO_USUAL, SHRUNK, STRIP, UNRELATED, logged, entropy, is_guess, known,
    learned_of, left_of_kernels, ratios,
)
from kerazoo.train.findings import CLIP, WARMUP, Finding, adaptive, count, percent

AHEAD = 0.1  # of the highest rate of a schedule: less in the whole training is a warm-up that does not end


def frozen(evidence, at_end):
    if evidence.get("trainable") != 0:
        return None
    return Finding(
        "frozen", "all layers", "No weight of the model is trainable: training changes nothing.",
        ["kerazoo.train.unfreeze(model), or model.trainable = True, and compile anew",
         "for transfer learning, freeze all but the head: kerazoo.train.freeze(model), or kerazoo.train.fine_tune"],
        "severe", early=True,
    )


def rate_high(evidence, at_end):
    first = evidence["first_loss"]
    seen, what = ratios(evidence), evidence.get("broken")
    if what and what["direction"] == "backward":
        seen = [one for one in seen if math.isfinite(one)]  # no step has done that
    ratio = max(seen, default=0.0)
    floor = entropy(evidence)
    losses = logged(evidence, "loss")
    finite = [loss for loss in losses if math.isfinite(loss)]
    first = None if first is None or not math.isfinite(first) else first
    grown, severity = None, "severe"
    # What was logged may hold penalties and weights of classes: under many right answers it says little.
    guessing = learned_of(logged(evidence, "accuracy"), evidence) < HALF
    # No step has caused what was no number before the first.
    start = evidence["samples"][0] if evidence["samples"] else {}
    begun = all(map(math.isfinite, start.get("std", {}).values())) and math.isfinite(start.get("loss") or 0.0)
    # Of kernels that a penalty has shrunk, any step changes much.
    shrunk = left_of_kernels(evidence) < SHRUNK
    if what and what["direction"] == "forward" and what["step"] and ratio >= RATIO_HIGH and begun:
        grown = f"the loss became no number after {what['step']} batches"
    elif guessing and first is not None and finite and finite[-1] >= 1.5 * first and (
            finite[-1] >= 0.5 * (floor or first)):
        grown = f"the loss rose from {first:.3g} in the first batch to {finite[-1]:.3g}"
        if seen and ratio < RATIO_LOW:
            return None  # what hardly moves has not caused that
    elif guessing and floor and finite and ratio >= RATIO_HIGH and not shrunk and (len(finite) > 1 or at_end) and (
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
    return never_warm(evidence) or too_low(evidence, at_end)


def never_warm(evidence):
    """A warm-up that is longer than the training."""
    ahead = evidence.get("ahead")
    if not ahead or ahead["within"] >= AHEAD * ahead["beyond"]:
        return None
    return Finding(
        "rate_low", "the schedule",
        f"In this training of {count(evidence['planned'], 'epoch')}, the rate comes to {ahead['within']:.2g} at most, "
        f"and would come to {ahead['beyond']:.2g} later: the warm-up is longer than the training.",
        [f"a warm-up of some epochs, where an epoch has `steps` batches: {WARMUP}", "train for longer"], "severe",
        early=True,
    )


def at_rate(evidence):
    """The samples at half the highest rate or more: steps in a warm-up, or at a schedule's end, are to be small."""
    least = HALF * (evidence["peak_rate"] or 0.0)
    return [sample for sample in evidence["samples"] if sample.get("rate") is None or sample["rate"] >= least]


def too_low(evidence, at_end):
    """A rate that has run out, or under which hardly anything moves."""
    epochs, first = evidence["epochs"], evidence["first_loss"]
    losses = [loss for loss in logged(evidence, "loss") if math.isfinite(loss)]
    if not losses or first is None or not math.isfinite(first):
        return None
    rates = [epoch.get("rate") for epoch in epochs]
    peak, planned = evidence["peak_rate"], evidence["planned"] or 0
    floor, accuracy = entropy(evidence), logged(evidence, "accuracy")
    left = losses[-1] / min(first, floor or first)
    if floor is None and accuracy:
        left = 1 - known(accuracy[-1], evidence)
    scheduled, last = evidence.get("scheduled", True), epochs[-1]
    # Schedules may rise again: either this one has ended, or a whole epoch at such a rate has brought nothing.
    over = last.get("ended") or len(losses) > 1 and losses[-1] > (1 - FLAT) * losses[-2] and (
        last.get("highest") or rates[-1] or 0.0) <= 1e-3 * (peak or 0.0)
    # Since when it has been so, to the last epoch.
    spent = next((epoch["epoch"] for place, epoch in enumerate(epochs) if peak and all(
        rate is not None and rate <= 1e-3 * peak for rate in rates[place:])), math.inf)
    ran_out = spent <= 0.8 * planned and left > 0.1
    if ran_out and over:
        return Finding(
            "rate_low", f"learning rate {rates[-1]:.2g}",
            f"The rate has fallen from {peak:.3g} to {rates[-1]:.2g} by the end of epoch {spent} of {planned}: "
            f"nothing more is learned. The loss is {losses[-1]:.3g}, and was {first:.3g} at first.",
            ["count the schedule in batches: kerazoo.train.WarmupCosine(peak, epochs, steps=len(train)), where "
             "steps is the number of batches in an epoch", "give the schedule as many epochs as fit"] if scheduled else
            ["let the rate fall less far: min_lr of keras.callbacks.ReduceLROnPlateau, or more patience",
             "stop there: run.callbacks(early_stopping=5)"], "severe" if scheduled else "warning",
        )
    samples = at_rate(evidence)
    seen = ratios({**evidence, "samples": samples})
    moves = [max(sample["ratio"].values()) for sample in samples if sample.get("ratio")]
    # A single step may be left out, by a loss scale or until gradients have added up.
    same = len(losses) > 1 and abs(losses[-1] - losses[-2]) <= 1e-4 * losses[-2]
    if moves and not any(moves) and (len(moves) > 1 or same):
        seen = [0.0]
    rising = len(rates) > 1 and None not in rates[-2:] and rates[-1] > 1.01 * rates[-2]
    start = evidence["samples"][0]["rate"] if evidence["samples"] else None
    warming = len(rates) == 1 and None not in (rates[0], start) and rates[0] > 2 * start
    # A warm-up is still to come to its rate, unless there is no training left for it.
    if (rising or warming) and not at_end or not (len(losses) > 1 or at_end):
        return None
    ratio = max(seen, default=0.0)
    slow = (losses[-2] if len(losses) > 1 else first) - losses[-1] < 0.05 * losses[-1]
    # Steps below the usual, a loss that falls in each epoch, and has got nowhere by the end of them.
    # The first ones may be larger: plain gradient descent has the steepest part of the way before it.
    later = seen[-1] if seen else 0.0
    neighbors = evidence["data"].get("neighbors")
    learnable = not neighbors or neighbors["deviations"] > UNRELATED  # where labels say nothing, no rate helps
    creeps = at_end and learnable and later < RATIO_USUAL and left > 0.9 and (
        len(losses) >= STRIP and losses == sorted(losses, reverse=True)) and (
        not accuracy or is_guess(accuracy[-1], evidence))
    if not creeps and (not seen or ratio >= RATIO_LOW or left < 0.5 or not slow):
        return None
    ratio, most = (later, "in the end") if creeps else (ratio, "at most")
    moved = f"A step changes the weights of a layer by {percent(ratio)} {most} (median; 0.1 % is usual), and the"
    return Finding(
        "rate_low", "" if peak is None else f"learning rate {peak:.3g}",
        f"{moved if seen else 'The'} loss is {losses[-1]:.3g} after {count(len(losses), 'epoch')}, where it "
        f"was {first:.3g} at first.",
        [*([f"a shorter warm-up, counted in batches: {WARMUP}"] if rising or warming else []),
         "a learning rate ten to a hundred times higher; kerazoo.train.find_learning_rate(model, train) suggests one",
         *adaptive(evidence, ", which scales each step by itself")], "severe",
    )
