"""The sections of a report: each says of a run what there is to see in one respect, or why there is nothing."""
import numpy as np

from kerazoo.visualize.gather import reason
from kerazoo.visualize.page import escape, figure_html, note
from kerazoo.visualize.run_facts import is_number

EXAMPLES = 8  # images for Grad-CAM
MISTAKES = 24
LONG_TABLE = 40  # rows; longer ones are folded


def diagnosis(run):
    """The findings of `kerazoo.train.Diagnostics` in words."""
    found = run.left.diagnosis
    if found is None:
        return note(no_diagnosis(run.left))
    findings = found.get("findings")
    if not isinstance(findings, list) or not all(isinstance(one, dict) for one in findings):
        return note("diagnosis.json holds no list of findings.")
    epochs, measures = run.left.epochs, found.get("measures")
    seen = [counted(epochs, "epoch")] if epochs else []
    seen += [counted(len(measures), "measurement")] if isinstance(measures, list) else []
    seen = ", ".join(seen)
    if findings:
        return f'<p class="quiet">{seen}</p>' * bool(seen) + "".join(map(finding, findings))
    # Green would say more than is known, where files are damaged, or no layer was looked at.
    blind = epochs and measures == []
    verdict = f"Nothing{' that could be seen' if blind else ''} was found to be wrong{f' ({seen})' if seen else ''}"
    doubt = "Files of the run cannot be read, so that this report does not see all that happened; see below."
    kind, doubt = ("warning", f"<p>{doubt}</p>") if run.left.problems else ("hint" if blind else "healthy", "")
    return f'<div class="finding {kind}"><h3>{escape(verdict)}</h3>{doubt}</div>'


def no_diagnosis(left):
    """Why there is none: `kerazoo.train.Diagnostics` writes it at the end of an epoch, if it was there."""
    if (left.folder / "diagnosis.json").is_file():
        return "diagnosis.json cannot be read; see below."
    if left.watched is not False and not left.has_epochs:
        return "There is no diagnosis yet: no epoch has ended, at whose end kerazoo.train.Diagnostics writes it."
    return ("No diagnosis was kept. kerazoo.train.Diagnostics(train, folder=run.path) among the callbacks of a run "
            "watches training and says what is wrong.")


def counted(number, what):
    return f"{number:,} {what}{'s' * (number != 1)}"


def finding(one):
    severity = str(one.get("severity", "")).lower()
    kind = {"warning": " warning", "hint": " hint", "info": " hint", "note": " hint"}.get(severity, "")
    title = str(one.get("title") or one.get("kind") or "A finding")
    head = escape(title[:1].upper() + title[1:])
    epoch = one.get("epoch")
    where = [str(one["where"])] if one.get("where") else []
    where += [f"epoch {epoch}"] if is_number(epoch) else []
    parts = [f"<h3>{head}</h3>"]
    if where or severity:
        parts.append(f'<p class="quiet">{escape(", ".join([*where, *([severity] if severity else [])]))}</p>')
    if one.get("evidence"):
        parts.append(f"<p>{escape(sentence(one['evidence']))}</p>")
    if remedies := one.get("remedies"):
        remedies = remedies if isinstance(remedies, list) else [remedies]
        parts.append("<p>What to try, the most likely first:</p><ol>"
                     + "".join(f"<li>{escape(remedy)}</li>" for remedy in remedies) + "</ol>")
    return f'<div class="finding{kind}">{"".join(parts)}</div>'


def sentence(evidence):
    return "; ".join(map(str, evidence)) if isinstance(evidence, (list, tuple)) else evidence


def training(run):
    from kerazoo.visualize.training import curves, rates, schedule, usable

    # A loss that never was a number is shown as that.
    log = {name: values for name, values in run.left.log.items() if usable(values) or name == "loss" and values}
    if not any(name.removeprefix("val_") in ("loss", "accuracy") for name in log):
        why = "log.csv cannot be read" if run.left.damaged_log else (
            f"No {'loss of an ' * bool(run.left.log)}epoch is in the log")
        return note(f"{why}, so that there are no curves.")
    figures = [attempt(run, "curves", lambda: figure_html(
        curves(log), "Loss and accuracy over the epochs, in training and in validation",
        "Training and validation. In training, the model changes while the figures of an epoch are taken, and "
        "augmentation and dropout are at work."))]
    rate, steps = schedule_of(run.model)
    if rate is not None:
        figures.append(attempt(run, "schedule", lambda: figure_html(
            schedule(rate, steps), "Learning rate over the training", "The learning rate, as it was planned.")))
    elif log.get("learning_rate"):
        figures.append(attempt(run, "learning rate", lambda: figure_html(
            rates(run.left.log["learning_rate"]), "Learning rate over the epochs", "The learning rate.")))
    return f'<div class="figures">{"".join(figures)}</div>'


def schedule_of(model):
    """(the schedule that a model was compiled with, the batches of the training as far as is known), or (None, 0)."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(optimizer, "_learning_rate", None)  # `learning_rate` is what it says at this moment
    if rate is None or not hasattr(rate, "get_config"):
        return None, 0
    steps = max(int(getattr(rate, "end", 0)), int(np.asarray(optimizer.iterations)))
    return (rate, steps) if steps else (None, 0)


def beside_curves(found):
    from kerazoo.visualize.training import curves_of_runs, rates_of_runs

    logs = {run.name: run.left.log for run in found}
    figures = []
    for draw, alt in ((curves_of_runs, "Figures of all runs over the epochs"),
                      (rates_of_runs, "Learning rates of all runs over the epochs")):
        if (figure := draw(logs)) is not None:
            figures.append(figure_html(figure, alt, ""))
    return "".join(figures) or note("No run has an epoch in its log, so that there are no curves.")


def tests(run):
    from kerazoo.visualize.predictions import calibration, confusion_matrix, mistakes

    if run.probabilities is None:
        return note("There are no answers of the model to test images; see below.")
    labels, probabilities, names = run.labels, run.probabilities, run.class_names
    first = " (the first 20 of them)" if len(names) > 20 else ""
    return "".join([
        f"<p>The model's answers to {escape(run.data)}.</p>",
        '<div class="figures">',
        attempt(run, "confusion matrix", lambda: figure_html(
            confusion_matrix(labels, probabilities, names), "Confusion matrix",
            f"Which classes{first} it takes for which. A row is a true class, a column what the model says.")),
        attempt(run, "calibration", lambda: figure_html(
            calibration(labels, probabilities), "Calibration curve",
            "Whether it is right as often as it says. Dots below the dashed line: it is too sure of itself.")),
        "</div>",
        attempt(run, "mistakes", lambda: figure_html(
            mistakes(run.images, labels, probabilities, names, MISTAKES), "Misclassified test images",
            "Mistakes, the most confident first: look here for wrong labels, too.")),
    ])


def inside(run):
    from kerazoo.visualize.attribution import grad_cam
    from kerazoo.visualize.diagram import architecture
    from kerazoo.visualize.layers import feature_maps, filters

    if run.model is None:
        return note("There is no model to look into; see below.")
    parts = [
        attempt(run, "filters", lambda: figure_html(
            filters(run.model), "Filters of the first layer", "What the first layer looks for.")),
    ]
    if run.images is not None:
        parts.append(attempt(run, "maps of features", lambda: figure_html(
            feature_maps(run.model, run.images[0]), "Maps of features",
            "What layers make of the first test image: the first channels of the last map of each size.")))
        chosen = first_of_classes(run.labels)
        if run.probabilities is not None:
            parts.append(attempt(run, "Grad-CAM", lambda: figure_html(
                grad_cam(run.model, run.images[chosen], class_names=run.class_names), "Grad-CAM heatmaps",
                "Where the model sees the class that it names, in the first test images of some classes.")))
    parts.append(attempt(run, "drawing of the model", lambda: figure_html(
        architecture(run.model), "Drawing of the model", "How the layers are put together, from the image to the "
        "scores; of a deep model, the first page.")))
    return "".join(parts)


def first_of_classes(labels):
    """Places of the first image of each class, of some classes."""
    _, places = np.unique(labels, return_index=True)
    return np.sort(places)[:EXAMPLES]


def layers(run):
    if run.analysis is None:
        return note("There is no table of layers; see below.")
    table = getattr(run.analysis, "to_html", None)
    text = table() if table else f"<pre>{escape(run.analysis)}</pre>"
    rows = len(getattr(run.analysis, "rows", ()))
    text = f'<div class="scroll">{text}</div>'
    if rows <= LONG_TABLE:
        return text
    return f"<details><summary>{rows:,} layers: show the table</summary>{text}</details>"


def missing(run):
    if not run.missing:
        return ""
    said = dict.fromkeys(f"<li>{escape(what)}: {escape(why)}</li>" for what, why in run.missing)
    return f"<ul>{''.join(said)}</ul>"


def beside(found, part):
    """The same part of all runs, each under its name."""
    columns = "".join(f"<div><h3>{escape(run.name)}</h3>{part(run)}</div>" for run in found)
    return f'<div class="beside">{columns}</div>' if columns else ""


def below(found, part):
    """The same, one below the other: for what is as wide as a page."""
    return "".join(f"<h3>{escape(run.name)}</h3>{part(run)}" for run in found)


def attempt(run, what, draw):
    """A picture, or a sentence about why there is none."""
    try:
        return draw()
    except Exception as error:  # a foreign model may raise anything, and the other pictures are worth having
        return note(f"No {what}: {reason(error)}")
