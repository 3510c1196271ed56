"""Pictures of models, of training, of augmentation and of what a model gets wrong; each returns a matplotlib figure.

`report` puts those of a run into one HTML file.
"""
import importlib

# Names resolve on first use, so that a plot of published accuracies loads no backend.
FILES = {
    "attribution": ("grad_cam", "saliency"),
    "augmentation": ("augmentation_sheet",),
    "diagram": ("architecture",),
    "features": ("embedding",),
    "layers": ("feature_maps", "filters"),
    "predictions": ("calibration", "confusion_matrix", "mistakes"),
    "published": ("comparison",),
    "reports": ("report",),
    "training": ("curves", "schedule"),
}
NAMES = {name: file for file, names in FILES.items() for name in names}

__all__ = sorted(NAMES)  # noqa: PLE0605


def __getattr__(name):
    if name not in NAMES:
        from kerazoo.registry import nearest

        raise AttributeError(f"kerazoo.visualize has no {name!r}{nearest(name, NAMES)}")
    value = getattr(importlib.import_module(f"kerazoo.visualize.{NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return __all__
