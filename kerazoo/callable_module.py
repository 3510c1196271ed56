"""Modules that answer to a call, for rooms that share their name with their one public function."""
import inspect
import sys
import types


class CallableModule(types.ModuleType):
    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def make_callable(module_name, function):
    """Let `kerazoo.export(...)` work although `kerazoo.export` is also a package.

    The import system binds a submodule to its parent's attribute of the same name, so a function of that name would
    be hidden as soon as anything imports the package.
    """
    module = sys.modules[module_name]
    module.__class__ = CallableModule
    module.function = function
    module.__signature__ = inspect.signature(function)
    module.__doc__ = function.__doc__
