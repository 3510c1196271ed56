"""What there is to say of a run in a line each."""
import datetime
import math

from kerazoo.visualize import runs
from kerazoo.visualize.gather import whole
from kerazoo.visualize.page import escape
from kerazoo.words import amount, duration


def title_of(run):
    data = run.left.options.get("dataset") or run.left.note.get("data", {}).get("name")
    model = model_name(run)
    return f"{model} on {data}" if model and data else str(model or run.name)


def model_name(run):
    noted = run.left.note.get("model", {}).get("name")
    return run.left.options.get("model") or getattr(run.model, "name", None) or noted


def subtitle(found):
    from kerazoo.version import __version__

    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    where = ", ".join(run.name for run in found)
    return f"{where} · report of {now}, kerazoo {__version__}"


def facts_table(found):
    """What was trained on what: one column a run; rows that differ are marked."""
    columns = [facts(run) for run in found]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = []
    for name in names:
        cells = [column.get(name, "–") for column in columns]
        differs = ' class="differs"' if len(set(cells)) > 1 else ""
        cells = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr{differs}><th scope="row">{escape(name)}</th>{cells}</tr>')
    head = ""
    if len(found) > 1:
        head = f"<thead><tr><th></th>{''.join(f'<th scope=col>{escape(run.name)}</th>' for run in found)}</tr></thead>"
    note = '<p class="quiet">Rows in which the runs differ have a colored ground.</p>' if len(found) > 1 else ""
    return f'{note}<div class="scroll"><table class="facts">{head}<tbody>{"".join(rows)}</tbody></table></div>'


def facts(run):
    """{name: HTML} of what there is to say of a run in a line each."""
    left, found = run.left, {}

    def add(name, text):
        if text not in (None, ""):
            found[name] = escape(text)

    # A file may hold a model that was never built.
    known = run.model is not None and run.model.built
    parameters = run.model.count_params() if known else left.note.get("model", {}).get("parameters")
    macs = getattr(run.analysis, "macs", None)
    add("Model", ", ".join(filter(None, [
        str(model_name(run) or "not known"),
        f"{parameters:,} parameters" if isinstance(parameters, int) else "",
        f"{amount(macs)} multiply-accumulates an image" if macs else "",
    ])))
    add("Data", data_in_words(run))
    add("Test accuracy", accuracy_in_words(run))
    if best := runs.best_epoch(left):
        epoch, monitor, value = best
        shown = f"{100 * value:.2f} %" if "accuracy" in monitor else f"{value:.4g}"
        add("Best epoch", f"{epoch}: {monitor.replace('val_', 'validation ').replace('_', ' ')} {shown}")
    add("Epochs", epochs_in_words(left))
    if times := runs.sessions(left):
        begun, seconds, count = times
        add("Trained", begun.astimezone().strftime("%Y-%m-%d %H:%M")
            + (f", {duration(seconds)}" if seconds is not None else "")
            + (f", in {count} sessions" if count > 1 else ""))
    add("Optimizer", optimizer_in_words(left.note.get("optimizer")))
    add("Learning rate", rates_in_words(left.log.get("learning_rate")))
    if isinstance(left.note.get("command"), str):
        found["Command"] = f"<code>{escape(left.note['command'])}</code>"
    shown = {key: value for key, value in left.options.items() if str(value) not in ("None", "")}
    add("Options", ", ".join(f"{key} {value}" for key, value in sorted(shown.items())))
    versions = left.note.get("versions")
    if isinstance(versions, dict):
        add("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())
            + (f"; on {left.note['backend']}" if left.note.get("backend") else ""))
    add("Folder", left.folder)
    return found


def accuracy_in_words(run):
    """The test accuracy that the recipe measured; behind it the report's own, where that is another one."""
    noted, images, said = run.left.test.get("accuracy"), run.left.test.get("images"), []
    if is_number(noted):
        of = f" of {images:,} images" if isinstance(images, int) else ""
        said.append(f"{100 * noted:.2f} %{of}, as the recipe measured it")
    if run.probabilities is not None:
        right = float((run.probabilities.argmax(-1) == run.labels).mean())
        if not said or abs(right - noted) > 5e-5 or len(run.labels) != images:
            said.append(f"{100 * right:.2f} % of {run.data}, measured for this report")
    return "; ".join(said)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def data_in_words(run):
    note = run.left.note.get("data", {})
    name = run.left.options.get("dataset") or note.get("name") or "not known"
    parts = [str(name)]
    if isinstance(note.get("num_examples"), int):
        parts.append(f"{note['num_examples']:,} training images")
    classes = len(run.class_names) if run.class_names else note.get("classes")
    parts += [f"{classes:,} classes"] if isinstance(classes, int) else []
    shape = note.get("image_shape")
    parts += [" × ".join(map(str, shape)) + " pixels"] if isinstance(shape, list) else []
    return ", ".join(parts)


def epochs_in_words(left):
    if left.damaged_log:
        return "not known, as log.csv cannot be read"
    done, planned = left.epochs, whole(left.options.get("epochs"))
    said = f"{done:,}" + (f" of {planned:,}" if planned and planned != done else "")
    if left.place:
        return f"{said}; interrupted, or still running: {left.place}"
    if not done and not planned:
        return ""
    return said + ("; training ended before, as early stopping ends it" if planned and 0 < done < planned else "")


def optimizer_in_words(compiled):
    """The optimizer's name and settings, without its table of weights and what is off."""
    if not isinstance(compiled, dict):
        return compiled
    off = ("None", "False", "0", "0.0", "")
    idle = ("table", "name", *(["ema_"] if str(compiled.get("use_ema")) in off else []))
    settings = [
        f"{name} {value}" for name, value in compiled.items() if not name.startswith(idle) and str(value) not in off
    ]
    return ", ".join([str(compiled.get("name", "")), *settings]).removeprefix(", ")


def rates_in_words(rates):
    rates = [rate for rate in rates or [] if math.isfinite(rate)]
    if not rates:
        return ""
    if len(rates) == 1:
        return f"{rates[0]:.3g} at the end of the epoch"
    if min(rates) == max(rates):
        return f"{rates[0]:.3g}"
    return f"after epochs: {rates[0]:.3g} after the first, highest {max(rates):.3g}, {rates[-1]:.3g} after the last"
