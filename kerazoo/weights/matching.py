"""Whose names a file has: trying the layouts of `names.py` on a model and a file."""
import dataclasses

from kerazoo import registry
from kerazoo.weights.names import AUXILIARY, LAYOUTS, TOP, VARIABLES, Layout, find_layouts, keras_names
from kerazoo.weights.readers import WeightsError

OWN = Layout("kerazoo", ("*",), None, "own")
HEADS = ("head", "aux1_head", "aux2_head", "aux_head")
# What no layer reads: PyTorch counts the batches that a norm has seen; random generators of dropout and augmentation.
NO_WEIGHTS = (".num_batches_tracked", "seed_generator_state")


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
    if not getattr(model, "built", False) or not hasattr(model, "layers"):
        raise ValueError(f"load_weights takes a built keras.Model; got {model!r}.")
    # `weights` leaves out the states of random generators.
    return [
        Slot(layer, variable, variable.path.split(f"{layer.name}/", 1)[-1], index)
        for layer in model.layers for index, variable in enumerate(layer.weights)
    ]


class Match:
    """A layout tried on a model and a file.

    Attributes:
        arrays: {name: array} in the names of the layout.
        names: {slot: its array's name}, of those that the file does not have as well.
        spare: names that the file may have beyond those, as the model was built without the layers.
    """

    def __init__(self, layout, slots, arrays):
        self.layout = layout
        self.arrays = {name: arrays[old] for name, old in keras_names(arrays).items()} if layout.axes == "keras" else (
            dict(arrays))
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
        self.spare = tuple(
            f"{name}{'.' if layout.axes == 'pytorch' else '/'}" for layer in absent for name in self.theirs.get(layer, ())
        )
        self.hits = sum(name in self.arrays for name in self.names.values())
        self.extra = sum(not name.startswith(self.spare) for name in self.arrays) - self.hits

    def find(self, layer, role):
        """The name of a layer's variable: the first that the file has, or else the first."""
        if self.layout.axes == "own":
            return f"{layer}/{role}"
        ending = VARIABLES[self.layout.axes].get(role)
        options = [f"{name}{ending}" for name in self.theirs.get(layer, ()) if ending]
        return next((name for name in options if name in self.arrays), options[0] if options else f"{layer}/{role}")

    def is_spare(self, name):
        return name.endswith(NO_WEIGHTS) or "seed_generator" in name or name.startswith(self.spare or ("\0",))


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
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
