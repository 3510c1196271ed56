"""Whose names a file has: trying the layouts of `names.py` on a model and a file."""
import dataclasses
import re

from kerazoo import registry
from kerazoo.weights.names import AUXILIARY, LAYOUTS, TOP, VARIABLES, Layout, find_layouts
from kerazoo.weights.readers import WeightsError

OWN = Layout("kerazoo", ("*",), None, "own")
HEADS = ("head", "aux1_head", "aux2_head", "aux_head")
# By the ranks of a layer's arrays in Keras 3; kernels of convolutions, of rank 4, count as 2.
COUNTED = {
    (2,): ["kernel"], (2, 1): ["kernel", "bias"],
    (1, 1, 1, 1): ["gamma", "beta", "moving_mean", "moving_variance"],
    (1, 1, 1): ["beta", "moving_mean", "moving_variance"],
    (1, 1, 0): ["mean", "variance", "count"],
}


@dataclasses.dataclass(eq=False)
class Slot:
    """A variable, its layer, and its name and place in the layer."""

    layer: object
    variable: object
    role: str
    index: int

    @property
    def key(self):
        return f"{self.layer.name}/{self.role}"


def find_slots(model):
    """All variables of a model but the states of random generators, which `layer.weights` leaves out."""
    if not getattr(model, "built", False) or not hasattr(model, "layers"):
        raise ValueError(f"Weights are loaded into and saved from a built keras.Model; got {model!r}.")
    slots = [
        Slot(layer, variable, variable.path.split(f"{layer.name}/", 1)[-1], index)
        for layer in model.layers for index, variable in enumerate(layer.weights)
    ]
    if len({slot.key for slot in slots}) < len(slots):
        keys = sorted(slot.key for slot in slots)
        double = next(key for key, other in zip(keys, keys[1:]) if key == other)
        raise ValueError(f"Two variables of {model.name} are called {double}. Give each variable of a layer a name.")
    return slots


def keras_names(arrays):
    """One name for what Keras called differently over the years: {"conv1_conv/kernel": the file's name}.

    Keras 3 counts a layer's variables ("conv1_conv/0"); their shapes tell which they are. Keras 1 called kernels W.
    """
    layers = {}
    for name in arrays:
        layer, _, variable = name.rpartition("/")
        layers.setdefault(layer, []).append(variable)
    found = {}
    for layer, variables in layers.items():
        if all(variable.isdigit() for variable in variables):
            variables.sort(key=int)
            ranks = tuple(min(arrays[f"{layer}/{variable}"].ndim, 2) for variable in variables)
            roles = COUNTED.get(ranks, variables)
        else:
            roles = [old_role(layer, variable) for variable in variables]
        for variable, role in zip(variables, roles):
            old, name = f"{layer}/{variable}", f"{layer.replace('/', '_')}/{role}"
            # Of two arrays that would bear one name, the second keeps its own and so shows up as surplus.
            found[old if name in found else name] = old
    return found


def old_role(layer, variable):
    variable = variable.removeprefix(f"{layer}_")
    old = {"W": "kernel", "b": "bias", "depthwise_kernel": "kernel"}
    return old.get(re.sub(r"_\d+$", "", variable), variable)


class Match:
    """A layout tried on a model and a file.

    Attributes:
        arrays: {name: array} in the names of the layout.
        names: {slot: its array's name}, of those that the file does not have as well.
        spare: names that the file may have beyond those, as the model was built without the layers.
    """

    def __init__(self, layout, slots, arrays):
        self.layout = layout
        renamed = keras_names(arrays) if layout.axes == "keras" else {name: name for name in arrays}
        self.arrays = {name: arrays[old] for name, old in renamed.items()}
        self.layers = list(dict.fromkeys(slot.layer.name for slot in slots))
        absent = [name for name in AUXILIARY if name not in self.layers]
        if "head" not in self.layers and not any(name.startswith("fc") for name in self.layers):
            absent += TOP
        self.counted = layout.axes == "own" and any(name.rpartition("/")[2] == "0" for name in self.arrays)
        if layout.axes == "own":
            self.theirs = {name: (name,) for name in [*self.layers, *absent]}
        else:
            known = {name.rpartition("." if layout.axes == "pytorch" else "/")[0] for name in self.arrays}
            found = layout.names([*self.layers, *absent], known)
            self.theirs = {name: (found[name],) if isinstance(found[name], str) else found[name] for name in found}
        self.names = {slot: self.find(slot.layer.name, slot.index if self.counted else slot.role) for slot in slots}
        self.spare = self.prefixes(absent)
        self.hits = sum(name in self.arrays for name in self.names.values())
        self.extra = sum(not name.startswith(self.spare) for name in self.arrays) - self.hits

    def prefixes(self, layers):
        """How the names of these layers' arrays begin."""
        separator = "." if self.layout.axes == "pytorch" else "/"
        return tuple(f"{name}{separator}" for layer in layers for name in self.theirs.get(layer, ()))

    def find(self, layer, role):
        """The name of a layer's variable: the first that the file has, or else the first."""
        if self.layout.axes == "own":
            return f"{layer}/{role}"
        ending = VARIABLES[self.layout.axes].get(role)
        options = [f"{name}{ending}" for name in self.theirs.get(layer, ()) if ending]
        return next((name for name in options if name in self.arrays), options[0] if options else f"{layer}/{role}")

    def is_spare(self, name):
        """Whether a file may have an array that no variable takes."""
        # PyTorch counts the batches that a norm has seen; dropout and augmentation of Keras keep their random state.
        return name.endswith(".num_batches_tracked") or "seed_generator" in name or name.startswith(self.spare)


def recognize(builder, slots, arrays):
    axes = "keras" if arrays.format == "keras" else "pytorch"
    matches = [Match(layout, slots, arrays) for layout in (OWN, *(find_layouts(builder, axes) if builder else ()))]
    best = max(matches, key=lambda match: (match.hits, -match.extra))
    if best.hits == len(slots):
        return best
    # Does another network have these names?
    others = [Match(layout, slots, arrays) for layout in LAYOUTS
              if layout.axes == axes and not (builder and layout.is_for(builder))]
    other = max(others, key=lambda match: match.hits)
    if other.hits > max(best.hits, len(slots) // 2):
        networks = ", ".join(name for name in registry.table() if other.layout.is_for(name))
        raise WeightsError(
            f"the file's names are those of {other.layout.source} for: {networks}. " + (
                f"{builder} differs from them in more than names." if builder else
                f"Say which of them the model is, as in architecture={networks.split(', ')[0]!r}."))
    if best.hits < len(slots) // 3:
        known = ", ".join(dict.fromkeys(match.layout.source for match in matches))
        raise WeightsError(
            f"the file's names, such as {some(list(arrays))}, are none that are known for this network "
            f"(known: {known})." + ("" if builder else " Say which network it is, as in architecture='resnet18'."))
    return best


def some(names, count=3):
    """The first few of a list of names."""
    return ", ".join(names[:count]) + (", and more" if len(names) > count else "")


KINDS = {
    "head": "of the head and of another size", "shape": "of another shape", "missing": "missing in the file",
    "surplus": "belonging to no layer", "finite": "not finite", "type": "no floating-point numbers",
    "twice": "meant for two variables", "epsilon": "with a variance too small for another epsilon",
}


def describe(problems, match, fresh_head):
    """What is off, in one paragraph: of each kind how many, and the first few.

    Args:
        problems: {kind: [name]}, the kinds of `KINDS`.
        match: what the names were taken for.
        fresh_head: whether the head is left out anyway.
    """
    lacking = {slot.layer.name for slot, name in match.names.items() if name in problems["missing"]}
    remedy = ""
    if lacking and lacking <= set(AUXILIARY):
        remedy = " Build the model with aux_heads=False."
    elif not fresh_head and (problems["head"] or lacking & set(HEADS)):
        remedy = (" kerazoo.load_weights(model, ..., fresh_head=True) leaves the model's head as it is and loads the "
                  "rest.")
    source = "" if match.layout.axes == "own" else f" (read in the names of {match.layout.source})"
    return f"some of its arrays{source} are " + "; ".join(
        f"{text} ({len(problems[kind])}): {some(problems[kind])}" for kind, text in KINDS.items() if problems[kind]
    ) + "." + remedy
