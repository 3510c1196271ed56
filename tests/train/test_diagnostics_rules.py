"""From evidence to findings: each rule on evidence made for it, and the order of causes."""
import copy
import math

import pytest

from kerazoo.train.diagnosis_evidence import beyond_training
from kerazoo.train.diagnosis_rules import findings_of
from kerazoo.train.findings import TITLES, Finding, ordered

NAMES = [f"conv{i}" for i in range(1, 10)]


def sample(step, **changes):
    return {
        "epoch": 0 if step == 0 else 1, "step": step, "loss": 2.3, "rate": 1e-3,
        "std": dict.fromkeys(NAMES, 1.0), "peak": dict.fromkeys(NAMES, 4.0), "gradient": dict.fromkeys(NAMES, 0.1),
        "ratio": {} if step == 0 else dict.fromkeys(NAMES, 2e-3), "dead": {"act1": 0.0, "act2": 0.05},
        "input": [0.1, 0.9, -1.0, 3.0], **changes,
    }


def epoch(number, loss, val_loss=None, accuracy=None, val_accuracy=None, rate=1e-3):
    return {"epoch": number, "loss": loss, "val_loss": val_loss, "accuracy": accuracy, "val_accuracy": val_accuracy,
            "rate": rate}


@pytest.fixture
def evidence():
    """A training in which all is well."""
    losses = [1.5, 1.0, 0.8, 0.65, 0.55, 0.5]
    neighbors = {"images": 1000, "right": 104, "chance": 0.1, "deviations": 0.3}  # which say nothing
    return {
        "data": {"labels": 1000, "counts": {str(i): 100 for i in range(10)}, "lowest": 0, "highest": 9,
                 "values": 10**6, "broken": 0, "images": 1000, "alike": False,
                 "neighbors": neighbors},
        "classes": 10, "first_loss": 2.4, "planned": 6,
        "epochs": [epoch(i, loss, loss + 0.1, 1 - loss / 2.5, 0.98 - loss / 2.5) for i, loss in enumerate(losses, 1)],
        "samples": [sample(0), sample(1), sample(50), sample(100)], "kernels": dict.fromkeys(NAMES, 900),
        "units": {"act1": 32, "act2": 64}, "back": {}, "broken": None, "peak_rate": 1e-3,
        "model": {"norms": False, "activations": [], "dropout": 0.0, "augmented": False, "clipped": False,
                  "decay": 0.0, "optimizer": "adamw", "loss": "categorical", "half": False},
        "scheduled": True,
    }


def kinds(evidence, **options):
    return [finding.kind for finding in findings_of(evidence, **options)]


def test_a_training_in_which_all_is_well_has_no_findings(evidence):
    for seen in range(len(evidence["epochs"]) + 1):
        part = {**evidence, "epochs": evidence["epochs"][:seen]}
        assert kinds(part) == kinds(part, at_end=True) == []


def test_dead_units_are_told_when_they_stay(evidence):
    evidence["samples"][-1]["dead"]["act2"] = 0.6
    assert kinds(evidence) == []
    evidence["samples"][-2]["dead"]["act2"] = 0.6
    evidence["back"] = {"act2": 3}
    assert kinds(evidence) == []  # the others learn
    evidence["epochs"] = [epoch(i, 1.8, 1.8, 0.35, 0.35) for i in range(1, 4)]
    (finding,) = findings_of(evidence)
    assert (finding.kind, finding.where, finding.severity) == ("dead", "act2", "warning")
    assert "38 of 64 units" in finding.evidence and "3 that were silent have come back" in finding.evidence
    assert any("leaky_relu" in remedy for remedy in finding.remedies)


def test_a_layer_that_is_silent_before_the_first_step_is_told_at_once(evidence):
    evidence.update(epochs=[], samples=[sample(0, dead={"act1": 1.0, "act2": 0.0})])
    (finding,) = findings_of(evidence)
    assert (finding.kind, finding.severity, finding.epoch) == ("dead", "severe", 0)


def falling(decades, names=NAMES):
    return {name: 10 ** (-decades * (len(names) - 1 - i) / (len(names) - 1)) for i, name in enumerate(names)}


@pytest.mark.parametrize(("decades", "found"), [(3, []), (8, ["vanishing"])])
def test_gradients_that_shrink_on_their_way_back(evidence, decades, found):
    evidence["samples"] = [sample(step, gradient=falling(decades)) for step in (0, 1, 50)]
    assert kinds(evidence) == found


def test_gradients_that_vanish_once_are_no_finding(evidence):
    evidence["samples"][0]["gradient"] = falling(8)
    assert kinds(evidence) == []


def test_zero_gradients_behind_dead_units_are_no_finding_of_their_own(evidence):
    gradient = {**dict.fromkeys(NAMES, 0.0), "conv9": 0.1}
    evidence["samples"] = [sample(step, gradient=gradient, dead={"act1": 1.0}) for step in (0, 1, 50)]
    assert kinds(evidence) == ["dead"]


def test_signals_that_grow_from_layer_to_layer(evidence):
    std = {name: 4.0**i for i, name in enumerate(NAMES)}
    evidence.update(epochs=[], samples=[sample(0, std=std)])
    (finding,) = findings_of(evidence)
    assert finding.kind == "exploding" and finding.where == "layers conv1 to conv9"
    assert "by a factor of 4 a layer" in finding.evidence
    # Large inputs are another matter.
    evidence["samples"] = [sample(0, std=dict.fromkeys(NAMES, 5000.0), input=[0.0, 5000.0, -20000.0, 20000.0])]
    assert kinds(evidence) == []


def test_growth_that_comes_right_by_itself_is_told_no_more(evidence):
    std = {name: 4.0**i for i, name in enumerate(NAMES)}
    evidence["samples"][0] = sample(0, std=std)
    assert kinds(evidence) == []
    evidence["broken"] = broken(2)
    assert kinds(evidence)[0] == "exploding"


def test_gradients_that_grow_on_their_way_back(evidence):
    rising = dict(zip(NAMES, reversed(falling(8).values())))
    evidence["samples"] = [sample(step, gradient=rising) for step in (0, 1)]
    assert kinds(evidence)[0] == "exploding"


def broken(step, direction="forward", where="conv9"):
    return {"epoch": 1, "step": step, "where": where, "direction": direction, "what": "The loss became nan."}


def test_a_rate_that_is_too_high_comes_before_what_it_caused(evidence):
    high = dict.fromkeys(NAMES, 3.0)
    evidence.update(epochs=[], broken=broken(7), peak_rate=10.0)
    evidence["samples"] = [sample(0), sample(1, ratio=high, dead={"act1": 1.0}),
                           sample(2, ratio=high, dead={"act1": 1.0})]
    assert kinds(evidence) == ["rate_high", "nan", "dead"]
    assert "300 %" in findings_of(evidence)[0].evidence


def test_numbers_that_are_none_at_usual_rates_are_told_as_such(evidence):
    evidence.update(epochs=[], broken=broken(7, "backward", "root"))
    (finding,) = findings_of(evidence)
    assert finding.kind == "nan" and finding.where == "root" and "square roots" in finding.remedies[0]


def test_a_cause_is_as_severe_as_what_it_brought_about(evidence):
    losses = [1.5, 1.4, 1.4, 2.3, 2.3, 2.3]
    evidence["epochs"] = [epoch(i, loss, loss, 0.1, 0.1) for i, loss in enumerate(losses, 1)]
    for one in evidence["samples"][2:]:
        one["dead"] = {"act1": 1.0}
    found = findings_of(evidence)
    assert [(one.kind, one.severity) for one in found] == [("rate_high", "warning"), ("dead", "severe")]


def test_numbers_that_are_none_from_the_start_are_no_growth(evidence):
    std = dict.fromkeys(NAMES, 1.0) | {"conv9": math.nan}
    evidence.update(epochs=[], broken=broken(1), samples=[
        sample(0, std=std, gradient={}), sample(1, std={}, gradient={}, ratio=dict.fromkeys(NAMES, math.inf)),
    ])
    (finding,) = findings_of(evidence)
    assert finding.kind == "nan" and "divisions by 0" in finding.remedies[0]


def test_gradients_that_vanished_at_first_are_told_while_nothing_is_learned(evidence):
    for one in evidence["samples"][:2]:
        one["gradient"] = falling(10)
    assert kinds(evidence) == []  # it has learned all the same
    evidence["epochs"] = [epoch(i, 2.3, 2.3, 0.1, 0.1) for i in range(1, 4)]
    assert kinds(evidence)[0] == "vanishing"


def test_what_was_there_before_the_first_step_is_no_consequence(evidence):
    std = {name: 4.0**i for i, name in enumerate(NAMES)}
    evidence.update(epochs=[], broken=broken(2), peak_rate=10.0)
    evidence["samples"] = [sample(0, std=std), sample(1, std=std, ratio=dict.fromkeys(NAMES, math.inf))]
    assert kinds(evidence)[0] == "exploding" and "rate_high" not in kinds(evidence)


def test_a_loss_that_stays_where_it_was_under_large_steps_is_a_high_rate(evidence):
    evidence["epochs"] = [epoch(i, 2.31, 2.31, 0.1, 0.1) for i in (1, 2)]
    for one in evidence["samples"][1:]:
        one["ratio"] = dict.fromkeys(NAMES, 0.5)
    assert kinds(evidence) == ["rate_high"]


def test_a_high_loss_under_right_answers_is_no_high_rate(evidence):
    # Penalties and weights of classes are in it.
    for one in evidence["samples"][1:]:
        one["ratio"] = dict.fromkeys(NAMES, 0.5)
    for accuracy, found in ((0.95, []), (0.1, ["rate_high"])):
        evidence["epochs"] = [epoch(i, loss, loss, accuracy, accuracy) for i, loss in ((1, 5.0), (2, 3.0))]
        assert kinds(evidence) == found


def test_a_loss_that_explodes_where_no_layers_are_seen_is_a_high_rate(evidence):
    evidence.update(samples=[], classes=None, model={}, epochs=[epoch(1, 300.0), epoch(2, 250.0)])
    assert kinds(evidence) == ["rate_high"]


def test_other_losses_are_not_compared_with_that_of_guessing(evidence):
    # Binary cross-entropy over many outputs is far below it by saying no to each.
    evidence["data"]["counts"] = {str(i): 1 for i in range(1000)}
    evidence["data"]["highest"] = 999
    evidence.update(classes=1000, first_loss=0.7, epochs=[epoch(i, 0.008, 0.008, 0.001, 0.001) for i in range(1, 9)])
    evidence["model"]["loss"] = ""
    (finding,) = findings_of(evidence)
    assert finding.kind == "plateau" and "which is that of guessing" in finding.evidence
    for one in evidence["samples"][1:]:
        one["ratio"] = dict.fromkeys(NAMES, 1e-6)
    assert kinds(evidence) == ["rate_low"]


def test_a_loss_that_hardly_moves_under_small_steps_is_a_low_rate(evidence):
    evidence["epochs"] = [epoch(i, 2.4 - 0.001 * i, 2.4, 0.1, 0.1) for i in (1, 2)]
    for one in evidence["samples"][1:]:
        one["ratio"] = dict.fromkeys(NAMES, 1e-6)
    assert kinds(evidence) == ["rate_low"]
    for one in evidence["samples"][1:]:
        one["ratio"] = dict.fromkeys(NAMES, 0.0)
    assert kinds(evidence) == ["rate_low"]
    # In a warm-up, the rate is still rising.
    evidence["epochs"][0]["rate"], evidence["epochs"][1]["rate"] = 1e-6, 2e-6
    assert kinds(evidence) == []
    # It will not come to its end any more.
    (finding,) = findings_of(evidence, at_end=True)
    assert finding.kind == "rate_low" and finding.remedies[0].startswith("a shorter warm-up")


def test_a_schedule_that_ends_too_soon(evidence):
    evidence.update(planned=20)
    for one in evidence["epochs"]:
        one.update(rate=1e-3 if one["epoch"] == 1 else 0.0, loss=1.9, val_loss=1.9)
    found = findings_of(evidence)
    assert found[0].kind == "rate_low" and "steps=len(train)" in found[0].remedies[0]


def test_a_schedule_that_rises_again_has_not_ended(evidence):
    evidence["planned"] = 20
    for one in evidence["epochs"]:
        one.update(rate=1e-7, highest=1e-3, loss=1.9, val_loss=1.9, accuracy=0.3, val_accuracy=0.3)
    assert "rate_low" not in kinds(evidence)
    evidence["epochs"][-1]["ended"] = True
    assert "rate_low" in kinds(evidence)


def test_a_rate_that_callbacks_lower_is_told_when_it_brings_nothing_more(evidence):
    evidence.update(planned=100, peak_rate=0.1, scheduled=False)
    values = [(2.0, 1e-1), (1.0, 1e-1), (0.6, 1e-2), (0.55, 1e-3), (0.5, 1e-4)]
    evidence["epochs"] = [{**epoch(i, loss, loss, 0.8, 0.8, rate), "highest": rate}
                          for i, (loss, rate) in enumerate(values, 1)]
    assert kinds(evidence) == []
    evidence["epochs"].append({**epoch(6, 0.5, 0.5, 0.8, 0.8, 1e-4), "highest": 1e-4})
    (finding,) = findings_of(evidence)
    assert (finding.kind, finding.severity) == ("rate_low", "warning") and "min_lr" in finding.remedies[0]


def test_overfitting_by_rising_validation_loss(evidence):
    # Long before all training images are known by heart, which is a sign of its own.
    values = [(1.8, 1.8, 0.3, 0.3), (1.3, 1.5, 0.55, 0.5), (1.1, 1.6, 0.65, 0.5), (0.9, 1.7, 0.7, 0.5),
              (0.8, 1.8, 0.74, 0.5)]
    evidence["epochs"] = [epoch(i, loss, val, a, b) for i, (loss, val, a, b) in enumerate(values, 1)]
    (finding,) = findings_of(evidence)
    assert finding.kind == "overfitting" and "lowest in epoch 2" in finding.evidence
    assert "+0.1 an epoch" in finding.evidence and "24.0 points" in finding.evidence


def test_a_validation_loss_that_rises_once_or_alone_is_no_overfitting(evidence):
    evidence["epochs"][-2]["val_loss"] = 3.0
    assert kinds(evidence) == []
    # Almost all right on both, as on MNIST: confidence rises, errors do not.
    values = [(0.1, 0.05, 0.97, 0.985), (0.05, 0.04, 0.985, 0.987), *[(0.01, 0.06, 0.998, 0.988)] * 4]
    evidence["epochs"] = [epoch(i, loss, val, a, b) for i, (loss, val, a, b) in enumerate(values, 1)]
    assert kinds(evidence) == []


def test_underfitting_and_plateau_are_told_apart_by_what_was_learned(evidence):
    def flat(accuracy, loss):
        return [epoch(1, 2.3, 2.3, 0.1, 0.1)] + [epoch(i, loss, loss, accuracy, accuracy) for i in range(2, 9)]

    evidence["epochs"] = flat(0.35, 1.8)
    assert kinds(evidence) == ["underfitting"]
    evidence["epochs"] = flat(0.8, 0.6)
    assert kinds(evidence) == ["plateau"]
    # At the end of a schedule, nothing is to move.
    for one in evidence["epochs"][3:]:
        one["rate"] = 1e-6
    assert "plateau" not in kinds({**evidence, "planned": 8})


def test_a_plateau_of_unknown_height_is_a_note(evidence):
    evidence["epochs"] = [epoch(1, 2.3)] + [epoch(i, 1e-3) for i in range(2, 9)]
    assert kinds(evidence) == []  # nearly all is learned
    evidence["model"]["loss"] = ""
    (finding,) = findings_of(evidence)
    assert (finding.kind, finding.severity) == ("plateau", "note")


def test_a_plateau_at_guessing_asks_for_the_labels(evidence):
    evidence["epochs"] = [epoch(i, 2.303, 2.303, 0.1, 0.1) for i in range(1, 9)]
    (finding,) = findings_of(evidence)
    assert finding.kind == "plateau" and "label belongs to its image" in finding.remedies[0]


@pytest.mark.parametrize(("changes", "kind"), [
    ({"counts": {"3": 1000}, "lowest": 3, "highest": 3}, "labels"),
    ({"counts": {"1": 500, "10": 500}, "lowest": 1, "highest": 10}, "labels"),
    ({"counts": {"0": 970, "1": 30}, "lowest": 0, "highest": 1}, "imbalance"),
    ({"counts": {"0": 970, "1": 30}, "lowest": 0, "highest": 1, "classes": 1}, "imbalance"),
    ({"broken": 3}, "inputs"),
    ({"alike": True}, "inputs"),
])
def test_data_that_look_wrong(evidence, changes, kind):
    evidence["classes"] = changes.get("classes", 10)
    evidence["data"].update(changes)
    evidence.update(epochs=[], samples=[sample(0)])
    assert kinds(evidence)[0] == kind


@pytest.mark.parametrize(("seen", "found"), [
    ([0.002, 0.0012, 0.0, 0.004], ["inputs"]),  # divided by 255 twice
    ([-1.99, 0.02, -2.1, -1.9], ["inputs"]),  # the same, and the mean taken off
    ([33.0, 78.0, 0.0, 255.0], ["inputs"]),  # as they come
    ([-3.0, 60.0, -123.0, 151.0], []),  # the mean taken off, as Caffe's models want it
    ([0.13, 0.31, 0.0, 1.0], []),
])
def test_what_the_first_layer_takes(evidence, seen, found):
    evidence.update(epochs=[], samples=[sample(0, input=seen)])
    assert kinds(evidence) == found


def test_a_sorted_or_missing_class_among_few_labels_is_no_imbalance(evidence):
    evidence["data"].update(labels=100, counts={str(i): 5 for i in range(20)}, highest=19)
    evidence["classes"] = 100
    assert kinds(evidence) == []


@pytest.mark.parametrize(("model", "absent"), [
    ({"clipped": True}, "clip_norm"), ({"norms": True}, 'norm="batch"'), ({"half": False}, "bfloat16"),
    ({"optimizer": "adamw"}, "adamw"),
])
def test_what_a_model_has_is_not_among_the_remedies(evidence, model, absent):
    def remedies(**model):
        evidence["model"] = {"clipped": False, "norms": False, "half": True, "optimizer": "sgd", "loss": "categorical",
                             **model}
        nan = findings_of({**evidence, "epochs": [], "broken": broken(7)})
        flat = findings_of({**evidence, "epochs": [epoch(i, 2.303, 2.303, 0.1, 0.1) for i in range(1, 9)]})
        few = findings_of({**evidence, "epochs": [epoch(i, 1.8, 1.8, 0.35, 0.35) for i in range(1, 9)]})
        return " ".join(remedy for finding in (*nan, *flat, *few) for remedy in finding.remedies)

    assert absent not in remedies(**model)
    assert absent in remedies()


def test_findings_say_what_where_when_and_what_to_try():
    finding = Finding("dead", "act1", "All are zero.", ["one thing", "another"], "severe", 3)
    assert str(finding) == (
        "Dying ReLUs (severe, found in epoch 3, act1): All are zero. Try: one thing; another."
    )
    assert finding.as_json() == {
        "kind": "dead", "title": TITLES["dead"], "where": "act1", "evidence": "All are zero.",
        "remedies": ["one thing", "another"], "severity": "severe", "epoch": 3,
    }


def test_severe_findings_come_first():
    found = [Finding(kind, "", "", [], severity) for kind, severity in (
        ("overfitting", "warning"), ("imbalance", "warning"), ("inputs", "severe"))]
    assert [finding.kind for finding in ordered(copy.copy(found))] == ["inputs", "imbalance", "overfitting"]


SHARES, LOGITS = [0.02, 0.5, 1.0, 1.0], [-1.2, 2.3, -2.0, 4.0]


@pytest.mark.parametrize(("kind", "from_logits", "ends_in", "classes", "outputs", "said"), [
    ("categorical", True, "softmax", 10, SHARES, "they are probabilities"),
    ("categorical", False, "linear", 10, LOGITS, "they are logits"),
    ("categorical", True, "relu", 10, [0.0, 2.0, 0.5, 4.0], "a ReLU"),
    ("binary", True, "sigmoid", 1, [0.3, 0.6, 0.3, 0.6], "they are probabilities"),
    ("binary", False, "linear", 1, [-0.3, 0.6, -0.3, 0.6], "they are logits"),
    ("binary", False, "softmax", 1, [1.0, 1.0, 1.0, 1.0], "always 1"),
    ("categorical", True, "linear", 10, LOGITS, None), ("categorical", False, "softmax", 10, SHARES, None),
    ("categorical", False, "sigmoid", 10, [0.2, 0.8, 3.0, 6.0], None),
    ("categorical", None, "linear", 10, SHARES, None), ("", False, "linear", 10, LOGITS, None),
    ("binary", False, "sigmoid", 10, [0.2, 0.8, 3.0, 6.0], None), ("binary", True, "linear", 1, SHARES, None),
])
def test_a_loss_that_does_not_fit_the_outputs(evidence, kind, from_logits, ends_in, classes, outputs, said):
    evidence["model"] |= {"loss": kind, "from_logits": from_logits, "ends_in": ends_in}
    evidence.update(outputs=outputs, classes=classes)
    evidence["data"]["counts"] = {}
    # It is the cause of a loss that stays where it was.
    evidence["epochs"] = [epoch(i, 2.303, 2.303, 0.1, 0.1) for i in range(1, 9)]
    found = [finding for finding in findings_of(evidence) if finding.kind == "loss"]
    assert [said in finding.evidence for finding in found] == ([] if said is None else [True])
    if said:
        assert kinds(evidence) == ["loss"]


def test_a_model_of_which_nothing_is_trained(evidence):
    evidence.update(trainable=0, epochs=[epoch(i, 2.4, 2.4, 0.1, 0.1) for i in range(1, 9)])
    assert kinds(evidence) == ["frozen"]
    evidence["trainable"] = 1
    assert "frozen" not in kinds(evidence)


def neighbors(**changes):
    return {"images": 1000, "right": 104, "chance": 0.1, "deviations": 0.3, **changes}


def learned_by_heart(*validation, training=0.9):
    return [epoch(i, 2.4 - 0.1 * i, 2.0 + 0.3 * i, training, one) for i, one in enumerate(validation, 1)]


@pytest.mark.parametrize(("changes", "found"), [
    ({}, True), ({"deviations": 9.0, "right": 230}, False), ({"images": 100}, False), ({"chance": 0.001}, False),
])
def test_labels_that_belong_to_other_images(evidence, changes, found):
    evidence["data"]["neighbors"] = neighbors(**changes)
    evidence["epochs"] = learned_by_heart(0.11, 0.13, 0.09, 0.1)
    assert kinds(evidence)[:1] == (["labels"] if found else ["overfitting"])
    for said in ("104 of 1,000, and 100 would be chance", "being learned by heart (90 %)"):
        assert not found or said in findings_of(evidence)[0].evidence
    assert "labels" not in kinds({**evidence, "epochs": evidence["epochs"][:2]})


@pytest.mark.parametrize("epochs", [
    learned_by_heart(0.1, 0.13, 0.2), learned_by_heart(0.1, 0.2, 0.3), learned_by_heart(0.1, 0.11, 0.12, training=0.2),
])
def test_what_is_on_its_way_has_labels_of_its_own(evidence, epochs):
    assert "labels" not in kinds({**evidence, "epochs": epochs})
    assert "labels" not in kinds({**evidence, "epochs": epochs}, at_end=True)


def test_what_was_guessing_to_the_end_may_have_other_labels(evidence):
    evidence["epochs"] = learned_by_heart(0.1, 0.11, 0.12, training=0.12)
    assert kinds(evidence) == [] and kinds(evidence, at_end=True) == ["labels"]


def test_among_classes_of_different_size_or_under_another_cause_likeness_is_not_asked(evidence):
    evidence["epochs"] = learned_by_heart(0.1, 0.1, 0.1, 0.1, training=0.1)
    for one in evidence["samples"][1:]:
        one["dead"] = {"act1": 1.0}
    assert kinds(evidence, at_end=True)[0] == "dead" and "labels" not in kinds(evidence, at_end=True)
    evidence["epochs"] = learned_by_heart(0.1, 0.1, 0.1, 0.1)
    evidence["samples"] = [sample(0, input=[0.0, 0.001, 0.0, 0.004])]
    assert kinds(evidence)[0] == "inputs" and "labels" not in kinds(evidence)
    evidence["samples"] = [sample(0)]
    assert kinds(evidence)[0] == "labels"
    evidence["data"]["counts"] = {"0": 300, **{str(i): 78 for i in range(1, 10)}}
    assert "labels" not in kinds(evidence)


def test_of_a_hundred_classes_a_tenth_is_no_guess(evidence):
    evidence["data"]["counts"] = {str(i): 10 for i in range(100)}
    evidence["classes"] = 100
    rows = [epoch(i, 2.0 / i, 2.0 + i, 0.9, 0.08) for i in range(1, 7)]
    assert kinds({**evidence, "epochs": rows}) == ["overfitting"]
    assert not beyond_training({**evidence, "epochs": rows})
    rows = [row | {"val_accuracy": 0.015, "known": 0.9} for row in rows]
    assert beyond_training({**evidence, "epochs": rows})
    evidence["data"]["neighbors"] = None
    assert kinds({**evidence, "epochs": rows}) == ["validation"]


def beside_training(known):
    rows = [epoch(i, 1 / i, 2.5, 0.7, 0.1) for i in range(1, 5)]
    return [row | {"known": share} for row, share in zip(rows, known)]


@pytest.mark.parametrize(("norms", "known", "found"), [
    (False, [None, None, 0.7, 0.68], ["validation"]), (True, [None, None, 0.7, 0.68], ["validation"]),
    (True, [None, None, 0.1, 0.12], ["averages"]), (False, [None, None, 0.1, 0.12], []),
    (True, [0.1, 0.1, 0.1, None], []), (True, [None, 0.7, None, 0.7], []), (True, [None, None, 0.1, 0.7], []),
])
def test_validation_at_that_of_guessing_while_training_is_not(evidence, norms, known, found):
    evidence["model"]["norms"], evidence["data"]["neighbors"] = norms, None
    evidence["epochs"] = beside_training(known)
    assert kinds(evidence) == found


def test_a_warm_up_that_is_longer_than_the_training(evidence):
    evidence["ahead"] = {"within": 1.3e-6, "beyond": 1e-3}
    (finding,) = findings_of({**evidence, "epochs": []})
    assert finding.kind == "rate_low" and finding.epoch == 0 and "comes to 1.3e-06 at most" in finding.evidence
    assert kinds({**evidence, "ahead": {"within": 2e-4, "beyond": 1e-3}}) == []


def test_units_that_were_dead_from_the_start_come_after_what_they_do_not_explain(evidence):
    for one in evidence["samples"]:
        one["dead"]["act2"] = 0.5
    evidence["epochs"] = [epoch(i, 1.8, 1.8, 0.35, 0.35) for i in range(1, 9)]
    assert kinds(evidence) == ["underfitting", "dead"]
    evidence["samples"][0]["dead"]["act2"] = 0.3
    assert kinds(evidence) == ["dead", "underfitting"]


@pytest.mark.parametrize(("likeness", "found"), [
    (neighbors(deviations=9.0, right=230), ["underfitting"]), (None, ["plateau"]),
])
def test_a_training_that_never_beats_guessing_is_told_at_its_end(evidence, likeness, found):
    evidence["data"]["neighbors"] = likeness
    evidence["epochs"] = [epoch(i, 2.303, 2.303, 0.1, 0.1) for i in range(1, 5)]
    assert kinds(evidence) == []
    assert kinds(evidence, at_end=True) == found
    # From high above, it is on its way.
    falls = [epoch(i, 9.0 - i, 2.303, 0.1, 0.1) for i in range(1, 5)]
    assert kinds({**evidence, "epochs": falls, "first_loss": 9.0}, at_end=True) == []
    # Weights of classes: the loss moves, and accuracy is below that of the most frequent class.
    counts = {"0": 850, "1": 150}
    data = {**evidence["data"], "counts": counts, "highest": 1}
    weighted = {**evidence, "data": data, "classes": 2, "first_loss": 0.6}
    weighted["epochs"] = [epoch(i, 0.58 - 0.01 * i, 0.6, 0.7 + 0.02 * i, 0.7) for i in range(1, 6)]
    assert kinds(weighted, at_end=True) == []
    learns = [epoch(i, 2.303 - 0.1 * i, 2.303, 0.1 + 0.05 * i, 0.1) for i in range(1, 5)]
    assert kinds({**evidence, "epochs": learns}, at_end=True) == []


def test_kernels_that_shrink_are_told_with_the_decay(evidence):
    evidence["epochs"] = [epoch(i, 1.8, 1.8, 0.35, 0.35) for i in range(1, 9)]
    evidence["shrunk"] = dict.fromkeys(NAMES, 0.02)
    evidence["model"]["decay"] = 1.0
    (finding,) = findings_of(evidence)
    assert finding.kind == "underfitting" and "shrunk to 2 %" in finding.evidence
    assert finding.remedies[0] == "less weight_decay (it is 1)"


def test_data_that_come_sorted_by_class(evidence):
    evidence["data"]["in_a_row"] = 0.99
    (finding,) = findings_of(evidence)
    assert finding.kind == "labels" and "sorted by class: 99 %" in finding.evidence
    evidence["data"]["counts"] = {"0": 900, "1": 10}  # most are of one class in any order
    assert "sorted" not in str(findings_of(evidence)[0])


def test_a_schedule_that_ended_too_soon_is_told_to_the_end(evidence):
    evidence.update(peak_rate=0.05, planned=8)
    rates = [0.02, 0.01, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6]
    rows = [epoch(i, 2.1, 2.1, 0.3, 0.3, rate) | {"ended": rate < 1e-3} for i, rate in enumerate(rates, 1)]
    for seen in range(3, 9):
        (finding,) = findings_of({**evidence, "epochs": rows[:seen]})
        assert finding.kind == "rate_low" and "by the end of epoch 3 of 8" in finding.evidence


def test_pixels_without_a_scale_are_told_where_the_loss_begins_far_off(evidence):
    evidence["samples"][0]["input"] = [-5.0, 64.0, -120.0, 135.0]
    assert kinds(evidence) == []  # as networks with published weights may want them
    evidence["first_loss"] = 3298.0
    assert kinds(evidence) == ["inputs"]


def test_what_was_better_once_and_ends_at_guessing_is_told(evidence):
    evidence["data"]["neighbors"] = neighbors(deviations=9.0, right=300)
    rows = [(30.0, 0.3), (12.0, 0.45), (6.0, 0.35), (3.5, 0.1), (2.6, 0.1), (2.31, 0.1)]
    evidence["epochs"] = [epoch(i, loss, 2.31, share, share) for i, (loss, share) in enumerate(rows, 1)]
    evidence["first_loss"] = 40.0
    assert kinds(evidence, at_end=True) == ["underfitting"]


@pytest.mark.parametrize(("known", "found"), [(0.4, ["averages"]), (0.75, [])])
def test_averages_that_lag_are_told_above_guessing_too(evidence, known, found):
    evidence["model"]["norms"] = True
    evidence["epochs"] = [epoch(i, 1 / i, 1.7, 0.77, 0.38) | {"known": known} for i in range(1, 5)]
    assert kinds(evidence, at_end=True) == found
    assert kinds({**evidence, "epochs": evidence["epochs"][:2]}, at_end=True) == []
    # After 100 batches, averages of a momentum of 0.99 are still on their way.
    evidence["model"]["momentum"] = 0.99
    assert kinds(evidence) == []
    evidence["samples"][-1]["step"] = 300
    assert kinds(evidence) == found


def test_validation_far_above_training_tells_of_wrong_labels(evidence):
    evidence["epochs"] = [epoch(i, 2.1, 1.2, 0.3 + 0.01 * i, 0.82) for i in range(1, 5)]
    assert kinds(evidence) == ["labels"] and "many of the images" in findings_of(evidence)[0].evidence
    for usual in ({"augmented": True}, {"dropout": 0.5}):
        assert "labels" not in kinds({**evidence, "model": {**evidence["model"], **usual}})
    # Training accuracy is that of the whole epoch, in which much was learned.
    evidence["epochs"] = [epoch(i, 2.1 - i / 3, 1.9 - i / 3, 0.2 * i, 0.2 * i + 0.25) for i in range(1, 4)]
    assert kinds(evidence) == []


def test_a_loss_that_creeps_is_told_as_a_low_rate_at_the_end(evidence):
    evidence["data"]["neighbors"] = neighbors(deviations=9.0, right=300)
    evidence["samples"] = [sample(0), *[sample(step, ratio=dict.fromkeys(NAMES, 4e-4)) for step in (1, 50, 100)]]
    losses = [2.379, 2.334, 2.300, 2.280, 2.270]
    evidence["epochs"] = [epoch(i, loss, loss, 0.115, 0.12) for i, loss in enumerate(losses, 1)]
    assert kinds(evidence) == [] and kinds(evidence, at_end=True)[:1] == ["rate_low"]
    evidence["samples"][1] = sample(1, ratio=dict.fromkeys(NAMES, 4e-3))  # plain gradient descent begins so
    assert "by 0.04 % in the end" in findings_of(evidence, at_end=True)[0].evidence
    evidence["samples"] = [sample(0)]  # a short training, of which no step was measured but that at a rate of 0
    (finding,) = findings_of(evidence, at_end=True)
    assert finding.kind == "rate_low" and finding.evidence.startswith("The loss is 2.27 after 5 epochs")
    evidence["samples"] = [sample(0), sample(1), sample(50)]  # usual steps: another cause
    assert "rate_low" not in kinds(evidence, at_end=True)


def test_kernels_that_decay_took_are_told_at_the_end_though_half_is_learned(evidence):
    evidence["epochs"] = [epoch(i, 1.6 - 0.02 * i, 1.5, 0.54 + 0.01 * i, 0.58) for i in range(1, 5)]
    assert kinds(evidence, at_end=True) == []
    evidence["shrunk"] = dict.fromkeys(NAMES, 0.03)
    assert kinds(evidence, at_end=True) == ["underfitting"]


def test_a_loss_that_creeps_for_other_reasons_is_not_the_rate(evidence):
    losses = [2.31, 2.305, 2.303, 2.302]
    evidence["epochs"] = [epoch(i, loss, loss, 0.105, 0.1) for i, loss in enumerate(losses, 1)]
    evidence["samples"] = [sample(0), *[sample(step, ratio=dict.fromkeys(NAMES, 4e-4)) for step in (1, 50, 100)]]
    assert kinds(evidence, at_end=True)[:1] == ["labels"]  # images that look alike have other labels
    # Steps that were usual, and are small at the end of a schedule.
    evidence["data"]["neighbors"] = neighbors(deviations=9.0, right=300)
    evidence["samples"] = [sample(0), sample(1), sample(50), sample(100, rate=1e-6, ratio=dict.fromkeys(NAMES, 2e-6))]
    assert "rate_low" not in kinds(evidence, at_end=True)


def test_small_steps_of_a_schedule_are_not_a_low_rate(evidence):
    evidence["epochs"] = [epoch(i, 2.0 - 0.02 * i, 1.9, 0.3, 0.33) for i in range(1, 5)]
    still, end = dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 1e-8)
    for last in (still, end):  # all that was measured: the first step of a warm-up, and the last of the decay
        evidence["samples"] = [sample(0), sample(1, rate=0.0, ratio=still), sample(400, rate=1e-8, ratio=last)]
        assert kinds(evidence, at_end=True) == []
    evidence["samples"][-1]["rate"] = 1e-3  # the peak: then they tell
    assert kinds(evidence, at_end=True) == ["rate_low"]


def test_dropout_that_leaves_too_little_is_told_at_the_end(evidence):
    evidence["epochs"] = [epoch(i, 2.4 - 0.1 * i, 1.4 - 0.1 * i, 0.28 + 0.03 * i, 0.62 + 0.03 * i) for i in range(1, 6)]
    evidence["model"]["dropout"] = 0.95
    assert kinds(evidence) == []
    (finding,) = findings_of(evidence, at_end=True)
    assert finding.kind == "underfitting" and "dropout of 0.95 leaves too little" in finding.evidence
    assert finding.remedies[0] == "less dropout (it is 0.95)"
    evidence["model"]["dropout"] = 0.5  # as is usual
    assert kinds(evidence, at_end=True) == []
    evidence["model"].update(dropout=0.95, augmented=True)  # training is harder than validation, as it is to be
    assert kinds(evidence, at_end=True) == []
    evidence["model"]["augmented"] = False
    assert kinds({**evidence, "epochs": evidence["epochs"][:2]}, at_end=True) == []
    rising = [epoch(i, 2.4 - 0.3 * i, 1.6 - 0.2 * i, 0.2 * i, 0.2 * i + 0.25) for i in range(1, 4)]
    assert kinds({**evidence, "epochs": rising}, at_end=True) == []


def test_labels_of_other_images_are_told_while_they_are_being_learned_by_heart(evidence):
    evidence["epochs"] = [epoch(i, 2.35 - 0.05 * i, 2.3 + 0.1 * i, 0.1 + 0.04 * i, 0.1) for i in range(1, 7)]
    assert kinds(evidence, at_end=True)[:1] == ["labels"]
    evidence["samples"][-1]["dead"]["act2"] = evidence["samples"][-2]["dead"]["act2"] = 0.6
    evidence["epochs"][-1]["loss"] = evidence["epochs"][-2]["loss"]
    assert kinds(evidence, at_end=True)[:1] == ["labels"]  # dead units learn nothing by heart
    evidence["data"]["neighbors"] = neighbors(deviations=9.0, right=300)
    assert "labels" not in kinds(evidence, at_end=True)


def test_a_loss_that_is_no_number_before_the_first_step_is_not_the_rate(evidence):
    evidence["samples"] = [sample(0, loss=math.nan), sample(1, loss=math.nan, ratio=dict.fromkeys(NAMES, math.inf))]
    evidence["epochs"], evidence["first_loss"] = [], math.nan
    evidence["broken"] = broken(1)
    assert "rate_high" not in kinds(evidence)
    evidence["samples"][0]["loss"] = 2.3
    assert "rate_high" in kinds(evidence)


def test_validation_losses_far_above_guessing_tell_of_other_pixels(evidence):
    evidence["epochs"] = [epoch(i, 1.2 / i, 110.0 - 10 * i, 0.6 + 0.05 * i, 0.7) for i in range(1, 5)]
    (finding,) = findings_of(evidence)
    assert finding.kind == "validation" and "30 times that of guessing" in finding.evidence
    evidence["model"]["norms"] = True  # their averages may lag behind
    assert "validation" not in kinds(evidence)
    evidence["model"]["norms"] = False
    evidence["epochs"] = [epoch(i, 1.2 / i, 2.0 + i, 0.6 + 0.05 * i, 0.7) for i in range(1, 5)]
    assert "validation" not in kinds(evidence)


def test_large_steps_of_kernels_that_decay_has_shrunk_are_not_the_rate(evidence):
    evidence["samples"] = [sample(0), *[sample(step, ratio=dict.fromkeys(NAMES, 0.2)) for step in (1, 50, 100)]]
    evidence["epochs"] = [epoch(i, 2.31, 2.31, 0.1, 0.1) for i in range(1, 7)]
    evidence["data"]["neighbors"] = neighbors(deviations=9.0, right=300)
    assert kinds(evidence, at_end=True)[:1] == ["rate_high"]
    evidence["shrunk"] = dict.fromkeys(NAMES, 0.01)
    assert kinds(evidence, at_end=True)[:1] == ["underfitting"]


def test_data_that_come_sorted_are_not_said_to_lack_classes(evidence):
    evidence["data"].update(in_a_row=0.99, counts={"0": 400, "1": 400, "2": 200})
    assert kinds(evidence) == ["labels"]
