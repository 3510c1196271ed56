"""The parts every architecture is made of, with activation, norm and initialization bound once.

An architecture is a function ``trunk(x, kit, **design)``. It asks the kit for a layer by role ("conv, norm, act") and
never says which activation or norm that is, so that exchanging either touches no architecture.
"""
import dataclasses

import keras

from kerazoo.models import layers

NORMS = ("batch", "group", "layer", "none")


@dataclasses.dataclass(frozen=True)
class Kit:
    """Layers under one choice of activation, norm and initialization.

    Attributes:
        activation: a Keras activation name, "scaled_tanh", a function, a layer, or a layer class.
        norm: one of `NORMS`.
        epsilon: the norm's epsilon. 1e-5 is what PyTorch's published weights were trained with.
        momentum: of a batch norm's moving statistics: the share that is kept.
        scale: whether a batch norm has a gamma.
        bias: whether convolutions have a bias; None: where no norm follows.
        initializer: for kernels, a name in `INITIALIZERS`.
        head_initializer: for the last dense layer's kernel.
        rate: of every dropout, 0 to 1.
        late_padding: where a convolution halves the image, pad as TensorFlow's "same" does, one pixel more at the
            bottom and on the right if the padding is odd, instead of both sides alike.
        branches: number of residual branches. The last layer of each, its `closing` one, starts with 1 / branches of
            the usual variance, so that the sum of all is of the order of one: else deep networks overflow float16
            before their norms have seen data (after Zhang et al. 2019, arXiv:1901.09321, and De and Smith 2020,
            arXiv:2002.10444).
    """

    activation: object = "relu"
    norm: str = "batch"
    epsilon: float = 1e-5
    momentum: float = 0.9  # Keras counts what is kept, PyTorch what is added (0.1)
    scale: bool = True
    bias: bool | None = None
    initializer: str = "he_fan_out"
    head_initializer: str = "glorot"
    rate: float = 0.0
    late_padding: bool = False
    branches: int = 1

    def conv(
        self, x, filters, size, stride=1, *, groups=1, padding="same", bias=None, bias_start=0.0, closing=False, name
    ):
        """A convolution, of `size` pixels or (rows, columns), that pads symmetrically, as the papers and PyTorch do."""
        x, padding = self.padded(x, size, stride, padding, name)
        if bias is None:
            bias = self.norm == "none" if self.bias is None else self.bias
        return keras.layers.Conv2D(
            filters, size, strides=stride, groups=groups, padding=padding, use_bias=bias,
            kernel_initializer=INITIALIZERS[self.initializer](*[1 / self.branches] * closing),
            bias_initializer=keras.initializers.Constant(bias_start) if bias_start else "zeros", name=name,
        )(x)

    def depthwise_conv(self, x, size, stride, *, name):
        """A convolution of each channel by itself."""
        x, padding = self.padded(x, size, stride, "same", name)
        return keras.layers.DepthwiseConv2D(
            size, strides=stride, padding=padding, use_bias=self.norm == "none",
            depthwise_initializer=INITIALIZERS[self.initializer](), name=name,
        )(x)

    def padded(self, x, size, stride, padding, name):
        """The image and what is left to do for Keras: "same" is symmetric there only where the stride is 1."""
        if padding == "same" and stride > 1 and not self.late_padding:
            padding = size // 2
        if isinstance(padding, int):
            return self.pad(x, padding, f"{name}_pad") if padding else x, "valid"
        return x, padding

    def normalize(self, x, name, closing=False):
        gamma = keras.initializers.Constant(self.branches**-0.5) if closing else "ones"
        match self.norm:
            case "batch":
                return keras.layers.BatchNormalization(
                    momentum=self.momentum, epsilon=self.epsilon, scale=self.scale, gamma_initializer=gamma, name=name
                )(x)
            case "group":
                # 32 groups (Wu and He 2018), or the largest power of two that divides the channels.
                groups = next(g for g in (32, 16, 8, 4, 2, 1) if x.shape[-1] % g == 0)
                return keras.layers.GroupNormalization(
                    groups, epsilon=self.epsilon, gamma_initializer=gamma, name=name
                )(x)
            case "layer":
                return keras.layers.LayerNormalization(epsilon=self.epsilon, gamma_initializer=gamma, name=name)(x)
            case "none":
                return x

    def act(self, x, name):
        activation = self.activation
        if isinstance(activation, str):
            activation = ACTIVATIONS.get(activation, activation)
        if activation is keras.layers.PReLU and len(x.shape) == 4:
            # One slope a channel (He et al. 2015), not one a pixel, which would fix the image size.
            return activation(shared_axes=(1, 2), name=name)(x)
        if isinstance(activation, keras.layers.Layer):
            return activation.__class__.from_config({**activation.get_config(), "name": name})(x)
        if isinstance(activation, type):
            return activation(name=name)(x)
        return keras.layers.Activation(activation, name=name)(x)

    def conv_norm(self, x, filters, size, stride=1, *, closing=False, name, **options):
        """`name` ends in "conv" or "conv1": the norm is called "bn", "bn1" in its place."""
        bare = closing and self.norm == "none"
        x = self.conv(x, filters, size, stride, closing=bare, name=name, **options)
        return self.normalize(x, rename(name, "bn"), closing)

    def conv_norm_act(self, x, filters, size, stride=1, *, name, **options):
        return self.act(self.conv_norm(x, filters, size, stride, name=name, **options), rename(name, "act"))

    def norm_act_conv(self, x, filters, size, stride=1, *, name, **options):
        """Pre-activation (He et al. 2016): norm and activation stand in front."""
        x = self.act(self.normalize(x, rename(name, "bn")), rename(name, "act"))
        return self.conv(x, filters, size, stride, name=name, **options)

    def dense(self, x, units, *, bias_start=0.0, name):
        return keras.layers.Dense(
            units, kernel_initializer=INITIALIZERS[self.initializer](),
            bias_initializer=keras.initializers.Constant(bias_start) if bias_start else "zeros", name=name,
        )(x)

    def dense_act(self, x, units, *, name, **options):
        return self.act(self.dense(x, units, name=name, **options), f"{name}_act")

    def flatten(self, x, name="flatten"):
        check_fixed_size(x)
        return keras.layers.Flatten(name=name)(x)

    def max_pool(self, x, size, stride=None, *, padding=0, name):
        """`padding`: pixels on each side, (before, after), or "same"; what is padded never wins."""
        if padding == "same":
            return keras.layers.MaxPooling2D(size, stride, padding, name=name)(x)
        if padding:
            return layers.PaddedMaxPooling2D(size, stride, padding, name=name)(x)
        return keras.layers.MaxPooling2D(size, stride, name=name)(x)

    def average_pool(self, x, size, stride=None, *, padding="valid", name):
        """`padding`: pixels on each side, which count as zeros, or Keras's "same", which does not count them."""
        x, padding = self.padded(x, size, 1, padding, name)
        return keras.layers.AveragePooling2D(size, stride, padding, name=name)(x)

    def global_average(self, x, *, keepdims=False, name="pool"):
        return keras.layers.GlobalAveragePooling2D(keepdims=keepdims, name=name)(x)

    def dropout(self, x, name, rate=None):
        rate = self.rate if rate is None else rate
        return keras.layers.Dropout(rate, name=name)(x) if rate else x

    def stochastic_depth(self, x, rate, name):
        """Drops the whole branch of an image, and scales the others up (Huang et al. 2016, arXiv:1603.09382)."""
        return keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(x) if rate else x

    def add(self, x, shortcut, name):
        return keras.layers.Add(name=name)([x, shortcut])

    def multiply(self, x, gate, name):
        return keras.layers.Multiply(name=name)([x, gate])

    def concat(self, tensors, name):
        return keras.layers.Concatenate(name=name)(tensors)

    def sigmoid(self, x, name):
        """A gate: unlike the network's activation, it is never exchanged."""
        return keras.layers.Activation("sigmoid", name=name)(x)

    def adaptive_average(self, x, size, name):
        check_fixed_size(x)
        return x if x.shape[1:3] == size else layers.AdaptiveAveragePooling(size, name=name)(x)

    def local_response(self, x, name, **constants):
        return layers.LocalResponseNormalization(**constants, name=name)(x)

    def pad(self, x, margins, name):
        return keras.layers.ZeroPadding2D(margins, name=name)(x)

    def subsample(self, x, name):
        return layers.Subsampling2D(name=name)(x)

    def table_conv(self, x, table, size, name):
        return layers.TableConv2D(table, size, name=name)(x)

    def padded_shortcut(self, x, filters, stride, name):
        return layers.PaddedShortcut(filters, stride, name=name)(x)


def check_fixed_size(x):
    if None in x.shape[1:]:
        raise ValueError(
            "This network ends in dense layers, which fix the image size; got an input_shape with None. "
            "Give height and width, or use include_top=False or, where auxiliary heads are the reason, aux_heads=False."
        )


def rename(name, kind):
    """The name of the norm or activation beside a convolution: stem_conv -> stem_bn, block1_conv2 -> block1_bn2."""
    head, conv, tail = name.rpartition("conv")
    return f"{head}{kind}{tail}" if conv else f"{name}_{kind}"


ACTIVATIONS = {"scaled_tanh": layers.scaled_tanh}

INITIALIZERS = {
    # He et al. 2015, https://arxiv.org/abs/1502.01852, equations 10 and 14: they settle the variance, for the signal's
    # sake (fan in) or the gradient's (fan out). Uniform numbers are drawn three times faster than their Gaussian ones.
    "he_fan_out": lambda share=1: keras.initializers.VarianceScaling(2.0 * share, "fan_out", "uniform"),
    "he": lambda share=1: keras.initializers.VarianceScaling(2.0 * share, "fan_in", "uniform"),
    # Glorot and Bengio 2010, which the authors of VGG recommend in their paper's last footnote on training.
    "glorot": keras.initializers.GlorotUniform,
    # What the authors of EfficientNet draw their last layer from: within ±1 / sqrt(classes).
    "fan_out": lambda: keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform"),
    # Krizhevsky et al. 2012, section 5.
    "normal_0.01": lambda: keras.initializers.RandomNormal(stddev=0.01),
    "lecun_1998": layers.LeCunUniform,
}
