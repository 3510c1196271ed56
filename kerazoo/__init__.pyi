"""What editors know of kerazoo, whose names resolve on first use. tests/test_stubs.py keeps it true."""
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import keras

from kerazoo import augment as augment
from kerazoo import data as data
from kerazoo import models as models
from kerazoo import registry as registry
from kerazoo import train as train
from kerazoo import visualize as visualize
from kerazoo import weights as weights
from kerazoo.analyze import Analysis, Comparison, ReceptiveField
from kerazoo.registry import Facts

__version__: str

Shape: TypeAlias = tuple[int | None, int | None, int]
Activation: TypeAlias = str | Callable[[Any], Any] | keras.layers.Layer | type[keras.layers.Layer]
Preprocessing: TypeAlias = str | tuple[float | Sequence[float], float | Sequence[float]]

class Builder(Protocol):
    def __call__(
        self,
        *,
        weights: str | os.PathLike[str] | None = None,
        classes: int = ...,
        input_shape: Shape | None = None,
        include_top: bool = True,
        pooling: str | None = None,
        classifier_activation: str | Callable[[Any], Any] | None = None,
        dropout: float | None = None,
        activation: Activation | None = None,
        norm: str | None = None,
        preprocessing: Preprocessing | None = ...,
        augmentation: keras.layers.Layer | Sequence[keras.layers.Layer] | None = None,
        name: str | None = None,
    ) -> keras.Model:
        """Build the model: pixels in 0..255 to logits.

        Args:
            weights: None, "imagenet", "imagenet/<tag>", or the path of a file.
            classes: outputs of the head.
            input_shape: (height, width, channels) in pixels; None: the published size.
            include_top: False: the last feature map, or pooled features with `pooling`.
            pooling: None, "avg" or "max"; with include_top=False.
            classifier_activation: None for logits, or "softmax".
            dropout: rate, 0 to 1; None: the published one.
            activation: None: the published one; or a Keras activation, a layer, or a layer class.
            norm: None: the published one; or "batch", "group", "layer", "none".
            preprocessing: "imagenet", "cifar10", "unit", None, or (mean, std) for pixels in 0..1.
            augmentation: one layer or a list, active in training alone.
            name: of the model.
        """

class MLPBuilder(Protocol):
    def __call__(
        self,
        *,
        weights: str | os.PathLike[str] | None = None,
        classes: int = ...,
        input_shape: Shape | None = None,
        include_top: bool = True,
        pooling: str | None = None,
        classifier_activation: str | Callable[[Any], Any] | None = None,
        dropout: float | None = None,
        activation: Activation | None = None,
        norm: str | None = None,
        preprocessing: Preprocessing | None = ...,
        augmentation: keras.layers.Layer | Sequence[keras.layers.Layer] | None = None,
        units: int | Sequence[int] = ...,
        name: str | None = None,
    ) -> keras.Model:
        """Build the model, as `Builder` does; `units` are those of the hidden layers."""

class AuxiliaryBuilder(Protocol):
    def __call__(
        self,
        *,
        weights: str | os.PathLike[str] | None = None,
        classes: int = ...,
        input_shape: Shape | None = None,
        include_top: bool = True,
        pooling: str | None = None,
        classifier_activation: str | Callable[[Any], Any] | None = None,
        dropout: float | None = None,
        activation: Activation | None = None,
        norm: str | None = None,
        preprocessing: Preprocessing | None = ...,
        augmentation: keras.layers.Layer | Sequence[keras.layers.Layer] | None = None,
        aux_heads: bool = ...,
        name: str | None = None,
    ) -> keras.Model:
        """Build the model, as `Builder` does; `aux_heads` adds classifiers for training."""

class EfficientNetBuilder(Protocol):
    def __call__(
        self,
        *,
        weights: str | os.PathLike[str] | None = None,
        classes: int = ...,
        input_shape: Shape | None = None,
        include_top: bool = True,
        pooling: str | None = None,
        classifier_activation: str | Callable[[Any], Any] | None = None,
        dropout: float | None = None,
        activation: Activation | None = None,
        norm: str | None = None,
        preprocessing: Preprocessing | None = ...,
        augmentation: keras.layers.Layer | Sequence[keras.layers.Layer] | None = None,
        stochastic_depth: float = 0.2,
        name: str | None = None,
    ) -> keras.Model:
        """Build the model, as `Builder` does; `stochastic_depth` is the rate of the last block."""

class WideResNetBuilder(Protocol):
    def __call__(
        self,
        *,
        weights: str | os.PathLike[str] | None = None,
        classes: int = ...,
        input_shape: Shape | None = None,
        include_top: bool = True,
        pooling: str | None = None,
        classifier_activation: str | Callable[[Any], Any] | None = None,
        dropout: float | None = None,
        activation: Activation | None = None,
        norm: str | None = None,
        preprocessing: Preprocessing | None = ...,
        augmentation: keras.layers.Layer | Sequence[keras.layers.Layer] | None = None,
        block_dropout: float = 0.0,
        name: str | None = None,
    ) -> keras.Model:
        """Build the model, as `Builder` does; `block_dropout` is the rate inside the blocks."""

def analyze(model: keras.Model, input_shape: tuple[int, int, int] | None = None) -> Analysis: ...
def compare(*models: str | keras.Model, input_shape: tuple[int, int, int] | None = None) -> Comparison: ...
def conv_output_size(
    size: int | tuple[int, int],
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: int | str | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> int | tuple[int, int]: ...
def count_parameters(
    layer: str | keras.layers.Layer,
    input_shape: Sequence[int | None] | None = None,
    *,
    kernel: int | tuple[int, int] | None = None,
    inputs: int | None = None,
    outputs: int | None = None,
    groups: int = 1,
    bias: bool = True,
    trainable_only: bool = False,
) -> int: ...
def receptive_field(layers: Sequence[Any]) -> ReceptiveField: ...
def decode_predictions(
    logits: Any, top: int = 5, class_names: Sequence[str] | None = None
) -> list[list[tuple[str, float]]]: ...
def create_model(name: str, /, **options: Any) -> keras.Model: ...
def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    format: str = "tf_saved_model",
    class_names: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    quantize: str | None = None,
    calibration: Any = None,
    runtime: str | os.PathLike[str] | None = None,
    verbose: bool = True,
) -> os.PathLike[str]: ...
def facts(name: str) -> Facts: ...
def feature_extractor(model: keras.Model, names: str | Sequence[str]) -> keras.Model: ...
def list_families() -> list[str]: ...
def load_model(path: str | os.PathLike[str], compile: bool = True) -> keras.Model: ...
def list_weights(model: str) -> list[str]: ...
def load_weights(
    model: keras.Model,
    path_or_tag: str | os.PathLike[str],
    *,
    architecture: str | None = None,
    fresh_head: bool = False,
) -> None: ...
def save_weights(model: keras.Model, path: str | os.PathLike[str]) -> None: ...
def list_models(pattern: str = "*", family: str | None = None) -> list[str]: ...

alexnet: Builder
alexnet_2012: Builder
cnn_mnist: Builder
densenet40_12: Builder
densenet121: Builder
densenet161: Builder
densenet169: Builder
densenet201: Builder
densenet_bc100_12: Builder
densenet_bc190_40: Builder
densenet_bc250_24: Builder
efficientnet_b0: EfficientNetBuilder
efficientnet_b1: EfficientNetBuilder
efficientnet_b2: EfficientNetBuilder
efficientnet_b3: EfficientNetBuilder
efficientnet_b4: EfficientNetBuilder
efficientnet_b5: EfficientNetBuilder
efficientnet_b6: EfficientNetBuilder
efficientnet_b7: EfficientNetBuilder
efficientnet_lite0: EfficientNetBuilder
efficientnet_lite1: EfficientNetBuilder
efficientnet_lite2: EfficientNetBuilder
efficientnet_lite3: EfficientNetBuilder
efficientnet_lite4: EfficientNetBuilder
googlenet: AuxiliaryBuilder
googlenet_bn: AuxiliaryBuilder
inception_v3: AuxiliaryBuilder
lenet5: Builder
lenet5_1998: Builder
mlp: MLPBuilder
preact_resnet18: Builder
preact_resnet110: Builder
preact_resnet164: Builder
preact_resnet1001: Builder
resnet18: Builder
resnet18_v2: Builder
resnet20: Builder
resnet32: Builder
resnet34: Builder
resnet34_v2: Builder
resnet44: Builder
resnet50: Builder
resnet50_v1: Builder
resnet50_v2: Builder
resnet56: Builder
resnet101: Builder
resnet101_v1: Builder
resnet101_v2: Builder
resnet110: Builder
resnet152: Builder
resnet152_v1: Builder
resnet152_v2: Builder
resnet1202: Builder
resnext50_32x4d: Builder
resnext101_32x8d: Builder
resnext101_64x4d: Builder
tf_efficientnet_b0: EfficientNetBuilder
tf_efficientnet_b1: EfficientNetBuilder
tf_efficientnet_b2: EfficientNetBuilder
tf_efficientnet_b3: EfficientNetBuilder
tf_efficientnet_b4: EfficientNetBuilder
tf_efficientnet_b5: EfficientNetBuilder
tf_efficientnet_b6: EfficientNetBuilder
tf_efficientnet_b7: EfficientNetBuilder
tf_inception_v3: AuxiliaryBuilder
tf_resnet50_v2: Builder
tf_resnet101_v2: Builder
tf_resnet152_v2: Builder
vgg11: Builder
vgg11_bn: Builder
vgg13: Builder
vgg13_bn: Builder
vgg16: Builder
vgg16_bn: Builder
vgg19: Builder
vgg19_bn: Builder
wide_resnet28_10: WideResNetBuilder
wide_resnet50_2: Builder
wide_resnet101_2: Builder
