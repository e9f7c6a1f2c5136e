"""Which signatures take tensors of any shape."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_models import save_half_plus

from serving.errors import ServingError
from serving.graphs import takes_any_shape
from serving.model import Model


@pytest.mark.parametrize(
    ("compute", "is_any"),
    [
        (lambda x: x * 0.5 + 2.0, True),
        (lambda x: x, True),
        (lambda x: tf.matmul(x, [[1.0]]), False),
        (lambda x: tf.reshape(x, [-1]) * 2.0, False),
        (lambda x: tf.reduce_sum(x, axis=1), False),
    ],
)
def test_only_arithmetic_takes_any_shape(compute: Callable[[tf.Tensor], tf.Tensor], is_any: bool) -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 1], name="x")
        y = compute(x)
        assert takes_any_shape(graph, [x.name], [y.name]) is is_any


def test_shapes_that_do_not_go_together_are_an_error_of_the_model(tmp_path: Path) -> None:
    signature = Model(save_half_plus(tmp_path / "123"), 123).find_signature("")
    assert signature.run({"x": np.array([[1, 2], [3, 4]], np.float32)})["y"].tolist() == [[2.5, 3.0], [3.5, 4.0]]
    assert signature.run({"x": np.array(2, np.float32)})["y"] == 3
    # Requests of which each may have a shape of its own are not run together.
    assert not signature.by_rows


def test_examples_keep_their_shape(tmp_path: Path) -> None:
    signature = Model(save_half_plus(tmp_path / "123"), 123).find_signature("regress_x_to_y")
    with pytest.raises(ServingError, match="serialized"):
        signature.run({"inputs": np.array([[[b""]]], object)})
