"""Optimizers that know the model: decay for kernels alone, rates by layer, one step for several batches, averages."""
import collections
import contextlib
import dataclasses
import fnmatch
import functools
import math
import warnings

import keras
from keras import ops

from kerazoo.registry import nearest
from kerazoo.train.graph import layers_of
from kerazoo.train.schedules import number, register

# What no decay should pull to zero: biases, what norms scale and shift by, slopes of PReLU. Vectors are taken anyway.
NO_DECAY = ("bias", "gamma", "beta", "alpha")


def optimizer(
    model, name="sgd", learning_rate=0.1, *, momentum=0.9, nesterov=False, weight_decay=0.0, no_decay=(),
    lr_multipliers=None, clip_norm=None, accumulate=1, ema=None, verbose=True,
):
    """Make an optimizer for `model.compile` that treats the weights of a model as what they are.

    Weight decay leaves alone biases, the scales and offsets of norms, slopes of PReLU, and whatever has one dimension.
    Patterns are shell wildcards over names of layers ("head", "stage1*"), or over paths where layers hold layers
    ("encoder/*", "*/bias").

    Weights that are frozen get their place in the optimizer too, so that they can be unfrozen at any time: a step
    changes those that are trainable then, and keeps the momentum of the others.

    Args:
        model: a built `keras.Model`.
        name: "sgd", "adam", "adamw" or "lamb".
        learning_rate: a number above 0, or a `keras.optimizers.schedules.LearningRateSchedule`, such as those of
            `kerazoo.train`. A schedule counts batches, whatever `accumulate` is.
        momentum: from 0 to below 1: of "sgd"; the first beta of the others, whose second one is 0.999.
        nesterov: whether "sgd" looks ahead.
        weight_decay: from 0. "sgd" and "adam" add it times the weights to the gradient, as the papers and PyTorch do;
            "adamw" and "lamb" take learning rate x decay x weights off the weights. In figures of one paper both mean
            different things: 1e-4 is usual for "sgd", 0.01 to 0.3 for "adamw".
        no_decay: patterns of further layers without weight decay.
        lr_multipliers: {pattern: factor} from 0, of the learning rate (and with it of "adamw"'s and "lamb"'s decay) in
            those layers; the first pattern that matches counts. 0.0 holds weights where they are; `freeze` saves their
            gradients as well.
        clip_norm: the norm above which the gradient of all weights together is scaled down to it, once an update, after
            averaging over `accumulate` batches; None: never.
        accumulate: batches whose gradients are averaged for one update, as if they were one batch (but for batch
            norm, which sees each by itself). Updates go on counting over the ends of epochs.
        ema: share of the old average in each update of an exponential moving average of the weights, such as 0.999;
            `model.fit` puts the averages into the model when it ends. At first the share is smaller, (1 + n) / (10 + n)
            after n updates, as in TensorFlow's `ExponentialMovingAverage`, so that a short training is not averaged
            with its initial weights. None: no averages.
        verbose: whether to print the groups of weights.

    Returns:
        A `keras.optimizers.Optimizer`, which is saved with the model and loaded by `kerazoo.load_model`.

    Raises:
        ValueError: if an argument is not what it must be, or a pattern matches nothing.

    Example:
        >>> rate = kerazoo.train.WarmupCosine(0.1, epochs=30, warmup=1, steps=len(train))
        >>> sgd = kerazoo.train.optimizer(
        ...     model, "sgd", rate, nesterov=True, weight_decay=1e-4, lr_multipliers={"head": 10.0}, ema=0.999
        ... )
        >>> model.compile(sgd, keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    Reference:
        Goyal et al.: Accurate, Large Minibatch SGD, 2017, https://arxiv.org/abs/1706.02677 (eq. 9, no decay for norms);
        Kingma, Ba: Adam, 2015, https://arxiv.org/abs/1412.6980; Loshchilov, Hutter: Decoupled Weight Decay
        Regularization, 2019, https://arxiv.org/abs/1711.05101; You et al.: Large Batch Optimization (LAMB), 2020,
        https://arxiv.org/abs/1904.00962.
    """
    if not isinstance(name, str) or name not in RULES:
        raise ValueError(f"Unknown optimizer {name!r}{nearest(name, RULES)} The optimizers are: {', '.join(RULES)}.")
    options = checked(name, momentum, nesterov, weight_decay, clip_norm, accumulate, ema)
    if not isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        learning_rate = float(number(
            learning_rate, "learning_rate",
            "a number above 0 or a keras.optimizers.schedules.LearningRateSchedule, such as WarmupCosine", above=0,
        ))
    rows = plan(model, no_decay, lr_multipliers or {})
    with scope_of(model):
        made = RULES[name](learning_rate, name=name, table=[row.config() for row in rows], **options)
        made.adopt(rows)
    if verbose:
        print(made.summary())
    return made


def checked(name, momentum, nesterov, weight_decay, clip_norm, accumulate, ema):
    """The options of a class in `RULES`, from those of `optimizer`."""
    momentum = number(momentum, "momentum", "a number from 0 to below 1", least=0, below=1)
    if nesterov and (name != "sgd" or not momentum):
        raise ValueError(
            f"nesterov needs \"sgd\" with a momentum above 0; got {name!r} with momentum={momentum!r}."
        )
    accumulate = number(accumulate, "accumulate", "a whole number of batches from 1 on", least=1, whole=True)
    if ema is not None:
        number(ema, "ema", "a number between 0 and 1, such as 0.999, or None", above=0, below=1)
    if clip_norm is not None:
        number(clip_norm, "clip_norm", "a number above 0, or None", above=0)
    return {
        "momentum": float(momentum),
        **({"nesterov": bool(nesterov)} if name == "sgd" else {}),
        "weight_decay": float(number(weight_decay, "weight_decay", "a number from 0 on", least=0)),
        "global_clipnorm": None if clip_norm is None else float(clip_norm),
        "gradient_accumulation_steps": accumulate if accumulate > 1 else None,
        **({} if ema is None else {"use_ema": True, "ema_momentum": float(ema)}),
    }


def scope_of(model):
    """Where a model's weights live and its optimizer's have to: with tf.distribute, in its strategy's scope."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    # The public name answers with the strategy of the moment where the model has none.
    if model._distribute_strategy is None and tf.distribute.has_strategy():
        raise ValueError(
            f"model {model.name!r} was made outside the scope of {type(tf.distribute.get_strategy()).__name__}: its "
            "weights are on one device. Make it inside, or the optimizer outside."
        )
    return model.distribute_strategy.scope()


@dataclasses.dataclass(eq=False)
class Row:
    """What an optimizer knows of one weight.

    Attributes:
        path, shape, dtype: the weight's.
        multiplier: of the learning rate.
        decays: whether weight decay takes it.
        trainable: whether it was, when the table was written.
        variable: the weight; None: not met yet (of a loaded model's frozen part).
        index: where the row stands in the table.
        slots, average, total: the optimizer's variables for it.
    """

    path: str
    shape: tuple
    dtype: str
    multiplier: float = 1.0
    decays: bool = True
    trainable: bool = True
    variable: object = None
    index: int = 0
    slots: list = dataclasses.field(default_factory=list)
    average: object = None
    total: object = None

    @classmethod
    def of(cls, variable):
        decays = len(variable.shape) > 1 and variable.path.split("/")[-1] not in NO_DECAY
        return cls(variable.path, tuple(variable.shape), str(variable.dtype), decays=decays, variable=variable)

    def config(self):
        """As JSON can hold it: what is needed to know the weight again."""
        trainable = self.trainable if self.variable is None else self.variable.trainable
        return [self.path, list(self.shape), self.dtype, self.multiplier, self.decays, trainable]

    @property
    def active(self):
        return self.variable is not None and self.variable.trainable


def plan(model, no_decay, lr_multipliers):
    """The rows of all weights of a model that may ever be trained, frozen now or not, in the model's order."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"model must be a keras.Model; got {type(model).__name__}.")
    wanted = "{pattern of layer names: factor from 0 on}, such as {\"head\": 10.0}"
    if not isinstance(lr_multipliers, dict):
        raise ValueError(f"lr_multipliers must be {wanted}; got {lr_multipliers!r}.")
    multipliers = {
        pattern: float(number(factor, f"lr_multipliers[{pattern!r}]", "a number from 0 on", least=0))
        for pattern, factor in lr_multipliers.items()
    }
    if isinstance(no_decay, str) or not isinstance(no_decay, (list, tuple, set, frozenset)):
        raise ValueError(f"no_decay must be a list of patterns of layer names; got {no_decay!r}.")
    for pattern in [*no_decay, *multipliers]:
        if not isinstance(pattern, str):
            raise ValueError(f"A pattern must be a str, such as \"stage1*\"; got {pattern!r}.")
    weights = places(model)
    if not model.built or not weights:
        raise ValueError(
            f"model must have weights to train; {model.name!r} has none. If it is not built yet, call it on a batch, "
            "or build it with its input shape, before making the optimizer."
        )
    rows = [Row.of(variable) for variable, _ in weights]
    for pattern in no_decay:
        for row in matching(pattern, rows, weights, "no_decay"):
            row.decays = False
    taken = set()
    for pattern, factor in multipliers.items():
        found = [row for row in matching(pattern, rows, weights, "lr_multipliers") if id(row) not in taken]
        if not found:
            raise ValueError(
                f"lr_multipliers: all that {pattern!r} matches is matched by patterns before it, and the first one "
                "counts. Put the special ones first."
            )
        for row in found:
            row.multiplier = factor
            taken.add(id(row))
    return rows


def places(model):
    """[(variable, path through the layers of the model)] of what may ever be trained, in the model's order."""
    # Keras tells apart what was made to be trained and is frozen, and what never is, in its private lists alone.
    ever = {id(variable) for layer in layers_of(model) for variable in layer._trainable_variables}
    found = {}

    def walk(model, above):
        for layer in model.layers:
            if isinstance(layer, keras.Model):
                # Some weights of a model in the model bear its name, some do not.
                walk(layer, f"{above}{layer.name}/")
            else:
                for variable in layer.variables:
                    path = variable.path
                    if layer.name not in path.split("/")[:-1]:
                        path = f"{layer.name}/{path}"
                    found.setdefault(id(variable), path if path.startswith(above) else above + path)

    walk(model, "")
    return [
        (variable, found.get(id(variable), variable.path))
        for variable in model.variables
        if id(variable) in ever or variable.trainable
    ]


def matching(pattern, rows, weights, argument):
    """The rows whose layer, or a layer around it, a pattern names."""
    found = [row for row, (_, place) in zip(rows, weights) if pattern_fits(pattern, place)]
    if not found:
        names = {part for _, place in weights for part in layer_names(place)}
        raise ValueError(
            f"{argument}: {pattern!r} matches no layer with weights{nearest(pattern.strip('*'), names)} There are "
            f"{shortened(list(dict.fromkeys(place.split('/')[0] for _, place in weights)))}."
        )
    return found


def pattern_fits(pattern, place):
    # A weight's own name counts in a path alone: "b*" is for blocks, and not for every bias and beta.
    names = [*layer_names(place), *([place] if "/" in pattern else [])]
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def layer_names(place):
    """Names of the layers a weight is in, from the outermost one, and their paths from each one inwards."""
    parts = place.split("/")[:-1]
    return ["/".join(parts[start:end]) for end in range(1, len(parts) + 1) for start in range(end)]


def shortened(names, most=12):
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


class Planned(keras.optimizers.Optimizer):
    """An optimizer with a table of the weights, one row each: rate, decay, and its own variables for it.

    Its variables are made once for all rows, whether trainable or not, so that neither their number nor their order
    ever changes. The classes below say in `change` how far a gradient moves a weight.

    Args:
        learning_rate: a float or a schedule.
        table: rows as `Row.config` gives them; None: those of the first weights to train, with the usual decay.
        momentum: of the gradients, from 0 to below 1.
        options: what every Keras optimizer takes.
    """

    slots = ("momentum",)

    def __init__(self, learning_rate=0.1, table=None, momentum=0.9, weight_decay=0.0, **options):
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.momentum = momentum
        self.rows = [Row(path, tuple(shape), *rest) for path, shape, *rest in table or ()]
        # One figure a row: 1 once its average has begun, which it does at its own first update.
        self.begun = None

    # Building.

    def adopt(self, rows):
        """Take the rows of a model, and make the variables."""
        self.rows = list(rows)
        self.build([row.variable for row in rows if row.active])

    def build(self, variables):
        """Make the optimizer's variables; later calls tell of weights that were not there before.

        Args:
            variables: the weights that are trained now.
        """
        variables = list(variables)
        if not self.rows:
            self.rows = [Row.of(variable) for variable in variables]
        self.bind(variables)
        self.train(variables)
        if self.built:
            return
        for index, row in enumerate(self.rows):
            row.index = index
            row.slots = [self.add_for(row, slot) for slot in self.slots]
            if self.use_ema:
                row.average = self.add_for(row, "average")
                if row.variable is not None:
                    row.average.assign(ops.copy(row.variable))  # what it is until its weight is trained
            if self.gradient_accumulation_steps:
                row.total = self.add_for(row, "gradient_accumulator")
        if self.use_ema:
            self.begun = self.add_variable((len(self.rows),), dtype="float32", name="averages_begun")
        self.built = True

    def train(self, variables):
        """Set the list in which Keras looks up what is trained, past what takes its items for the optimizer's own."""
        object.__setattr__(self, "_trainable_variables", list(variables))

    def add_for(self, row, name):
        if row.variable is None:
            return self.add_variable(row.shape, dtype=row.dtype, name=f"{row.path.replace('/', '_')}_{name}")
        return self.add_variable_from_reference(row.variable, name=name)

    def bind_all(self, variables):
        """Find the rows of all weights of the model, one each, in the model's order."""
        if [row.shape for row in self.rows] == [tuple(variable.shape) for variable in variables]:
            for row, variable in zip(self.rows, variables):
                row.variable = variable if row.variable is None else row.variable

    def bind(self, variables):
        """Find the rows of weights that are new to the optimizer."""
        known = {id(row.variable) for row in self.rows}
        new = [variable for variable in variables if id(variable) not in known]
        if not new:
            return
        free = [row for row in self.rows if row.variable is None]
        shapes = [tuple(variable.shape) for variable in new]
        trained = [row for row in free if row.trainable]
        if [row.shape for row in trained] == shapes:
            # A loaded model: the same weights in the same order, whatever Keras calls them now.
            pairs = list(zip(trained, new))
        else:
            by_path = collections.defaultdict(list)
            for row in free:
                by_path[row.path, row.shape].append(row)
            pairs = []
            for variable, shape in zip(new, shapes):
                if not by_path[getattr(variable, "path", None), shape]:
                    raise ValueError(
                        f"The optimizer {self.name!r} was made for a model without the weight "
                        f"{getattr(variable, 'path', variable.name)!r} of shape {shape}, or with another variable in "
                        "its place. Make one for this model: kerazoo.train.optimizer(model, ...)."
                    )
                pairs.append((by_path[variable.path, shape].pop(0), variable))
        for row, variable in pairs:
            row.variable = variable

    # Stepping.

    @property
    def learning_rate(self):
        """The learning rate of the next update, before multipliers."""
        if self.gradient_accumulation_steps and isinstance(
            self._learning_rate, keras.optimizers.schedules.LearningRateSchedule
        ):
            # That of an update's first batch, which one batch as large as all of them would have had.
            return self._learning_rate(self.iterations * self.gradient_accumulation_steps)
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        keras.optimizers.Optimizer.learning_rate.fset(self, learning_rate)

    def apply(self, grads, trainable_variables=None):
        """Take one batch's gradients.

        Args:
            grads: one a weight.
            trainable_variables: the weights; None: all that are trainable.
        """
        grads = list(grads)
        if not grads:
            return
        if trainable_variables is None:
            trainable_variables = [row.variable for row in self.rows if row.active]
        trainable_variables = list(trainable_variables)
        if not self.built or [id(v) for v in trainable_variables] != [id(v) for v in self._trainable_variables]:
            self.build(trainable_variables)
        rows, grads = self.given(grads, trainable_variables)
        with no_gradients():
            self.take(rows, grads)

    def given(self, grads, variables):
        """The rows that have a gradient, and these."""
        if len(grads) != len(variables):
            raise ValueError(
                f"The optimizer {self.name!r} was given {len(grads)} gradients for {len(variables)} trainable weights. "
                "Make it for the model that is trained: kerazoo.train.optimizer(model, ...)."
            )
        rows = {id(row.variable): row for row in self.rows}
        missing = [variable.path for variable, grad in zip(variables, grads) if grad is None]
        if len(missing) == len(grads):
            raise ValueError("No weight has a gradient: the loss depends on none of them.")
        if missing:
            warnings.warn(f"The loss does not depend on {shortened(missing)}, which stay as they are.", stacklevel=3)
        pairs = [(rows[id(variable)], grad) for variable, grad in zip(variables, grads) if grad is not None]
        scale = self.loss_scale_factor
        return [row for row, _ in pairs], [
            ops.convert_to_tensor(grad) if scale is None else ops.convert_to_tensor(grad) / scale for _, grad in pairs
        ]

    def take(self, rows, grads):
        """Add gradients up, or update the weights with them."""
        every, replicas = self.gradient_accumulation_steps, Replicas()
        grads = replicas.total(grads)
        if every:
            grads = [ops.add(grad, row.total) for row, grad in zip(rows, grads)]

        def update(on, grads, figures):
            for row, grad in zip(rows, grads):
                on(row.variable, functools.partial(self.step, row), grad, figures)
                if every:
                    on(row.total, functools.partial(self.assign, value=ops.zeros(row.shape, dtype=row.dtype)))
            if self.use_ema:
                stepped = {id(row) for row in rows}
                begun = [float(id(row) in stepped) for row in self.rows]
                on(self.begun, lambda variable: self.assign(variable, ops.maximum(variable, begun)))

        def keep(on, grads):
            for row, grad in zip(rows, grads):
                on(row.total, self.assign, grad)

        def go(on, grads, figures):
            if every:
                # A public name for the count of batches there is not: `iterations` counts updates.
                last = ops.equal(ops.mod(self._iterations + 1, every), 0)
                self.either(last, lambda: update(on, grads, figures), lambda: keep(on, grads), rows)
            else:
                update(on, grads, figures)

        replicas.run(go, grads, self.figures(grads))
        self._iterations.assign_add(1)

    def either(self, condition, yes, no, rows):
        """One of two functions that change variables."""
        if keras.backend.backend() == "torch":
            return yes() if condition else no()
        if keras.backend.backend() == "tensorflow":
            return ops.cond(condition, yes, no)
        # JAX's branches are functions of values. What they do to variables is seen in a scope, and done after them.
        changed = [*self.variables, *(row.variable for row in rows)]
        values = [variable.value for variable in changed]

        def branch(function):
            with keras.StatelessScope(list(zip(changed, values))) as scope:
                function()
            return [scope.get_current_value(variable) for variable in changed]

        for variable, value in zip(changed, ops.cond(condition, lambda: branch(yes), lambda: branch(no))):
            variable.assign(value)

    def figures(self, grads):
        """What all weights share in one update, computed once."""
        rate = ops.cast(self.learning_rate, "float32")
        figures = {"rates": {multiplier: rate * multiplier for multiplier in {row.multiplier for row in self.rows}}}
        share = 1 / (self.gradient_accumulation_steps or 1)
        if self.global_clipnorm:
            squares = [ops.sum(ops.square(ops.cast(grad, "float32"))) for grad in grads]
            norm = ops.sqrt(functools.reduce(ops.add, squares)) * share
            # A norm that is not a number makes the weights so too: what has diverged is not to be hidden.
            figures["share"] = share * self.global_clipnorm / ops.maximum(norm, self.global_clipnorm)
        elif share < 1:
            figures["share"] = share
        if self.use_ema:
            share = self.ema_momentum_at(ops.cast(self.iterations, "float32"))
            figures["keep"] = share * ops.convert_to_tensor(self.begun)
        return figures

    def ema_momentum_at(self, update):
        """The share of the old average in an update.

        Args:
            update: how many updates were before it, a number or a float tensor.

        Returns:
            A float, or a tensor for a tensor.
        """
        least = min if isinstance(update, (int, float)) else ops.minimum
        return least(self.ema_momentum, (1 + update) / (10 + update))

    def step(self, row, variable, gradient, figures):
        """Update one weight, or one replica of it, and its average."""
        value = ops.convert_to_tensor(variable)
        gradient = ops.cast(gradient, value.dtype)
        if "share" in figures:
            gradient = gradient * ops.cast(figures["share"], value.dtype)
        rate = ops.cast(figures["rates"][row.multiplier], value.dtype)
        value = value - rate * self.change(row, value, gradient, figures)
        if row.variable.constraint is not None:
            value = row.variable.constraint(value)
        self.assign(variable, value)
        if self.use_ema:
            keep = ops.cast(figures["keep"][row.index], value.dtype)
            self.assign(row.average, keep * row.average + (1 - keep) * value)

    def change(self, row, value, gradient, figures):
        """What is taken off a weight, over the learning rate.

        Args:
            row: the weight's, with its `slots` and whether it `decays`.
            value: a tensor, what it is.
            gradient: a tensor of the same shape.
            figures: a dict, what `figures` computed.
        """
        raise NotImplementedError

    def decay(self, row):
        """The weight decay of a row, 0.0 for none."""
        return self.weight_decay if row.decays else 0.0

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        """As `apply`, from values to values; see `keras.optimizers.Optimizer.stateless_apply`."""
        variables = [row.variable for row in self.rows if row.active]
        if [tuple(v.shape) for v in variables] != [tuple(v.shape) for v in trainable_variables]:
            raise ValueError(
                f"The optimizer {self.name!r} knows {len(variables)} trainable weights, the model trains "
                f"{len(trainable_variables)}, or of other shapes. Make it for the model that is trained: "
                "kerazoo.train.optimizer(model, ...)."
            )
        self.train(variables)
        return super().stateless_apply(optimizer_variables, grads, trainable_variables)

    # Averages, under the names by which Keras finds them.

    @property
    def _model_variables_moving_average(self):
        if not self.use_ema:
            raise AttributeError("The optimizer keeps no averages: it was made without `ema`.")
        averages = {id(row.variable): row.average for row in self.rows}
        return [averages[id(variable)] for variable in self._trainable_variables]

    def averages(self):
        """[(weight, its average)] of those that have been averaged at all."""
        begun = ops.convert_to_numpy(self.begun)
        return [(row.variable, row.average) for row, yes in zip(self.rows, begun) if yes and row.variable is not None]

    def finalize_variable_values(self, var_list):
        """Put the averages into the weights, of those that have one."""
        # JAX takes the values away during a step; if it raised, that is what the user is to see.
        if self.use_ema and self.begun._value is not None:
            ready = {id(variable) for variable, _ in self.averages()}
            self.train(variable for variable in var_list if id(variable) in ready)
            if keras.backend.backend() == "tensorflow":
                super().finalize_variable_values(self._trainable_variables)  # on all devices
            else:
                # Of JAX's buffers the next step gives away each one once.
                for variable, average in zip(self._trainable_variables, self._model_variables_moving_average):
                    variable.assign(ops.copy(average))

    # Saving, and being read.

    def get_config(self):
        return {
            **super().get_config(), "momentum": self.momentum, "table": [row.config() for row in self.rows],
        }

    def summary(self):
        """The groups of weights that are treated alike, as text."""
        groups = collections.defaultdict(list)
        for row in self.rows:
            groups[row.multiplier, self.decay(row)].append(row)
        lines = [("rate", "decay", "weights", "parameters", "such as")] + [
            (
                f"x {multiplier:g}", f"{decay:g}" if decay else "none", f"{len(rows):,}",
                f"{sum(math.prod(row.shape) for row in rows):,}",
                shortened([row.path for row in rows], 2),
            )
            for (multiplier, decay), rows in sorted(groups.items(), key=lambda group: (group[0][0], -group[0][1]))
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        frozen = sum(not row.active for row in self.rows)
        state = f"{frozen:,} of them frozen" if frozen else "all to be trained"
        return "\n".join([f"{type(self).__name__}: {len(self.rows):,} weights, {state}"] + [
            "  " + "  ".join([*(f"{cell:>{width}}" for cell, width in zip(line, widths)), line[4]]) for line in lines
        ])


@register
class SGD(Planned):
    """Gradient descent with momentum; weight decay is added to the gradient. See `kerazoo.train.optimizer`.

    The momentum is that of the gradients, and the learning rate of the moment multiplies it (Goyal et al. 2017, eq. 9,
    and PyTorch), where Keras keeps the rate of each gradient's own step in it.
    """

    def __init__(self, learning_rate=0.1, table=None, momentum=0.9, nesterov=False, weight_decay=0.0, **options):
        super().__init__(learning_rate, table, momentum, weight_decay, **options)
        self.nesterov = nesterov

    slots = property(lambda self: ("momentum",) if self.momentum else ())

    def change(self, row, value, gradient, figures):
        if self.decay(row):
            gradient = gradient + self.decay(row) * value
        if not self.momentum:
            return gradient
        momentum = self.momentum * row.slots[0] + gradient
        self.assign(row.slots[0], momentum)
        return gradient + self.momentum * momentum if self.nesterov else momentum

    def get_config(self):
        return {**super().get_config(), "nesterov": self.nesterov}


@register
class Adam(Planned):
    """Adam; weight decay is added to the gradient. See `kerazoo.train.optimizer`."""

    slots = ("momentum", "velocity")
    beta_2 = 0.999
    epsilon = 1e-8

    def figures(self, grads):
        # 1 - beta^t: of float32's 0.999 too little would be left.
        step = ops.cast(self.iterations + 1, "float32")
        first, second = (-ops.expm1(step * math.log(beta)) if beta else ops.ones_like(step)
                         for beta in (self.momentum, self.beta_2))
        return {**super().figures(grads), "first": 1 / first, "second": 1 / ops.sqrt(second)}

    def change(self, row, value, gradient, figures):
        if self.decay(row):
            gradient = gradient + self.decay(row) * value
        return self.adaptive(row, gradient, figures)

    def adaptive(self, row, gradient, figures):
        """Adam's own step over the learning rate."""
        momentum, velocity = row.slots
        mean = momentum + (1 - self.momentum) * (gradient - momentum)
        square = velocity + (1 - self.beta_2) * (ops.square(gradient) - velocity)
        self.assign(momentum, mean)
        self.assign(velocity, square)
        first, second = (ops.cast(figures[name], gradient.dtype) for name in ("first", "second"))
        return first * mean / (second * ops.sqrt(square) + self.epsilon)


@register
class AdamW(Adam):
    """Adam; weight decay is taken off the weights. See `kerazoo.train.optimizer`."""

    def change(self, row, value, gradient, figures):
        change = self.adaptive(row, gradient, figures)
        return change + self.decay(row) * value if self.decay(row) else change


@register
class LAMB(Adam):
    """Adam with a learning rate a layer, by the ratio of the norms of weights and step. See `kerazoo.train.optimizer`.

    As in the authors' code, weights without decay, biases and norms, are stepped as Adam steps them.
    """

    epsilon = 1e-6

    def change(self, row, value, gradient, figures):
        change = self.adaptive(row, gradient, figures)
        if not row.decays:
            return change
        if self.decay(row):
            change = change + self.decay(row) * value
        weight_norm, change_norm = (ops.sqrt(ops.sum(ops.square(x))) for x in (value, change))
        known = ops.logical_and(weight_norm > 0, change_norm > 0)
        return change * ops.where(known, weight_norm / ops.where(known, change_norm, 1), 1)


RULES = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "lamb": LAMB}


class Replicas:
    """What `tf.distribute` asks of an optimizer where a model is on several devices; elsewhere, nothing at all."""

    def __init__(self):
        self.strategy = None
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            if tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context():
                self.tf, self.strategy = tf, tf.distribute.get_strategy()

    def total(self, grads):
        """The sums of the replicas' gradients. They come first, so that norms are those of the whole batch."""
        if self.strategy is None or self.strategy.num_replicas_in_sync == 1:
            return grads
        return self.tf.distribute.get_replica_context().all_reduce(self.tf.distribute.ReduceOp.SUM, grads)

    def run(self, function, *values):
        """function(on, *values), where on(variable, change, *values) calls change(variable, *values) on each device."""
        if self.strategy is None:
            return function(lambda variable, change, *values: change(variable, *values), *values)

        def merged(strategy, *values):
            def on(variable, change, *values):
                strategy.extended.update(variable.value, change, args=values, group=False)

            function(on, *values)

        # Keras does it by this name, which knows the strategies that cannot leave a replica.
        self.tf.__internal__.distribute.interim.maybe_merge_call(merged, self.strategy, *values)


def is_planned(made):
    """Whether an optimizer, or the one inside Keras's wrapper for float16, was made by `optimizer`."""
    return isinstance(unwrapped(made), Planned)


def unwrapped(optimizer):
    """The optimizer inside of Keras's wrapper for float16, or itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def schedule_of(optimizer):
    """The schedule that an optimizer follows; None where its rate is a number."""
    rate = getattr(unwrapped(optimizer), "_learning_rate", None)  # `learning_rate` is what it says at this moment
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None


def rate_at(optimizer, back):
    """The learning rate that an optimizer used so many batches ago, 1 for the last one."""
    schedule = schedule_of(optimizer)
    if schedule is None:
        return float(ops.convert_to_numpy(optimizer.learning_rate))
    inner = unwrapped(optimizer)
    # The public `iterations` counts updates; schedules count batches, ours in whole updates.
    batch = max(int(ops.convert_to_numpy(inner._iterations)) - back, 0)
    if is_planned(inner):
        batch -= batch % (inner.gradient_accumulation_steps or 1)
    return float(ops.convert_to_numpy(schedule(batch)))


def refresh(model):
    """Tell a compiled model's optimizer which weights are trainable now. It changes no values.

    Args:
        model: a compiled model, whose layers' `trainable` was changed. Its train function is to be made anew as well.

    Raises:
        ValueError: if its optimizer was not made by `kerazoo.train.optimizer`.

    Example:
        >>> model.get_layer("stage4_block1_conv1").trainable = True
        >>> refresh(model)
        >>> model.make_train_function(force=True)
    """
    outer = model.optimizer
    inner = unwrapped(outer)
    if not is_planned(outer):
        raise ValueError(
            f"The optimizer {getattr(inner, 'name', inner)!r} is made for the weights that were trainable at first. "
            "Compile the model with kerazoo.train.optimizer(model, ...), which takes weights that are unfrozen later."
        )
    # Of a model that was loaded, the optimizer has met what is trained alone; by their place it knows the others.
    inner.bind_all([variable for variable, _ in places(model)])
    inner.build(model.trainable_variables)
    if outer is not inner and outer.built:
        # Keras's wrapper for float16 divides by its scale as many gradients as it has weights in this list.
        object.__setattr__(outer, "_trainable_variables", model.trainable_variables)


def no_gradients():
    """PyTorch is not to record what an optimizer computes."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()
