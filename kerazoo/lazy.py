"""Packages whose names resolve on first use, so that one of them does not load what another needs."""
import importlib
import sys


def lazy_names(package, files):
    """Make what a package whose names are in several files needs for that.

    Args:
        package: its `__name__`.
        files: {file: the names in it}.

    Returns:
        (`__all__`, `__getattr__`, `__dir__`) of the package.
    """
    places = {name: file for file, names in files.items() for name in names}
    names = sorted(places)

    def get(name):
        if name not in places:
            from kerazoo.registry import nearest

            raise AttributeError(f"{package} has no {name!r}{nearest(name, places)}")
        value = getattr(importlib.import_module(f"{package}.{places[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return names, get, lambda: names
