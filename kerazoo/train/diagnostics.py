"""A callback that finds out why a training fails: what, where, on what evidence, and what to try."""
import contextlib
import dataclasses
import json
import math
import pathlib
import sys
import textwrap
import time
import warnings

import keras
import numpy as np

from kerazoo.files import put
from kerazoo.networks import has_graph
from kerazoo.train import logs as logging
from kerazoo.train import state as states
from kerazoo.train.diagnosis_board import Board
from kerazoo.train.diagnosis_break import broken_data, broken_layer
from kerazoo.train.diagnosis_data import look
from kerazoo.train.diagnosis_evidence import beyond_training, far_apart
from kerazoo.train.diagnosis_model import about_model, about_rate, foresee
from kerazoo.train.diagnosis_probe import Probe, foreign_size, kernels_now, length, update_ratios
from kerazoo.train.diagnosis_rules import findings_of
from kerazoo.train.distribution import is_chief, several_hosts
from kerazoo.train.findings import Finding, count, ordered, sentence
from kerazoo.train.optimizers import rate_at, unwrapped

SHARE = 0.03  # of the time of training that measurements may take, the first one aside
SPACING = 0.005  # of the time so far, at least between two: as many from 1 to 2 minutes as from 1 to 2 hours
KEPT = 200  # measurements, of which every other one is forgotten when there are more
CHECK_EVERY = 20  # as a Run looks at the loss, so that this one sees it first
COLD = 0.25  # of the first measurement's time is what the next ones may take
VERSION = 1  # of diagnosis.json


class Diagnostics(keras.callbacks.Callback):
    """Watches a training, and says in words what is wrong with it, on what evidence, and what to try.

    It finds dying ReLUs, vanishing and exploding gradients, numbers that are none (and where they began), learning
    rates that are too high or too low, overfitting, underfitting, plateaus, labels and images that look wrong, losses
    that do not fit the outputs, and validation that is not like training.

    A fixed sample of at most 64 images goes through the model now and then, before the first step, after it, and later
    as often as costs 3 % of the time: the deviation of each layer's output, the norm of its gradient, units that are
    zero on all of the sample, and how far a step has moved its kernel. Nothing of the training changes, no weight, no
    moving average and no seed. The first measurement takes longer (on JAX it is compiled).

    What is found is printed at once, and again at the end. If the loss is no number any more, the weights of the last
    measurement come back into the model, which are finite, and training stops. One instance can watch several fits,
    one after another: each begins anew, but for one that a Run goes on with.

    Layers inside of a subclassed model, or on several hosts, are not seen: then it goes by the losses, the accuracies
    and the data. Of several outputs, neither losses nor labels are looked at on their own.

    Args:
        data: what the model is trained on: (images, labels), arrays, or a data set of batches, such as
            `kerazoo.data.load` returns; not a generator, which cannot be gone through again. Sample and statistics are
            taken from it at once, by going through some of it. A data set that counts how often it was gone through,
            as `shuffle` of tf.data does, trains in another order afterwards: give arrays, or a second one like it.
        every: batches between two measurements, from 1; None: as above.
        folder: of the run: `diagnosis.json`, and curves and findings for TensorBoard, are written there. None: nowhere.
        verbose: whether to print.

    Attributes:
        findings: list of `kerazoo.train.findings.Finding`, the most likely cause first.

    Raises:
        ValueError: if data, every or folder are not what they must be.

    Example:
        >>> diagnostics = kerazoo.train.Diagnostics(train)
        >>> model.fit(train, validation_data=validation, epochs=5, callbacks=[diagnostics])
        >>> print(diagnostics)
        >>> with Run("runs/x", model) as run:
        ...     model.fit(run.data(train), callbacks=run.callbacks(Diagnostics(train, folder=run.path)), verbose=0)

    Reference:
        Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks, 2010,
        https://proceedings.mlr.press/v9/glorot10a.html; Pascanu et al.: On the difficulty of training recurrent neural
        networks, 2013, https://arxiv.org/abs/1211.5063; Prechelt: Early Stopping - But When?, 1998,
        https://doi.org/10.1007/3-540-49430-8_3; Karpathy: CS231n notes, https://cs231n.github.io/neural-networks-3/.
    """

    def __init__(self, data, *, every=None, folder=None, verbose=True):
        super().__init__()
        if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise ValueError(f"every must be a positive number of batches, or None to go by time; got {every!r}.")
        self.every, self.verbose = every, bool(verbose)
        self._folder = None if folder is None else pathlib.Path(folder).expanduser()
        if self._folder is not None and self._folder.is_file():
            raise ValueError(f"folder must be a folder, such as that of a run; got the file {self._folder}.")
        # Names with an underscore are no part of a checkpoint.
        self._data = data
        self._images, self._labels, self._facts = look(data)
        self._reset()

    def _reset(self):
        """Know nothing of a training."""
        self._evidence = {
            "data": self._facts, "classes": None, "first_loss": None, "epochs": [], "planned": None, "samples": [],
            "kernels": {}, "units": {}, "back": {}, "broken": None, "peak_rate": None, "scheduled": False, "model": {},
            "outputs": None, "trainable": None, "sizes": {}, "shrunk": {}, "ahead": None,
        }
        self._step, self._found, self._gone, self._silent = 0, {}, {}, {}
        self._probe, self._snapshot, self._board = None, None, None
        self._spent, self._cost, self._warm, self._elapsed = 0.0, 0.0, 0.0, 0.0
        self._previous, self._before, self._judged, self._epoch = None, None, False, 1
        self._offset, self._done = 0, 0  # batches of the epoch that a run had done before; those done since
        self._kept, self._restored = False, False  # whether a Run follows; whether it goes on
        self._stopped = False  # whether the loss was no number
        self._sound = True  # whether the weights were numbers when last looked at

    # What has been found.

    @property
    def findings(self):
        """Those that hold, causes first, then those that once did."""
        now = [finding for kind, finding in self._found.items() if kind not in self._gone]
        before = [
            dataclasses.replace(finding, evidence=f"{finding.evidence} (Not so any more in epoch {self._gone[kind]}.)")
            for kind, finding in self._found.items() if kind in self._gone
        ]
        return ordered(now) + before

    def report(self):
        """All findings in words.

        Returns:
            A text of several lines.

        Example:
            >>> print(diagnostics.report())
        """
        epochs, found = len(self._evidence["epochs"]), self.findings
        seen = f"{count(epochs, 'epoch')}, {count(len(self._evidence['samples']), 'measurement')}"
        if not found:
            blind = self._evidence["epochs"] and not self._evidence["samples"]
            return f"Diagnosis ({seen}): nothing{' that could be seen' if blind else ''} looks wrong."
        lines = [f"Diagnosis ({seen}), the most likely cause first:"]
        for number, finding in enumerate(found, 1):
            when = "before training" if finding.epoch == 0 else f"in epoch {finding.epoch}"
            where = f": {finding.where}" if finding.where else ""
            lines += [
                f"{number}. {sentence(finding.title)} ({finding.severity}, found {when}){where}",
                *wrapped(finding.evidence, "   "), "   What to try, the most likely first:",
                *[line for remedy in finding.remedies for line in wrapped(remedy, "   - ", "     ")],
            ]
        return "\n".join(lines)

    __str__ = report

    @property
    def overhead(self):
        """{first, later, seconds}: what the first measurement took, all the others, and the training since then."""
        return {"first": self._warm, "later": self._spent, "seconds": self._elapsed}

    def as_json(self):
        """What `diagnosis.json` holds."""
        order = self._evidence["kernels"]
        return finite({
            "version": VERSION,
            "findings": [finding.as_json() for finding in self.findings],
            "measures": [
                {
                    "epoch": sample["epoch"], "step": sample["step"], "loss": sample["loss"],
                    "layers": {
                        name: {
                            "gradient_norm": sample["gradient"].get(name), "update_ratio": sample["ratio"].get(name),
                            "dead": sample["dead"].get(name), "activation_std": sample["std"].get(name),
                        }
                        for name in dict.fromkeys([*sample["std"], *sample["dead"], *order])
                    },
                }
                for sample in self._evidence["samples"]
            ],
        })

    # While training.

    def on_train_begin(self, logs=None):
        self._close()
        self._reset()
        self._begun = self._last_time = time.monotonic()
        self._evidence["planned"] = self.params.get("epochs")
        optimizer = getattr(self._model, "optimizer", None)
        self._evidence["scheduled"] = optimizer is not None and about_rate(optimizer)["scheduled"]
        if optimizer is not None:
            steps = (self.params.get("steps") or 0) * (self._evidence["planned"] or 0)
            self._evidence["ahead"] = foresee(optimizer, steps)
        self._prepare()
        if self._probe is not None:
            self._keep()
            self._measure(None)
            self._warm = self._cost
            self._cost, self._spent, self._begun = COLD * self._cost, 0.0, time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._done, self._previous = epoch + 1, 0, None
        if self.model.weights:  # a subclassed model may have none yet
            self._evidence["trainable"] = len(self.model.trainable_weights)
        steps = self.params.get("steps")
        # A Run goes on within an epoch, and Keras counts from 0 again.
        self._offset = self._step % steps if self._restored and steps else 0
        self._restored = False
        if self._probe is not None and [id(one) for one in self._probe.trained] != [
            id(one) for one in self._model.trainable_variables
        ]:
            self._prepare()  # layers were frozen or unfrozen

    def on_train_batch_begin(self, batch, logs=None):
        if not self._judged:
            # Only now: a Run that goes on has handed over what was known before.
            self._judged = True
            if not self._step and self._evidence["samples"]:
                self._tell(self._evidence["samples"][0])
            self._judge()
        if self._probe is not None and self._due():
            begun = time.monotonic()
            states.sync(self._model)
            with self._watching():
                self._before = kernels_now(self._probe)
            self._spent += time.monotonic() - begun

    def on_train_batch_end(self, batch, logs=None):
        # The last of several steps an execution may be beyond the end.
        whole = (self.params.get("steps") or math.inf) - self._offset
        done = min(batch + 1, whole)
        steps, self._done = max(done - self._done, 0), done
        before, self._step = self._step, self._step + steps
        loss = (logs or {}).get("loss")
        if loss is not None:
            if self._evidence["first_loss"] is None and before == 0:
                self._evidence["first_loss"] = float(loss)
            # The one before is there already, and costs an accelerator no waiting.
            ripe = (
                self._step <= CHECK_EVERY or before // CHECK_EVERY != self._step // CHECK_EVERY or self._before
                or done == whole
            )
            seen = loss if ripe else self._previous
            self._previous = loss
            if seen is not None and not math.isfinite(float(seen)):
                self._break(f"The loss became {float(seen)}", steps)
                return
        if self._before is not None:
            begun = time.monotonic()
            before, self._before = self._before, None
            self._measure((before, steps))
            if not self._sound:
                self._break(weights_became(loss), steps)
                return
            self._judge()
            self._cost = time.monotonic() - begun
            self._spent += self._cost

    def on_epoch_end(self, epoch, logs=None):
        begun = time.monotonic()
        logs = logging.numbers(logs)
        loss = logs.get("loss")
        beside = logs.get("val_loss")
        if self._evidence["broken"]:
            pass
        elif loss is not None and not math.isfinite(loss):
            self._break(f"The loss became {loss}", 1)
        elif beside is not None and not math.isfinite(beside) and not self._keep(False):
            self._break(weights_became(loss), 1)
        accuracy = accuracy_in(logs)
        self._evidence["epochs"].append({
            "epoch": epoch + 1, "loss": loss, "accuracy": logs.get(accuracy), "val_loss": logs.get("val_loss"),
            "val_accuracy": logs.get(f"val_{accuracy}"), **self._rates(), "known": None,
        })
        if self._probe is not None and (beyond_training(self._evidence) or far_apart(self._evidence)):
            with self._watching():
                self._evidence["epochs"][-1]["known"] = self._probe.accuracy()
        self._judge()
        self._write()
        self._spent += time.monotonic() - begun

    def on_train_end(self, logs=None):
        samples = self._evidence["samples"]
        if self._stopped and self._snapshot is not None:
            # Keras has put averages (use_ema) in the place of the weights, and those are no numbers.
            states.assign(self.model.weights, self._snapshot)
        elif self._probe is not None and not self._evidence["broken"] and samples and samples[-1]["step"] < self._step:
            begun = time.monotonic()
            self._measure(None)
            self._spent += time.monotonic() - begun
        self._elapsed = time.monotonic() - self._begun
        self._judge(at_end=True)
        self._write()
        if self.verbose and is_chief():
            say(self.report())
        self._close()
        self._snapshot = self._probe = None

    # What a Run keeps in its checkpoints.

    def get_state(self):
        self._kept = True
        return {
            # One text: names of layers are no names of arrays.
            "evidence": json.dumps(self._evidence), "step": self._step,
            "found": json.dumps({kind: dataclasses.asdict(finding) for kind, finding in self._found.items()}),
            "gone": dict(self._gone),
            "silent": json.dumps({name: units.astype(int).tolist() for name, units in self._silent.items()}),
        }

    def set_state(self, saved):
        self._kept = self._restored = True
        now = {name: self._evidence[name] for name in ("model", "planned", "scheduled", "trainable", "ahead")}
        self._evidence = {**self._evidence, **json.loads(saved["evidence"]), **now}
        self._step = saved["step"]
        self._found = {kind: Finding(**finding) for kind, finding in json.loads(saved["found"]).items()}
        self._gone = dict(saved["gone"])
        self._silent = {name: np.array(units, bool) for name, units in json.loads(saved["silent"]).items()}

    # How it is done.

    @contextlib.contextmanager
    def _watching(self):
        """A measurement that fails, such as for want of memory, ends no training."""
        try:
            yield
        except Exception as error:  # whatever a layer of the user's or the backend raises
            self._probe = self._before = None
            warnings.warn(
                f"Diagnostics could not measure {self._model.name} ({type(error).__name__}: {error}). Training goes "
                "on, and it looks at no layers any more.", stacklevel=2,
            )

    def _prepare(self):
        """Make the probe, where the model has a graph."""
        model = self.model
        if several_hosts() or not has_graph(model):
            if self.verbose and is_chief():
                why = "on several hosts" if several_hosts() else f"in {model.name}, which is not functional"
                say(f"Diagnostics sees no layers {why}: it goes by losses, accuracies and data.")
            return
        with self._watching():
            self._probe = Probe(model, self._images, self._labels)
            shape = model.outputs[0].shape
            self._evidence["classes"] = shape[-1] if len(model.outputs) == 1 and len(shape) == 2 else None
            self._evidence["kernels"] = {
                name: int(math.prod(kernel.shape)) for name, kernel in self._probe.kernels.items()
            }
            self._evidence["model"] = about_model(model, self._probe)
        if misfit := foreign_size(model, self._images):
            self._probe = None
            warnings.warn(
                f"Diagnostics was given images of {misfit[0]}, and {model.name} takes {misfit[1]}: give it the data "
                "set that fit gets. It looks at no layers.", stacklevel=2,
            )

    def _due(self):
        if self._step == 0:
            return True  # how far the first step goes tells much
        planned = (self.params.get("steps") or 0) * (self._evidence["planned"] or 0)
        if 0 < planned - self._step <= (getattr(self._model, "steps_per_execution", None) or 1):
            return True  # and the last one, of a short training perhaps the only other one
        if self.every is not None:
            return self._step + 1 - self._evidence["samples"][-1]["step"] >= self.every
        now = time.monotonic()
        elapsed = now - self._begun
        return self._spent + self._cost <= SHARE * elapsed and now - self._last_time >= SPACING * elapsed

    def _measure(self, step):
        """One measurement, after a step of which the kernels (before, batches) are known, or on its own."""
        begun = time.monotonic()
        states.sync(self._model)
        evidence = self._evidence
        with self._watching():
            seen, kernels = self._probe(), kernels_now(self._probe)
            ratio = {} if step is None else update_ratios(step[0], kernels, max(step[1], 1))
            if getattr(unwrapped(self._model.optimizer), "gradient_accumulation_steps", None) and (
                    not any(ratio.values())):
                ratio = {}  # what is accumulated has moved nothing yet
        if self._probe is None:
            return
        for name, units in seen["dead"].items():
            evidence["units"][name] = len(units)
            ever = self._silent.get(name, np.zeros(len(units), bool))
            evidence["back"][name] = int((ever & ~units).sum())
            self._silent[name] = ever | units
        rate = self._rate()
        sample = {
            "epoch": self._epoch if self._step else 0, "step": self._step, "loss": seen["loss"], "rate": rate,
            "std": rounded(seen["std"]), "peak": rounded(seen["peak"]), "gradient": rounded(seen["gradient"]),
            "dead": rounded({name: float(units.mean()) for name, units in seen["dead"].items()}),
            "ratio": rounded(ratio), "input": seen["input"],
        }
        evidence["samples"].append(sample)
        if not self._step:
            evidence["outputs"] = seen["outputs"]
        self._compare_sizes(kernels)
        if len(evidence["samples"]) > KEPT:
            # The first one stays, and so do the last.
            evidence["samples"] = evidence["samples"][:-4:2] + evidence["samples"][-4:]
        numbers = [*seen["std"].values(), *seen["gradient"].values(), *([] if seen["loss"] is None else [seen["loss"]])]
        whole = all(map(math.isfinite, numbers))
        self._sound = self._keep(whole)
        if not whole and self._step == 0 and not evidence["data"].get("broken"):
            self._place(None)
        if self._judged:  # before, a Run may yet hand over its own
            self._tell(sample)
        self._last_time = time.monotonic()
        self._cost = self._last_time - begun

    def _compare_sizes(self, kernels):
        """Note how large kernels are over what they were at first."""
        sizes = rounded({name: length(kernel) for name, kernel in kernels.items()})
        first = self._evidence["sizes"] = self._evidence["sizes"] or sizes
        shrunk = {name: size / first[name] for name, size in sizes.items() if first.get(name)}
        self._evidence["shrunk"] = rounded(shrunk)

    def _keep(self, wanted=True):
        """Copy the weights, to come back to, if they are finite; whether they are.

        On some devices, a ReLU makes zeros of what is no number, and no loss tells of weights that are none.
        """
        states.sync(self._model)
        values = states.values_of(self._model.weights)
        sound = all(map(states.finite, values))
        if sound and wanted:
            self._snapshot = values
        return sound

    def _rate(self, past=False):
        """The learning rate of the last batch; past: of some before it as well, for their peak."""
        optimizer = getattr(self._model, "optimizer", None)
        if optimizer is None:
            return None
        states.sync(self._model)
        back = {1} | ({self._step // part for part in (1.1, 1.5, 2, 4)} | {
            max(1, self._step - first) for first in (0, 1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 256, 512)
        } if past and self._step > 1 else set())
        rates = {one: rate_at(optimizer, max(1, int(one))) for one in back}
        self._evidence["peak_rate"] = max([*rates.values(), self._evidence["peak_rate"] or 0.0])
        return rates[1]

    def _rates(self):
        """{rate: of the epoch's last batch, highest: in the epoch, ended: whether a schedule's end lies behind}."""
        epochs, optimizer = self._evidence["epochs"], getattr(self._model, "optimizer", None)
        rate = self._rate(past=not epochs)
        if rate is None:
            return {"rate": None, "highest": None, "ended": False}
        about, batches = about_rate(optimizer), int(self._offset + self._done)
        if about["scheduled"]:
            highest = max(rate_at(optimizer, max(1, part * batches // 4)) for part in range(5))
        else:  # other callbacks may have lowered it already for the next epoch
            highest = max([rate, *[epoch["rate"] for epoch in epochs[-1:]]])
        return {"rate": rate, "highest": highest, "ended": about["ended"]}

    def _break(self, said, steps):
        """The loss, or weights, are no numbers: find out where that began, put finite weights back, and stop."""
        model, evidence = self.model, self._evidence
        if self._before is not None:
            before, self._before = self._before, None
            evidence["samples"].append({
                "epoch": self._epoch, "step": self._step, "loss": None, "rate": self._rate(), "std": {}, "peak": {},
                "gradient": {}, "dead": {}, "input": [],
                "ratio": rounded(update_ratios(before, kernels_now(self._probe), max(steps, 1))),
            })
        broken = [
            layer.name for layer in (model.layers if self._probe is None else [one for _, one in self._probe.parts])
            if not all(states.finite(states.value_of(weight)) for weight in getattr(layer, "weights", []))
        ]
        back = ""
        if self._snapshot is not None:
            states.assign(model.weights, self._snapshot)
            if not self._kept:  # a Run puts back those of its checkpoint, and says so
                last = next((s["step"] for s in reversed(evidence["samples"]) if s["std"]), 0)
                back = f" The model has the weights of {f'batch {last}' if last else 'the start'} again."
        self._place(
            f"{said} by batch {self._step} of the training, in epoch {self._epoch}.{back}", broken
        )
        model.stop_training = self._stopped = True
        self._judge()
        self._write()

    def _place(self, said, broken=()):
        """Note where something first was no number: in the data, forward, or backward."""
        found = (None, None, "")
        if said is not None and (bad := broken_data(self._data)):
            found = "data", "training images", bad
        elif self._probe is not None:
            with self._watching():
                found = broken_layer(self._probe, self._evidence, list(broken))
        direction, where, what = ("forward", "the loss", found[2]) if found[0] is None else found
        text = " ".join(part for part in (said, what) if part)
        self._evidence["broken"] = {
            "epoch": self._epoch if self._step else 0, "step": self._step, "where": where, "direction": direction,
            "what": text,
        }

    def _judge(self, at_end=False):
        """Look at the evidence, and say what is new."""
        found = {finding.kind: finding for finding in findings_of(self._evidence, at_end)}
        epoch = len(self._evidence["epochs"])
        new = [kind for kind in found if kind not in self._found]
        for kind, finding in found.items():
            first = self._found.get(kind, finding)
            self._found[kind] = dataclasses.replace(finding, epoch=first.epoch)
            self._gone.pop(kind, None)
        for kind in self._found:
            if kind not in found:
                self._gone.setdefault(kind, max(epoch, 1))
        for kind in new:
            if self.verbose and is_chief():
                say("\n".join(wrapped(f"DIAGNOSIS: {self._found[kind]}", "", "  ")))
            self._tell(self._found[kind])
        if new:
            self._write()

    # Files.

    @contextlib.contextmanager
    def _guard(self, what):
        """A disk that is full stops nothing."""
        try:
            yield
        except OSError as error:
            warnings.warn(
                f"{what} could not be written to {self._folder} ({error.strerror or error}). Training goes on; make "
                "room, and it will be written with the next one.", stacklevel=2,
            )

    def _write(self):
        if self._folder is None or not is_chief():
            return
        with self._guard("The diagnosis"):
            self._folder.mkdir(parents=True, exist_ok=True)
            put(self._folder / "diagnosis.json", json.dumps(self.as_json(), allow_nan=False))

    def _close(self):
        if self._board is not None:
            self._board.close()
            self._board = None

    def _tell(self, what):
        """TensorBoard of a measurement or of a finding."""
        if self._folder is None or not is_chief():
            return
        if self._board is None:
            self._board = Board(self._folder / "tensorboard", self._guard)
        (self._board.text if isinstance(what, Finding) else self._board.curves)(self._step, what)


def accuracy_in(logs):
    """The name of the accuracy among what was logged: the usual ones first, and never that of the best five."""
    usual = ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy")
    others = [name for name in logs if name.endswith("accuracy") and not name.startswith("val_") and "top" not in name]
    return next((name for name in (*usual, *others) if name in logs), None)


def weights_became(loss):
    return "Weights became no numbers," + ("" if loss is None else f" at a loss of {float(loss):.3g},")


def say(text):
    """Print, below the line that shows the progress at a terminal."""
    print(f"\r\x1b[K{text}" if sys.stdout.isatty() else text, flush=True)


def wrapped(text, first, rest=None):
    return textwrap.wrap(
        text, 110, initial_indent=first, subsequent_indent=first if rest is None else rest, break_long_words=False,
        break_on_hyphens=False,
    )


def rounded(figures):
    """To four digits, which is what they are good for."""
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def finite(value):
    """The same, with null in the place of what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
