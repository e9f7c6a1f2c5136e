"""The peer of the serving benchmark: the same SavedModel behind kserve's V1 protocol, as its guide writes it.

Needs benchmarks/requirements-kserve.txt and nothing of this project.
"""

import sys
from typing import Any

import tensorflow as tf
from kserve import Model, ModelServer


class Headlines(Model):
    """The model behind kserve: it answers `{"instances": [title, ...]}`."""

    def __init__(self, path: str) -> None:
        super().__init__("headlines")
        tf.config.threading.set_intra_op_parallelism_threads(1)
        self._predict = tf.saved_model.load(path).signatures["predict_text"]
        self.ready = True

    async def predict(
        self, payload: dict[str, Any], headers: dict[str, str] | None = None, **_: object
    ) -> dict[str, Any]:
        """Runs the model on the event loop, as kserve's own examples do."""
        outputs = self._predict(title=tf.constant(payload["instances"]))
        columns = {name: tensor.numpy().tolist() for name, tensor in outputs.items()}
        columns["label"] = [label.decode() for label in columns["label"]]
        return {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[2]), workers=1, enable_grpc=False, access_log_format=None).start(
        [Headlines(sys.argv[1])]
    )
