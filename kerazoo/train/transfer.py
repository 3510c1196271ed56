"""Transfer learning: freezing, unfreezing by and by, and both in one call."""
import math

import keras
import numpy as np

from kerazoo.train import cached, graph, optimizers


def freeze(model, up_to=None):
    """Keep the first layers of a model as they are, batch norms in inference mode.

    A frozen layer is not trainable. A frozen batch norm, besides, normalizes by its moving averages in training too,
    and leaves them alone; other normalizations know no such mode, and dropout stays what it is. A compiled model stays
    so, in the middle of `fit` as well: its step is made anew, and the optimizer keeps its state (one of Keras's own is
    made anew with it, and forgets what it knew of layers that are frozen now).

    Args:
        model: a functional or sequential `keras.Model`, built.
        up_to: the last stage ("stage3"), block ("stage3_block1") or layer ("stage3_block1_bn2") to freeze, with all
            that it depends on. A stage or block is what the names of its layers begin with. A model inside the model is
            one layer. None: all but the head, that is the last layer with a kernel on the way to each output.

    Returns:
        A sentence that says what is frozen, for printing. All other layers are left as they are.

    Raises:
        ValueError: if the model has no such stage or layer, or no order of layers.

    Example:
        >>> model = kerazoo.resnet18(classes=5)
        >>> kerazoo.load_weights(model, "imagenet", fresh_head=True)
        >>> print(freeze(model, up_to="stage3"))
        Frozen: 30 layers up to stage3_block2_bn2 with 2,782,784 parameters, 15 batch norms in inference mode. ...
    """
    order = graph.steps(model)
    if up_to is None:
        frozen = graph.before(order, graph.heads(order))
    else:
        ends = graph.of_stage(model, order, up_to)
        chosen = {id(step) for step in (*ends, *graph.before(order, ends))}
        frozen = [step for step in order if id(step) in chosen]
    for step in graph.weighted(frozen):
        mark(step.operation, False)
    renew(model)
    return described(model, order)


def unfreeze(model, from_=None, *, batch_norm=True):
    """Train layers of a model again: the opposite of `freeze`.

    Args:
        model: a functional or sequential `keras.Model`, built.
        from_: the first stage, block or layer to train, named as for `freeze`, with all that does not come before it.
            None: the whole model.
        batch_norm: False: the batch norms among these layers are frozen, in inference mode with their scales and
            offsets, as suits small batches and few images.

    Returns:
        A sentence that says what is trained, for printing.

    Raises:
        ValueError: if the model has no such stage or layer, or no order of layers.

    Example:
        >>> print(unfreeze(model, from_="stage4", batch_norm=False))
    """
    order = graph.steps(model)
    chosen = order
    if from_ is not None:
        starts = graph.of_stage(model, order, from_)
        own = {id(step) for step in starts}
        earlier = {id(step) for step in graph.before(order, starts)} - own
        chosen = [step for step in order if id(step) not in earlier]
    if not model.trainable:
        # Its own flag reaches all its layers.
        _, *inner = graph.layers_of(model)
        flags = [(layer, layer.trainable) for layer in inner]
        model.trainable = True
        for layer, flag in flags:
            layer.trainable = flag
    for step in graph.weighted(chosen):
        mark(step.operation, True)
        if not batch_norm:
            for layer in batch_norms(step.operation):
                layer.trainable = False
    renew(model)
    return described(model, order)


def stage_rates(model, factor):
    """Lower learning rates for deeper stages, as multipliers for `kerazoo.train.optimizer`.

    The head learns at the full rate, the stage in front of it at `factor` times that, the next one at `factor` squared.

    Args:
        model: a functional or sequential `keras.Model`, built; its layers' names begin with those of their stages.
        factor: above 0, below 1 for lower rates.

    Returns:
        {pattern of layer names: multiplier}.

    Raises:
        ValueError: if the factor is not above 0, or the names do not tell stages apart.

    Example:
        >>> optimizer(model, "adamw", 1e-3, lr_multipliers=stage_rates(model, 0.3))

    Reference:
        Howard, Ruder: Universal Language Model Fine-tuning for Text Classification, 2018,
        https://arxiv.org/abs/1801.06146 (discriminative fine-tuning, gradual unfreezing).
    """
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < float("inf"):
        raise ValueError(f"factor must be a number above 0, a stage's rate over that of the next one; got {factor!r}.")
    order = graph.steps(model)
    tops, rates, depth = {id(step.operation) for step in graph.heads(order)}, {}, 0
    for stage, layers in reversed(graph.stages(model, order).items()):
        top = any(id(layer) in tops for layer in layers)
        # The last batch norm of a pre-activation network is no stage of its own.
        depth += not top and any(len(weight.shape) > 1 for layer in layers for weight in layer.weights)
        names = [layer.name for layer in layers]
        rates.update({stage: 1.0 if top else factor**depth} if stage in names else {})
        rates.update({f"{stage}_*": 1.0 if top else factor**depth} if set(names) - {stage} else {})
    return rates


class GradualUnfreezing(keras.callbacks.Callback):
    """Unfreezes a frozen model stage by stage from the top, by epoch or when validation stalls.

    Freeze the model first. Use `kerazoo.train.optimizer`, which keeps a place for all weights from the start, so that
    a `Run` can be continued; `lr_multipliers=stage_rates(model, 0.3)` gives deeper stages lower rates. Each change is
    told in a line; it compiles the step anew, which takes as long as in the first epoch.

    Args:
        stages: {epoch: stage}: trains from that stage on when that epoch begins, counted as `fit` does, from 0. Or a
            list of stages, the top one first, of which `every` or `patience` unfreezes the next. None: the model's own
            stages, as the names of its layers tell them. Named as for `freeze`.
        every: epochs between two stages, and before the first one.
        patience: unfreeze after so many epochs without a better `monitor`, counted anew for each stage.
        monitor: the logged figure; smaller is better where its name ends in "loss".
        batch_norm: False: keeps batch norms frozen, as in `unfreeze`.

    Raises:
        ValueError: if an argument is out of its range; when training begins, if the model has no such stage or nothing
            is frozen.

    Example:
        >>> freeze(model)
        >>> model.compile(optimizer(model, "adamw", 1e-3), loss, metrics=["accuracy"])
        >>> model.fit(train, validation_data=validation, epochs=12, callbacks=[GradualUnfreezing(every=2)])

    Reference:
        Howard, Ruder: Universal Language Model Fine-tuning for Text Classification, 2018,
        https://arxiv.org/abs/1801.06146.
    """

    def __init__(self, stages=None, *, every=None, patience=None, monitor="val_loss", batch_norm=True):
        super().__init__()
        for name, count in (("every", every), ("patience", patience)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
                raise ValueError(f"{name} must be a positive number of epochs; got {count!r}.")
        if isinstance(stages, dict):
            wrong = [epoch for epoch in stages if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0]
            if wrong or not stages:
                raise ValueError(f"stages must be {{epoch: stage}} with epochs counted from 0; got {stages!r}.")
        elif stages is not None and not (isinstance(stages, (list, tuple)) and stages):
            raise ValueError(f"stages must be {{epoch: stage}}, a list of stages, or None; got {stages!r}.")
        if (every is not None) + (patience is not None) != (not isinstance(stages, dict)):
            raise ValueError(
                "Wanted one way to tell when to unfreeze: stages={epoch: stage}, every=N epochs, or patience=N epochs "
                f"without a better {monitor}; got stages={stages!r}, every={every!r}, patience={patience!r}."
            )
        self.stages, self.every, self.patience, self.monitor = stages, every, patience, monitor
        self.batch_norm = batch_norm
        self.at_once = 0  # stages that are unfrozen when training begins
        self.plan, self.unfrozen, self.first, self.best, self.wait = None, [], None, None, 0

    def on_train_begin(self, logs=None):
        order = graph.steps(self.model)
        if isinstance(self.stages, dict):
            self.plan = [stage for _, stage in sorted(self.stages.items())]
        elif self.stages is None:
            tops = {id(step.operation) for step in graph.heads(order)}
            self.plan = [name for name, layers in reversed(graph.stages(self.model, order).items())
                         if not all(map(fully_trained, layers)) and not any(id(layer) in tops for layer in layers)]
        else:
            self.plan = list(self.stages)
        for stage in self.plan:
            graph.of_stage(self.model, order, stage)
        if all(fully_trained(step.operation) for step in graph.weighted(order)):
            raise ValueError(f"GradualUnfreezing has nothing to do: no layer of {self.model.name} is frozen. "
                             "Call kerazoo.train.freeze(model) first.")
        self.unfrozen, self.first, self.best, self.wait = [], None, None, 0

    def on_epoch_begin(self, epoch, logs=None):
        if self.first is None:
            self.first = epoch
        if isinstance(self.stages, dict):
            due = sum(start <= epoch for start in self.stages)
        elif self.every:
            due = self.at_once + (epoch - self.first) // self.every
        else:
            due = max(self.at_once, len(self.unfrozen))
        self.unfreeze(due, epoch)

    def on_epoch_end(self, epoch, logs=None):
        if self.patience is None:
            return
        if self.monitor not in (logs or {}):
            raise ValueError(
                f"GradualUnfreezing goes by {self.monitor!r}, which was not logged; there are: "
                f"{', '.join(sorted(logs))}. Give fit validation_data, or name another monitor."
            )
        value = float(logs[self.monitor])
        if math.isfinite(value) and (
            self.best is None or (value < self.best if self.monitor.endswith("loss") else value > self.best)
        ):
            self.best, self.wait = value, 0
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.unfreeze(len(self.unfrozen) + 1, epoch + 1)
            self.wait = 0

    def unfreeze(self, count, epoch):
        new = self.plan[len(self.unfrozen) : count]
        for stage in new:
            text = unfreeze(self.model, from_=stage, batch_norm=self.batch_norm)
        if new:
            self.unfrozen += new
            print(f"From epoch {epoch + 1} on, {new[-1]} is trained. {text}", flush=True)

    def get_state(self):
        """What a continued run needs: the stages unfrozen so far, and the counters."""
        return {"unfrozen": self.unfrozen, "first": self.first, "best": self.best, "wait": self.wait}

    def set_state(self, state):
        """Go on from there; called after `on_train_begin`."""
        optimizer = self.model.optimizer
        for stage in state["unfrozen"]:
            unfreeze(self.model, from_=stage, batch_norm=self.batch_norm)
        if self.model.optimizer is not optimizer:
            raise ValueError(
                f"{type(optimizer).__name__} made no place for the stages that were unfrozen later, and a run cannot "
                "be continued with it. Compile with kerazoo.train.optimizer(model, ...)."
            )
        self.unfrozen, self.first = list(state["unfrozen"]), state["first"]
        self.best, self.wait = state["best"], state["wait"]


def fine_tune(
    model, data, validation_data=None, *, epochs=(5, 10), learning_rate=(1e-3, 1e-4), optimizer="adamw",
    weight_decay=1e-2, lr_multipliers=None, from_=None, gradual=None, batch_norm=False, cache=None, batch_size=32,
    monitor=None, callbacks=(), verbose="auto",
):
    """Train a pretrained model on other images: the head first, then the rest as well, and keep the best epoch.

    While the head is trained, all else is frozen. Where nothing random comes before the head, its inputs, the features,
    are computed once for each image and kept in memory, and the head alone is trained on them. The result is the same,
    but for rounding, since each epoch takes the images in the order in which the data give them. (A tf.data set that
    shuffles anew whenever it is gone through gives other orders, as Keras goes through it more often.) Augmentation or
    dropout inside the model in front of the head leaves nothing to keep; a line says so. Augmentation in the data gives
    other images each epoch, whose features are computed each time.

    Two calls of `fit` cannot be continued after a kill. For that, `freeze`, `GradualUnfreezing` and a `Run` do the
    same in plain sight.

    Args:
        model: a functional or sequential `keras.Model`, with a fresh head (`kerazoo.load_weights(fresh_head=True)`).
            If it is compiled, its loss and metrics are used, and its optimizer is not; else cross-entropy and accuracy,
            for integer or one-hot labels, as they come.
        data: batches as `fit` takes them, from `kerazoo.data.load` or any that can be gone through again; or arrays,
            (images, labels) or (images, labels, weights).
        validation_data: likewise. Without any, there is no best epoch, and the last one stays.
        epochs: (of the head, of the rest); 0 for none.
        learning_rate: (of the head, of the rest): numbers, which fall to 0 in half a cosine over their epochs, or
            schedules of Keras or kerazoo.
        optimizer, weight_decay, lr_multipliers: as for `kerazoo.train.optimizer`; the multipliers, such as
            `stage_rates(model, 0.3)`, are for the second part.
        from_: the first stage or layer to train in the second part; None: all.
        gradual: a `GradualUnfreezing`, in the place of all at once; it begins with its first stage. Epochs that it
            names count from the start of the first part.
        batch_norm: False: batch norms stay in inference mode in the second part too, as suits small sets.
        cache: None: keep features where it changes nothing, up to 2 GB of them. False: never. True: also where there
            is augmentation or dropout inside the model in front of the head, which is then left out while the head is
            trained.
        batch_size: images in a batch, of arrays.
        monitor: the logged figure that decides what is best; None: val_accuracy if it is logged, else val_loss.
        callbacks: for the second part.
        verbose: as for `fit`; 0 also silences the lines.

    Returns:
        A `keras.callbacks.History` of both parts, epochs counted through. The model has the weights of the best epoch,
        and stays compiled for the last part.

    Raises:
        ValueError: if an argument is out of its range, or the labels do not tell the loss.

    Example:
        >>> model = kerazoo.resnet18(classes=train.classes, input_shape=train.image_shape)
        >>> kerazoo.load_weights(model, "imagenet", fresh_head=True)
        >>> history = fine_tune(model, train, validation, epochs=(5, 10))

    Reference:
        Yosinski et al.: How transferable are features in deep neural networks?, 2014, https://arxiv.org/abs/1411.1792;
        Kumar et al.: Fine-Tuning can Distort Pretrained Features, 2022, https://arxiv.org/abs/2202.10054 (head first).
    """
    order = graph.steps(model)
    numbers = is_pair(epochs) and [count for count in epochs if isinstance(count, int) and not isinstance(count, bool)]
    if not numbers or len(numbers) < 2 or min(numbers) < 0 or not sum(numbers):
        raise ValueError(f"epochs must be (of the head, of the rest), from 0, and not both 0; got {epochs!r}.")
    if not is_pair(learning_rate):
        raise ValueError(
            f"learning_rate must be (of the head, of the rest), two numbers or schedules; got {learning_rate!r}."
        )
    if gradual is not None and not isinstance(gradual, GradualUnfreezing):
        raise ValueError(f"gradual must be a kerazoo.train.GradualUnfreezing, or None; got {gradual!r}.")
    if cache not in (None, True, False):
        raise ValueError(f"cache must be True, False, or None for where it changes nothing; got {cache!r}.")
    if gradual is not None and from_ is not None:
        raise ValueError(f"from_={from_!r} is for unfreezing at once; leave it out, or leave out gradual.")
    if from_ is not None:
        graph.of_stage(model, order, from_)
    cached.check_data(data, "data")
    cached.check_batch_size(batch_size)
    if validation_data is not None:
        cached.check_data(validation_data, "validation_data")
    # Of the second part, but to be told before the first one.
    optimizers.plan(model, (), lr_multipliers or {})

    def say(text):
        if verbose != 0:
            print(text, flush=True)

    how = compiled_with(model) or compiled_for(model, order, data)
    batches = cached.count_batches(data, batch_size)
    best = Best(model, monitor)
    parts = []

    def compile(network, part):
        from kerazoo.train import WarmupCosine

        rate = learning_rate[part]
        if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            rate = WarmupCosine(rate, epochs[part], steps=batches)
        network.compile(optimizers.optimizer(
            network, optimizer, rate, weight_decay=weight_decay, lr_multipliers=lr_multipliers if part else None,
            verbose=False,
        ), **how)

    def train(network, inputs, validation, part, more=()):
        compile(network, part)
        start = epochs[0] if part else 0
        is_arrays = isinstance(inputs, (tuple, list))
        x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(inputs)) if is_arrays else (inputs, None, None)
        parts.append(network.fit(
            x, y, sample_weight=weights, batch_size=batch_size if is_arrays else None, shuffle=is_arrays,
            validation_data=tuple(validation) if isinstance(validation, list) else validation,
            validation_batch_size=batch_size if isinstance(validation, (tuple, list)) else None,
            initial_epoch=start, epochs=start + epochs[part], callbacks=[Turn(inputs), *more, best], verbose=verbose,
        ))

    if epochs[0]:
        text = freeze(model)
        say(f"The head first. {text}")
        kept = None
        if cache is not False:
            kept = cached.features(model, order, data, validation_data, batch_size, strict=cache is not True, say=say)
        train(*(kept or (model, data, validation_data)), part=0)
    if epochs[1]:
        more = list(callbacks)
        freeze(model)
        if gradual is not None:
            gradual.at_once = 1
            more.insert(0, gradual)
        else:
            say(f"Then the rest. {unfreeze(model, from_, batch_norm=batch_norm)}")
        train(model, data, validation_data, 1, more)
    elif parts and parts[0].model is not model:
        compile(model, 0)
    best.restore(say, sum(epochs))
    return joined(model, parts)


def is_pair(value):
    return isinstance(value, (tuple, list)) and len(value) == 2


class Turn(keras.callbacks.Callback):
    """Tells data sets which epoch begins; Keras may have drawn a batch before, which they would count as one."""

    def __init__(self, data):
        super().__init__()
        self.data = data

    def on_epoch_begin(self, epoch, logs=None):
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)


class Best(keras.callbacks.Callback):
    """Remembers a model's weights at the best epoch, through several calls of `fit`."""

    def __init__(self, network, monitor):
        super().__init__()
        self.network, self.monitor, self.value, self.epoch, self.weights = network, monitor, None, None, None

    def on_epoch_end(self, epoch, logs=None):
        if self.monitor is None:
            self.monitor = next((name for name in ("val_accuracy", "val_loss") if name in logs), None)
        if self.monitor is None:
            return
        if self.monitor not in logs:
            raise ValueError(f"monitor={self.monitor!r} was not logged; there are: {', '.join(sorted(logs))}.")
        value = float(logs[self.monitor])
        if math.isfinite(value) and (
            self.value is None or (value < self.value if self.monitor.endswith("loss") else value > self.value)
        ):
            self.value, self.epoch, self.weights = value, epoch, self.network.get_weights()

    def restore(self, say, total):
        if self.weights is not None:
            self.network.set_weights(self.weights)
            say(f"The best of {total} epochs is number {self.epoch + 1}, {self.monitor} {self.value:.4f}: "
                "its weights are in the model.")


def joined(model, parts):
    """One history of several; a figure that one of them lacks is NaN there."""
    history = keras.callbacks.History()
    history.set_model(model)
    history.epoch = [epoch for part in parts for epoch in part.epoch]
    names = dict.fromkeys(name for part in parts for name in part.history)
    history.history = {
        name: [value for part in parts for value in part.history.get(name, [float("nan")] * len(part.epoch))]
        for name in names
    }
    model.history = history
    return history


def compiled_with(model):
    """What the model was compiled with but for its optimizer, for `compile`; None if it was not."""
    if not model.compiled or model.loss is None:
        return None
    # Keras hands it out serialized alone, in which a loss or metric of the user's own may be lost.
    return {key: value for key, value in model._compile_config.config.items() if key != "optimizer"}


def compiled_for(model, order, data):
    """A classifier's loss and metrics by its labels and its last activation."""
    wanted = f"Compile {model.name} with the loss and the metrics that you want, and fine_tune will use them"
    labels = cached.first_batch(data)[1]
    outputs = keras.tree.flatten(model.outputs)
    if len(outputs) != 1 or isinstance(labels, (dict, list, tuple)) or labels is None:
        raise ValueError(f"The default loss is for one output and its labels. {wanted}.")
    labels, classes = np.asarray(labels), outputs[0].shape[-1]
    activation = getattr(order[-1].operation, "activation", None)
    if classes < 2 or activation not in (None, keras.activations.linear, keras.activations.softmax) or isinstance(
        order[-1].operation, keras.layers.Activation
    ) and activation is not keras.activations.softmax:
        raise ValueError(f"The default loss is for logits or a softmax of two classes or more. {wanted}.")
    logits = activation is not keras.activations.softmax and not isinstance(order[-1].operation, keras.layers.Softmax)
    if labels.ndim == 2 and labels.shape[1] == classes:
        loss = keras.losses.CategoricalCrossentropy(from_logits=logits)
    elif labels.size == len(labels) and labels.dtype.kind in "iu":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    else:
        raise ValueError(
            f"Labels must be integers (batch,), or one-hot (batch, {classes}); got {labels.dtype} {labels.shape}. "
            f"{wanted}."
        )
    return {"loss": loss, "metrics": ["accuracy"]}


def mark(layer, trainable):
    """Set the flag of a layer and each inside it: on TensorFlow, Keras skips them where the outer one has it."""
    for one in graph.layers_of(layer):
        one.trainable = trainable


def batch_norms(layer):
    return [one for one in graph.layers_of(layer) if isinstance(one, keras.layers.BatchNormalization)]


def fully_trained(layer):
    """Whether nothing in the layer is frozen, batch norms aside."""
    return all(one.trainable or isinstance(one, keras.layers.BatchNormalization) for one in graph.layers_of(layer))


def described(model, order):
    """What is frozen and what is trained, in a sentence or two."""
    layers = dict.fromkeys(layer for step in graph.weighted(order) for layer in graph.layers_of(step.operation))
    # Those that have weights themselves; what layers hold, a model's or others, speaks for itself.
    leaves = [layer for layer in layers if layer._trainable_variables or layer._non_trainable_variables]
    frozen = [layer for layer in leaves if not layer.trainable]
    norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in frozen)
    trained = count(model.trainable_variables)
    still = f"{plural(norms, 'batch norm')} in inference mode"
    if len(frozen) == norms:
        return f"Trained: {trained:,} parameters{f'; {still}' if norms else ', nothing is frozen'}."
    kept = count([weight for layer in frozen for weight in layer._trainable_variables])
    first = next((layer.name for layer in leaves if layer.trainable), None)
    return (
        f"Frozen: {plural(len(frozen), 'layer')} up to {frozen[-1].name} with {kept:,} parameters"
        f"{f', {still}' if norms else ''}. "
        + (f"Trained: {trained:,} parameters from {first} on." if first else "Nothing is trained.")
    )


def plural(number, noun):
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def renew(model):
    """Let a compiled model train what is trainable from now on, in the middle of `fit` too."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and optimizer.built:
        if optimizers.is_planned(optimizer):
            optimizers.refresh(model)
        elif not covers(optimizer, model.trainable_variables):
            model.optimizer = carried_over(optimizer, model)
    if getattr(model, "train_function", None) is not None:
        # fit looks the function up for each batch; the old one was traced with what was trainable then.
        model.train_function = None  # JAX finds a trace again as long as its function lives, for other weights too
        model.make_train_function(force=True)


def covers(optimizer, variables):
    """Whether an optimizer of Keras's was built for these variables and no others."""
    return [id(variable) for variable in optimizer._trainable_variables] == [id(variable) for variable in variables]


def carried_over(optimizer, model):
    """An optimizer of Keras's made anew for what is trainable now, with the state of the old one.

    They are built for one list of variables, once and for all.
    """
    try:
        new = type(optimizer).from_config(optimizer.get_config())
    except Exception as error:
        raise ValueError(
            f"{type(optimizer).__name__} cannot be made anew for what is trainable now ({str(error).splitlines()[0]}). "
            "Call freeze or unfreeze first and compile then, or use kerazoo.train.optimizer(model, ...)."
        ) from error
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        # Of Keras's `exclude_from_weight_decay`, which its configuration forgets.
        for old, made in ((optimizer, new), *((optimizer.inner_optimizer, new.inner_optimizer)
                                              for _ in [0] if hasattr(optimizer, "inner_optimizer"))):
            if hasattr(old, name):
                setattr(made, name, getattr(old, name))
    new.build(model.trainable_variables)
    values = {}
    for variable in optimizer.variables:
        values.setdefault((variable.name, tuple(variable.shape)), []).append(variable)
    for variable in new.variables:
        if same := values.get((variable.name, tuple(variable.shape))):
            variable.assign(same.pop(0).value)
    return new
