"""What TensorBoard shows of a diagnosis."""
from kerazoo.train.findings import TITLES
from kerazoo.train.logs import TensorBoardLog

CURVES = {"gradient_norm": "gradient", "update_ratio": "ratio", "dead": "dead", "activation_std": "std"}


class Board:
    """Curves of the measurements, by layer, and findings as texts."""

    def __init__(self, folder, guard):
        self._log, self._guard = TensorBoardLog(folder, guard), guard

    def curves(self, step, sample):
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(step, [
            Summary.Value(tag=f"diagnosis_{tag}/{name}", simple_value=value)
            for tag, key in CURVES.items() for name, value in sample[key].items()
        ])

    def text(self, step, finding):
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        plugin = SummaryMetadata.PluginData(plugin_name="text")
        text = TensorProto(dtype="DT_STRING", string_val=[str(finding).encode("utf-8")], tensor_shape=TensorShapeProto(
            dim=[TensorShapeProto.Dim(size=1)]))
        self._add(step, [Summary.Value(tag=f"diagnosis/{TITLES[finding.kind]}", tensor=text,
                                       metadata=SummaryMetadata(plugin_data=plugin))])

    def close(self):
        self._log.on_train_end()

    def _add(self, step, values):
        from tensorboard.compat.proto.summary_pb2 import Summary

        with self._guard("TensorBoard's log"):
            self._log.add("diagnosis", step, summary=Summary(value=values))
