"""Pictures of models, of training, of augmentation and of what a model gets wrong; each returns a matplotlib figure.

`report` puts those of a run into one HTML file.
"""
from kerazoo.lazy import lazy_names

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
__all__, __getattr__, __dir__ = lazy_names(__name__, FILES)  # noqa: PLE0605
