"""Averaged weights (EMA) in place of the last ones: for validation, for the best checkpoint, and at the end."""
import keras
import numpy as np

from kerazoo.train import state

EVERY = 10  # batches between two looks at the statistics of batch norms, which themselves average over some 100


def averages_of(optimizer):
    """[(weight, its average)] of an optimizer with `use_ema`; none of another."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # float16 wraps it
    if not getattr(optimizer, "use_ema", False):
        return []
    # Keras's own SwapEMAWeights reads these two; it swaps by adding and subtracting, which rounds.
    return list(zip(optimizer._trainable_variables, optimizer._model_variables_moving_average))


class AveragedWeights(keras.callbacks.Callback):
    """Validates with averaged weights, and averages the statistics of batch norms, which no optimizer sees.

    The optimizer averages the weights in each step (`ema_momentum`); the statistics are averaged every ten batches,
    with the tenth power of that. At the end of training Keras puts the averages in the place of the weights; this puts the
    averaged statistics beside them.
    """

    def __init__(self):
        super().__init__()
        self.statistics, self.averages, self.batches, self.inside = [], [], 0, False

    def set_model(self, model):
        super().set_model(model)
        self.statistics = [
            variable for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)
            for variable in layer.non_trainable_variables if "moving_" in variable.path
        ]

    def on_train_begin(self, logs=None):
        self.averages = [state.value_of(variable) for variable in self.statistics]

    def on_train_batch_end(self, batch, logs=None):
        if self.statistics and self.batches % EVERY == 0:
            # As Keras does with the weights: the first step is copied.
            self.look(self.momentum**EVERY if self.batches else 0.0)
        self.batches += 1

    def look(self, share):
        state.sync(self.model)
        for average, variable in zip(self.averages, self.statistics):
            average += np.float32(1 - share) * (keras.ops.convert_to_numpy(variable) - average)

    @property
    def momentum(self):
        optimizer = self.model.optimizer
        return getattr(optimizer, "inner_optimizer", optimizer).ema_momentum

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
        self.inside = not self.inside

    def on_test_begin(self, logs=None):
        self.swap()

    def on_test_end(self, logs=None):
        self.swap()

    def on_train_end(self, logs=None):
        for variable, average in zip(self.statistics, self.averages):
            variable.assign(average)

    def get_state(self):
        return {"averages": self.averages, "batches": self.batches}

    def set_state(self, saved):
        self.averages, self.batches = [np.array(average) for average in saved["averages"]], saved["batches"]
