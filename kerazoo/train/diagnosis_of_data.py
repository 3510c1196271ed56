"""What images and labels show."""
import math

from kerazoo.train.diagnosis_evidence import (
    APART, HALF, STRIP, UNRELATED, logged, balanced, beyond_training, chance, entropy, is_guess, known,
    lead, learns_by_heart,
)
from kerazoo.train.findings import Finding, percent

# Classes with ten and a hundred times as many images (Leevy et al. 2018 call 100:1 to 10,000:1 high imbalance).
IMBALANCE, HIGH_IMBALANCE = 10.0, 100.0
# Of what the first layer with weights takes: means near zero and deviations near one are wanted (LeCun et al.,
# Efficient BackProp, 1998, section 4.3); pixels divided by 255 once too often have deviations of 0.001 to 0.02.
SMALL_INPUT, LARGE_INPUT = 0.05, 20.0
FAR = 10  # times the loss of guessing
FORGOTTEN = 3  # times 1 / (1 - momentum) batches, after which a twentieth of the start is left
LITTLE_DROPOUT = 0.3
MANY = 100  # batches, after which averages should be of use
IN_A_ROW = 0.9  # of the images
COMPARED, EXPECTED = 200, 5  # images, at least, to say that labels do not fit, and of them to be right by chance
SUM = 1e-2  # by which a softmax in half precision may miss 1


def comes_sorted(evidence):
    """By class, so that what is looked at first says nothing of how many there are of each."""
    data = evidence["data"]
    counts = data.get("counts") or {}
    return data.get("in_a_row", 0.0) > IN_A_ROW and len(counts) > 1 and chance(evidence) < HALF


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
    # Means may be taken off for a network that was trained so; one that begins far off was not.
    first, floor = evidence.get("first_loss"), entropy(evidence)
    far = first is not None and floor is not None and not first <= FAR * floor and std > LARGE_INPUT
    if (low >= 0 or far) and high > LARGE_INPUT and not evidence["model"].get("normalized_first"):
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
    if comes_sorted(evidence):
        return Finding(
            "labels", "training labels",
            f"The data come sorted by class: {percent(data['in_a_row'])} of the images have the label of the one "
            "before them. Each batch teaches one class, and forgets the others.",
            ["shuffle the data: kerazoo.data.load does, or dataset.shuffle(number of images) before batch"], "severe",
            early=True,
        )
    return None


def noisy(evidence, at_end):
    """Many labels in training that are wrong: what is learned all the same holds for better labels elsewhere."""
    known_lead = lead(evidence)
    if known_lead is None or evidence["model"].get("dropout", 0.0) > LITTLE_DROPOUT or not balanced(evidence):
        return None  # these make training harder than validation, as they are to
    # In the mean of an epoch, training is behind: not by much, once validation stands still.
    least, rise = known_lead
    if least < APART or rise > APART / STRIP:
        return None
    last = evidence["epochs"][-1]
    return Finding(
        "labels", "training labels",
        f"Accuracy is {percent(last['val_accuracy'])} in validation and {percent(last['accuracy'])} in training, "
        "without augmentation or much dropout: what is learned holds elsewhere, and not for many of the images that it "
        "was learned from.",
        ["look at training images that the model is sure about and that have another label: "
         "kerazoo.visualize.mistakes", "check whether images were skipped or sorted, and labels were not",
         "label_smoothing=0.1 in the loss, if they cannot be repaired"],
    )


def unrelated(evidence, at_end):
    """Labels that are those of other images, to be asked only where nothing else explains that nothing is learned."""
    neighbors, data = evidence["data"].get("neighbors"), evidence["data"]
    if not neighbors or neighbors["images"] < COMPARED or neighbors["deviations"] > UNRELATED or (
            neighbors["images"] * neighbors["chance"] < EXPECTED or not balanced(evidence)):
        return None
    if data.get("alike") or evidence["samples"] and (evidence["samples"][0].get("input") or [0, 1])[1] < SMALL_INPUT:
        return None  # there is nothing in the images to be alike in
    train, seen = logged(evidence, "accuracy"), logged(evidence, "val_accuracy")
    known_by_heart = bool(train) and known(train[-1], evidence) > HALF
    by_heart = known_by_heart or at_end and learns_by_heart(evidence)
    # A mean: of few images, now and then more are right by chance. What is not known by heart may yet be learned.
    last = [*(seen or train)[-STRIP:], *([] if by_heart else train[-1:])]
    if len(seen or train) < STRIP or not (by_heart and seen or at_end) or not (
            is_guess(last[-1], evidence) and is_guess(sum(last) / len(last), evidence)):
        return None
    accuracy = f"Accuracy in validation is {percent(seen[-1])}, that of guessing" if seen else (
        f"Accuracy is {percent(train[-1])}, that of guessing"
    )
    return Finding(
        "labels", "training labels",
        f"{accuracy}, and images that look alike have the same label no more often than by chance: "
        f"{neighbors['right']:,} of {neighbors['images']:,}, and {neighbors['images'] * neighbors['chance']:.0f} would "
        "be chance." + (f" The training images are being learned by heart ({percent(train[-1])})." if by_heart else ""),
        ["look at some images with their labels: whether images were shuffled, sorted or filtered, and labels not",
         "if they do belong together, start from published weights and kerazoo.train.fine_tune: it may be a difference "
         "that pixels do not show"], "severe",
    )


def loss(evidence, at_end):
    """Probabilities that are taken for logits, or logits for probabilities."""
    outputs, model, classes = evidence.get("outputs"), evidence["model"], evidence["classes"]
    if not outputs or not classes or not all(map(math.isfinite, outputs)):
        return None
    (lowest, highest, least, most), last = outputs, model.get("ends_in")
    within = lowest >= -SUM and highest <= 1 + SUM
    shares = within and abs(least - 1) < SUM and abs(most - 1) < SUM
    kind, logits = model.get("loss"), model.get("from_logits")
    seen = f"The outputs go from {lowest:.3g} to {highest:.3g}"
    if kind == "categorical" and classes > 1 and logits and shares:
        what, remedies = (
            f"{seen}, and those of an image sum to 1: they are probabilities. The loss takes them for logits"
        ), [
            "from_logits=False in the loss",
            "or no softmax at the end: classifier_activation=None of kerazoo's builders",
        ]
    elif kind == "categorical" and classes > 1 and logits is False and lowest < -SUM:  # sums are divided by
        what, remedies = f"{seen}: they are logits. The loss takes them for probabilities", [
            "from_logits=True in the loss, such as keras.losses.SparseCategoricalCrossentropy(from_logits=True) in the "
            "place of its name", "or classifier_activation=\"softmax\" of kerazoo's builders",
        ]
    elif classes == 1 and last == "softmax":
        what, remedies = "The output is a softmax over a single number, which is always 1", [
            "activation=\"sigmoid\" for one output, or two outputs and a categorical loss",
        ]
    elif kind == "binary" and logits and last == "sigmoid":
        what, remedies = f"{seen}, by a sigmoid: they are probabilities. The loss takes them for logits", [
            "from_logits=False in the loss", "or no sigmoid at the end",
        ]
    elif kind == "binary" and logits is False and not within:
        what, remedies = f"{seen}: they are logits. The loss takes them for probabilities", [
            "from_logits=True in the loss: keras.losses.BinaryCrossentropy(from_logits=True)",
            "or activation=\"sigmoid\" at the end",
        ]
    elif kind and last in ("relu", "relu6"):
        what, remedies = f"{seen}, and end in a ReLU: what is below 0 is cut off, and nothing is learned from it", [
            "no activation at the end, where from_logits=True is in the loss",
        ]
    else:
        return None
    return Finding("loss", "outputs and loss", f"{what}.", remedies, "severe", early=True)


def averages(evidence, at_end):
    if not evidence["model"].get("norms") or not (looked := looked_again(evidence)):
        return None
    sides, guess, seen = looked
    # Averages take their time: what they do not know yet they may know soon.
    batches, momentum = evidence["samples"][-1]["step"], evidence["model"].get("momentum") or 0.0
    due = batches * (1 - momentum) >= FORGOTTEN or at_end and (guess or batches >= MANY)
    if not due or len(sides) < (2 if guess else STRIP) or any(sides[-STRIP:]):
        return None
    return Finding(
        "averages", "batch norms",
        f"{seen}: the means and deviations that batch norms keep for inference are not those of the batches.",
        ["train on: their averages take some hundred batches to follow (a momentum of 0.99 forgets one percent a "
         "batch)", "larger batches, and shuffled ones", "a lower learning rate at the end: "
         "kerazoo.train.WarmupCosine", "norm=\"group\", which keeps no averages"],
    )


def validation(evidence, at_end):
    return larger_losses(evidence) or not_learned(evidence)


def larger_losses(evidence):
    """Validation whose losses are far above that of guessing, although its accuracy is not that of guessing."""
    floor, epochs = entropy(evidence), evidence["epochs"][-2:]
    if floor is None or len(epochs) < 2 or evidence["model"].get("norms"):  # whose averages may lag behind
        return None
    if not all(
        epoch.get("val_loss") is not None and epoch.get("loss") is not None and epoch["loss"] < floor
        and FAR * floor < epoch["val_loss"] < math.inf
        and epoch.get("val_accuracy") is not None and not is_guess(epoch["val_accuracy"], evidence)
        for epoch in epochs
    ):
        return None
    last = epochs[-1]
    return Finding(
        "validation", "validation data",
        f"Validation loss is {last['val_loss']:.3g}, {last['val_loss'] / floor:.0f} times that of guessing, at an "
        f"accuracy of {percent(last['val_accuracy'])}, and training loss is {last['loss']:.3g}: the model's outputs "
        "are far larger there, as its inputs may be.",
        ["prepare validation images just as training images: the same range of pixels, order of channels, and size",
         "look at both: the lowest and highest pixel of a batch of each"], "severe",
    )


def not_learned(evidence):
    looked = looked_again(evidence)
    if not looked:
        return None
    sides, guess, seen = looked
    if not guess or not all(sides[-2:]):
        return None
    return Finding(
        "validation", "validation data",
        f"{seen}: the model is right there, and what it has learned does not hold for the validation data.",
        ["prepare validation images just as training images: the same range of pixels, order of channels, and size",
         "number their classes alike: kerazoo.data.load does, by the names of the folders",
         "look at some of both, with their labels",
         "if both are alike, it has learned by heart: more images, kerazoo.augment, or published weights and "
         "kerazoo.train.fine_tune"], "severe",
    )


def looked_again(evidence):
    """What a second look at training images, as at inference, says of validation that is far below training.

    Returns:
        ([whether they are nearer to training than to validation, of each epoch with such a look], whether validation is
        at guessing, what was seen in words); None without two looks, or if the last two epochs had none.
    """
    epochs, last = [epoch for epoch in evidence["epochs"] if epoch.get("known") is not None], evidence["epochs"][-2:]
    if len(epochs) < 2 or epochs[-2:] != last:
        return None
    sides = [epoch["known"] > (epoch["accuracy"] + epoch["val_accuracy"]) / 2 for epoch in epochs]
    guess, last = beyond_training(evidence), last[-1]
    return sides, guess, (
        f"Validation accuracy is {percent(last['val_accuracy'])}{', that of guessing,' if guess else ''} and "
        f"training accuracy is {percent(last['accuracy'])}. On images of the training set, without augmentation and "
        f"as at inference, it is {percent(last['known'])}"
    )


def imbalance(evidence, at_end):
    data, classes = evidence["data"], evidence["classes"]
    counts = data.get("counts") or {}
    if classes == 1 and set(counts) <= {"0", "1"}:
        classes = 2  # told apart by one output
    if len(counts) < 2 or not classes or classes < 2 or comes_sorted(evidence):
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
