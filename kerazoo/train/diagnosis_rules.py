"""From the evidence of a training to findings: all rules, each a function of the evidence alone.

What the evidence is, `kerazoo.train.diagnosis_evidence` tells.
"""
import dataclasses

from kerazoo.train.diagnosis_evidence import learns_by_heart
from kerazoo.train.diagnosis_of_data import averages, imbalance, inputs, labels, loss, noisy, unrelated, validation
from kerazoo.train.diagnosis_of_learning import overfitting, plateau, underfitting
from kerazoo.train.diagnosis_of_rates import frozen, rate_high, rate_low
from kerazoo.train.diagnosis_of_signals import broken, dead, exploding, vanishing
from kerazoo.train.findings import STUCK, ordered

RULES = (inputs, labels, loss, frozen, broken, exploding, dead, vanishing, rate_high, rate_low, imbalance, averages,
         validation, overfitting, underfitting, plateau)


def findings_of(evidence, at_end=False):
    """All that the evidence shows, the most likely cause first.

    Args:
        evidence: as there.
        at_end: whether training has ended, so that what has not been reached will not be.

    Returns:
        A list of `Finding`.
    """
    times = evidence["epochs"] or evidence["samples"]
    now = times[-1]["epoch"] if times else 0
    found = []
    for rule in RULES:
        finding = rule(evidence, at_end)
        if finding is not None:
            found.append(finding if finding.epoch or finding.early else dataclasses.replace(finding, epoch=now))
    # That likeness says nothing may have other reasons: it counts where nothing else explains what is not learned.
    stuck = any(finding.kind in STUCK and (finding.kind, finding.severity) != ("dead", "note") for finding in found)
    if not stuck or learns_by_heart(evidence):
        finding = noisy(evidence, at_end) or unrelated(evidence, at_end)
        found += [] if finding is None else [dataclasses.replace(finding, epoch=now)]
    return ordered(found)
