"""Averaged weights (EMA) in place of the last ones: for validation, for the best checkpoint, and at the end."""
import math

import keras
import numpy as np

from kerazoo.train import state
from kerazoo.train.graph import layers_of
from kerazoo.train.optimizers import is_planned, unwrapped

EVERY = 10  # batches between two looks at the statistics of batch norms, which themselves average over some 100


def averages_of(optimizer):
    """[(weight, its average)] of an optimizer with `use_ema`; none of another."""
    optimizer = unwrapped(optimizer)
    if not getattr(optimizer, "use_ema", False):
        return []
    if is_planned(optimizer):  # ours knows which have begun
        return optimizer.averages()
    # Keras's own SwapEMAWeights reads these two; it swaps by adding and subtracting, which rounds.
    return list(zip(optimizer._trainable_variables, optimizer._model_variables_moving_average))


class AveragedWeights(keras.callbacks.Callback):
    """Validates with averaged weights, and averages the statistics of batch norms, which no optimizer sees.

    The optimizer averages the weights in each update (`ema_momentum`); the statistics are averaged every ten batches or
    so, with the product of that over the updates in between. At the end of training Keras puts the averages in the
    place of the weights; this puts the averaged statistics beside them.
    """

    def __init__(self):
        super().__init__()
        self.statistics, self.averages = [], []
        self.since, self.last, self.updates = 0, -1, None  # batches since the last look; updates until then

    def set_model(self, model):
        super().set_model(model)
        self.statistics = [
            variable for layer in layers_of(model) if isinstance(layer, keras.layers.BatchNormalization)
            for variable in (layer.moving_mean, layer.moving_variance)
        ]

    def on_train_begin(self, logs=None):
        self.averages = [state.value_of(variable) for variable in self.statistics]

    def on_epoch_begin(self, epoch, logs=None):
        self.last = -1

    def on_train_batch_end(self, batch, logs=None):
        # With several steps an execution, Keras calls once for them all.
        self.since += batch - self.last
        self.last = batch
        if self.statistics and (self.since >= EVERY or self.updates is None):
            self.since = 0
            self.look()

    def look(self):
        state.sync(self.model)
        optimizer = unwrapped(self.model.optimizer)
        before, self.updates = self.updates, int(state.value_of(optimizer.iterations))
        if before is None:
            share = 0.0  # as Keras does with the weights: the first step is copied
        elif is_planned(optimizer):
            share = math.prod(map(optimizer.ema_momentum_at, range(before, self.updates)))
        else:  # Keras's own optimizers count batches
            share = optimizer.ema_momentum ** ((self.updates - before) / (optimizer.gradient_accumulation_steps or 1))
        for average, variable in zip(self.averages, self.statistics):
            average += np.float32(1 - share) * (keras.ops.convert_to_numpy(variable) - average)

    def swap(self):
        """Exchange the model's weights and statistics with the averaged ones, to the bit."""
        for variable, average in averages_of(self.model.optimizer):
            own = state.value_of(variable)
            variable.assign(state.value_of(average))
            average.assign(own)
        for number, variable in enumerate(self.statistics):
            own = state.value_of(variable)
            variable.assign(self.averages[number])
            self.averages[number] = own

    def on_test_begin(self, logs=None):
        self.swap()

    def on_test_end(self, logs=None):
        self.swap()

    def on_train_end(self, logs=None):
        for variable, average in zip(self.statistics, self.averages):
            variable.assign(average)

    def get_state(self):
        return {"averages": self.averages, "since": self.since, "updates": self.updates}

    def set_state(self, saved):
        self.averages = [np.array(average) for average in saved["averages"]]
        self.since, self.updates = saved["since"], saved["updates"]
