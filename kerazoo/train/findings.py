"""What is found to be wrong with a training, and the order of causes."""
import dataclasses

TITLES = {
    "inputs": "the images look wrong",
    "labels": "the labels look wrong",
    "loss": "the loss does not fit the outputs",
    "frozen": "nothing is trained",
    "nan": "not a number",
    "exploding": "exploding activations or gradients",
    "dead": "dying ReLUs",
    "vanishing": "vanishing gradients",
    "rate_high": "the learning rate is too high",
    "rate_low": "the learning rate is too low",
    "imbalance": "classes of very different size",
    "averages": "batch norms know too little for inference",
    "validation": "validation is not like training",
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
    "nan": ("inputs", "loss", "exploding", "rate_high"),
    "exploding": ("inputs", "rate_high"),
    "dead": ("inputs", "loss", "rate_high"),
    "vanishing": ("inputs", "loss", "dead", "rate_high"),
}
# Under which little is learned.
STUCK = (
    "labels", "inputs", "loss", "frozen", "nan", "exploding", "dead", "vanishing", "rate_high", "rate_low", "averages",
)
HIDDEN = {
    "vanishing": ("dead",),
    "rate_high": ("exploding", "inputs", "loss", "frozen"),
    "rate_low": tuple(kind for kind in STUCK if kind != "rate_low"),
    "overfitting": ("labels", "averages", "validation"),
    "averages": ("nan", "exploding", "rate_high"),
    "validation": ("nan",),
    "underfitting": STUCK,
    "plateau": (*STUCK, "underfitting", "overfitting"),
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


# Words.

def adaptive(evidence, why=""):
    """To try an optimizer that adapts its steps, where there is none."""
    if evidence["model"].get("optimizer") in ADAPTIVE:
        return []
    return [f"kerazoo.train.optimizer(model, \"adamw\", 1e-3){why}"]



def percent(share):
    return f"{100 * share:.3g} %"


def count(number, noun):
    return f"{number} {noun}{'s' * (number != 1)}"


def some(names, most=4):
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def sentence(text):
    """With a capital in front; the rest, such as ReLU, stays."""
    return text[:1].upper() + text[1:]
