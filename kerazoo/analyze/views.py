"""What each value in a model sees of the image."""
import dataclasses
import math

from kerazoo.analyze import fields
from kerazoo.analyze.graph import needed


@dataclasses.dataclass(frozen=True)
class View:
    """What a value's units see: a field an axis of the image, through the largest and through the shortest path.

    `lost` says in words why it is unknown, where this is not for an unseen layer.
    """

    largest: tuple
    smallest: tuple
    gated: bool = False
    lost: str = ""


def sights(graph, deeds):
    """{number of a value: View}."""
    views = {}
    for number in graph.inputs:
        axes = (fields.PIXEL,) * max(len(graph.values[number].shape) - 1, 0)
        views[number] = View(axes, axes)
    for call, deed in zip(graph.calls, deeds):
        if not call.inputs:
            continue
        inputs = needed(call)
        seen = [views[number] for number in inputs]
        shapes = [graph.values[number].shape for number in inputs]
        view = merged(seen, shapes, deed)
        if deed.unseen:
            # What sees the whole image already can see no more.
            view = view if fields.WHOLE in view.largest else unknown(len(view.largest), view.gated)
        elif deed.windows is None:
            whole = (fields.WHOLE,) * len(view.largest)
            view = View(whole, whole, view.gated)
        elif deed.windows and len(deed.windows) == len(view.largest):
            view = View(
                tuple(map(fields.see, view.largest, deed.windows)),
                tuple(map(fields.see, view.smallest, deed.windows)), view.gated,
            )
        elif deed.windows and view.largest and fields.WHOLE not in view.largest:
            why = "" if fields.UNKNOWN in view.largest else f"{type(call.operation).__name__} works along other axes"
            view = unknown(len(view.largest), view.gated, why)
        if deed.left_out:
            view = dataclasses.replace(view, gated=True)
        views |= dict.fromkeys(call.outputs, view)
    return views


def unknown(axes, gated, why=""):
    return View((fields.UNKNOWN,) * axes, (fields.UNKNOWN,) * axes, gated, why)


def merged(seen, shapes, deed):
    """The view of a unit that reads the units at its own place in several inputs."""
    on_image = [(view, shape) for view, shape in zip(seen, shapes) if view.largest]
    if not on_image:
        return seen[0]
    spread = max(math.prod(shape[:-1]) for _, shape in on_image)
    on_map = [view for view, shape in on_image if math.prod(shape[:-1]) == spread]
    gated = any(view.gated for view, _ in on_image)
    others = [(view, shape) for view, shape in on_image if math.prod(shape[:-1]) < spread]
    if deed.merges == "gate":
        # One factor for the whole map is left out; one a row or a column is not.
        factors = [view for view, shape in others if math.prod(shape[:-1]) == 1]
        others = [(view, shape) for view, shape in others if math.prod(shape[:-1]) > 1]
        gated = gated or bool(factors)
    read = on_map + [view for view, _ in others]
    if len({len(view.largest) for view in read}) > 1:
        return unknown(len(on_map[0].largest), gated, "maps of different axes meet")
    largest = tuple(map(fields.join, zip(*(view.largest for view in read))))
    smallest = tuple(map(fields.smaller, zip(*(view.smallest for view in on_map))))
    known = fields.UNKNOWN not in largest or any(fields.UNKNOWN in view.largest for view in read)
    return View(largest, smallest, gated, "" if known else "paths of different jumps meet")


def pixels(axes, graph):
    """(height, width) of a view; None for the whole image."""
    if axes and all(axis == fields.WHOLE for axis in axes):
        return None
    sides = next((graph.values[number].shape for number in graph.inputs if len(graph.values[number].shape) > 1), ())
    return tuple(
        math.nan if axis == fields.UNKNOWN else side if axis == fields.WHOLE else axis.size
        for axis, side in zip(axes, sides)
    )


def numbers(axes, what):
    """The jump or start on each axis of a view, integers where they are."""
    values = [getattr(axis, what, None) for axis in axes]
    if not values or None in values:
        return None
    return tuple(int(value) if value == int(value) else float(value) for value in values)
