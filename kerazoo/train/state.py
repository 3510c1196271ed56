"""All that a training depends on, as arrays and numbers: read from a compiled model and its callbacks, and put back."""
import copy
import re
import warnings

import keras
import numpy as np

KINDS = ("model", "optimizer", "metrics")


class OtherModel(ValueError):
    """The state is that of another model, optimizer or metrics."""


def read(model):
    """The values of all variables: weights, seeds of dropout and augmentation, the optimizer's, metrics.

    Returns:
        (names, arrays): {kind: [name of each variable]}, and {"kind/number": array}.
    """
    sync(model)
    names, arrays = {}, {}
    for kind in KINDS:
        variables = variables_of(model, kind)
        names[kind] = [variable.path for variable in variables]
        arrays.update((f"{kind}/{number}", value_of(variable)) for number, variable in enumerate(variables))
    draws = global_draws()
    if draws is not None:
        arrays["torch"] = draws
    return names, arrays


def restore(model, names, arrays, kinds=("model", "optimizer")):
    """Put the values back.

    Raises:
        OtherModel: if they are another model's; nothing is changed then.
    """
    for variable, array in pairs(model, names, arrays, kinds):
        variable.assign(array)
    if "torch" in arrays:
        global_draws(arrays["torch"])


def pairs(model, names, arrays, kinds=("model", "optimizer")):
    """[(variable, its value)], checked as `restore` does."""
    if "optimizer" in kinds and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    found = []
    for kind in kinds:
        variables = variables_of(model, kind)
        check(kind, variables, names[kind], arrays)
        found += [(variable, arrays[f"{kind}/{number}"]) for number, variable in enumerate(variables)]
    return found


def check(kind, variables, names, arrays):
    def described(name, shape):
        return f"{unnumbered(name)} {tuple(shape)}"

    here = [described(variable.path, variable.shape) for variable in variables]
    there = [described(name, arrays[f"{kind}/{number}"].shape) for number, name in enumerate(names)]
    if here != there:
        only_there, only_here = ([one for one in a if one not in set(b)] for a, b in ((there, here), (here, there)))
        some = [*[f"{one} there alone" for one in only_there[:2]], *[f"{one} here alone" for one in only_here[:2]]]
        raise OtherModel(
            f"it holds another {kind} ({len(there)} variables there, {len(here)} here; "
            f"{', '.join(some) or 'in another order'})"
        )


def unnumbered(name):
    """Keras numbers the layers of a process, and so the same model's differently each time that it is built."""
    return re.sub(r"_[0-9]+(?=[/_]|$)", "", name)


def variables_of(model, kind):
    if kind == "optimizer":
        return list(model.optimizer.variables)
    return list(model.variables if kind == "model" else model.metrics_variables)


def value_of(variable):
    # A copy: JAX gives its memory to the next step.
    return np.array(keras.ops.convert_to_numpy(variable))


def values_of(variables):
    return [value_of(variable) for variable in variables]


def assign(variables, values):
    for variable, value in zip(variables, values):
        variable.assign(value)


def sync(model):
    """JAX's trainer keeps the values to itself between two batches, and offers this to callbacks."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def build_metrics(model, batch):
    """Let the compiled metrics make their variables, which TensorFlow does only in the first step."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    outputs = model(x, training=False)
    model.compute_loss(x, y, outputs, weight, training=False)
    model.compute_metrics(x, y, outputs, sample_weight=weight)
    model.reset_metrics()


def all_finite(arrays):
    """Whether every number of the model and its optimizer is. (A metric may well start at infinity.)"""
    return all(finite(array) for name, array in arrays.items() if name.startswith(("model/", "optimizer/")))


def finite(array):
    if array.dtype.kind != "f":
        if "float" not in array.dtype.name:
            return True
        array = array.astype("float32")  # NumPy knows bfloat16 by its name alone
    return bool(np.isfinite(array).all())


def compiled(model):
    """{"optimizer.learning_rate": "0.1", ...}: what the model is compiled with.

    Raises:
        ValueError: if the optimizer or the loss has no configuration, without which a model cannot be saved.
    """
    weights = getattr(getattr(model, "_compile_config", None), "config", {}).get("loss_weights")
    found = {}
    for name, value in {"optimizer": model.optimizer, "loss": model.loss, "loss_weights": weights}.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of lambdas, which are shown as such
                config = keras.saving.serialize_keras_object(value)
        except Exception as error:  # whatever the user's object raises
            raise ValueError(
                f"The model's {name} cannot be saved, and so neither can the model: {error}. Give it a get_config()."
            ) from error
        found.update(flat(config, name))
    return found


def flat(config, name):
    if isinstance(config, dict) and config.get("class_name") == "__lambda__":
        return {name: "a lambda"}  # its bytecode holds line numbers
    if isinstance(config, dict) and "class_name" in config:
        return {name: config["class_name"], **flat(config["config"], name)}
    if isinstance(config, (dict, list, tuple)):
        items = config.items() if isinstance(config, dict) else enumerate(config)
        return {
            key: text for part, value in items if part != "name" for key, text in flat(value, f"{name}.{part}").items()
        }
    if config is None:
        return {}
    return {name: f"{config:.6g}" if isinstance(config, float) else unnumbered(str(config))[:80]}


def global_draws(draws=None):
    """The state that PyTorch's dropout without a seed draws from, or put it back; others draw from variables alone."""
    if keras.backend.backend() != "torch":
        return None
    import torch

    if draws is None:
        return torch.random.get_rng_state().numpy().copy()
    torch.random.set_rng_state(torch.tensor(np.asarray(draws)))


def seed_draws(seed, epoch):
    """Let PyTorch draw in an epoch what depends on the two alone: opening data and validation draw as well."""
    if keras.backend.backend() == "torch":
        import torch

        torch.manual_seed((seed + epoch) % 2**63)


def draw_seed():
    """A seed for `seed_draws`, from what the user has seeded."""
    if keras.backend.backend() != "torch":
        return 0
    import torch

    return int(torch.randint(2**62, ()))


class CallbackStates:
    """What callbacks remember from epoch to epoch: their attributes that are plain data and have changed.

    A callback may have `get_state() -> dict` and `set_state(dict)` instead.
    """

    def __init__(self, callbacks):
        self.callbacks, self.fresh = {}, {}
        for callback in callbacks:
            kind, number = type(callback).__name__, 0
            while f"{kind}/{number}" in self.callbacks:
                number += 1
            self.callbacks[f"{kind}/{number}"] = callback

    def begin(self):
        """Note what they are like at the start, `on_train_begin` past."""
        # Copies: lists are added to where they are.
        self.fresh = copy.deepcopy({name: attributes(callback) for name, callback in self.callbacks.items()})

    def get(self):
        """(states, arrays): JSON values, in which {"__array__": name} stands for an array."""
        states, arrays = {}, {}
        for name, callback in self.callbacks.items():
            state = callback.get_state() if hasattr(callback, "get_state") else {
                key: value for key, value in attributes(callback).items()
                if key not in self.fresh[name] or not same(value, self.fresh[name][key])
            }
            if state:
                states[name] = packed(state, f"callback/{name}", arrays)
        return states, arrays

    def set(self, states, arrays):
        """Put the states back; returns the kinds of callbacks that are not there any more."""
        gone = []
        for name, state in states.items():
            callback, state = self.callbacks.get(name), unpacked(state, arrays)
            if callback is None:
                gone.append(name.split("/")[0])
            elif hasattr(callback, "set_state"):
                callback.set_state(state)
            else:
                vars(callback).update(state)
        return gone


def attributes(callback):
    return {
        key: value for key, value in vars(callback).items()
        if not key.startswith("_") and key not in ("model", "params", "validation_data") and plain(value)
    }


def plain(value):
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(one) for key, one in value.items())
    if isinstance(value, np.ndarray):
        return value.dtype != object
    return value is None or isinstance(value, (bool, int, float, str, np.number, np.bool_))


def same(a, b):
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def packed(value, name, arrays):
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {"__array__": name}
    if isinstance(value, dict):
        return {key: packed(one, f"{name}/{key}", arrays) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [packed(one, f"{name}/{number}", arrays) for number, one in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def unpacked(value, arrays):
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            return arrays[value["__array__"]]
        return {key: unpacked(one, arrays) for key, one in value.items()}
    return [unpacked(one, arrays) for one in value] if isinstance(value, list) else value
