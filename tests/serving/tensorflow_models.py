"""The models that TensorFlow Serving's own tests ask, made anew, and models that give back what they take."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tensorflow as tf

PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{kind}" for kind in ("predict", "classify", "regress"))


def save_half_plus(path: Path, plus: float = 2.0, method: str | None = None) -> Path:
    """Half of `x`, plus a number.

    Its signatures, names and shapes are those of saved_model_half_plus_two_2_versions_metadata.json in TensorFlow
    Serving's servables/tensorflow/testdata.

    Args:
      path: where to save it.
      plus: the number.
      method: the method name of every signature, if not its own.
    """
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        half, two, three = (
            v1.get_variable(name, initializer=value, use_resource=False)
            for name, value in (("a", 0.5), ("b", plus), ("c", 3.0))
        )
        examples = v1.placeholder(tf.string, name="tf_example")
        features = {
            "x": tf.io.FixedLenFeature([1], tf.float32),
            "x2": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
        }
        parsed = v1.parse_example(examples, features)
        x, x2 = tf.identity(parsed["x"], name="x"), tf.identity(parsed["x2"], name="x2")
        for tensor in (x, x2):
            tensor.set_shape([None, 1])
        y = tf.add(tf.multiply(half, x), two, name="y")
        y2 = tf.add(tf.multiply(half, x), three, name="y2")
        y3 = tf.add(tf.multiply(half, x2), three, name="y3")
        session.run(v1.global_variables_initializer())
        signatures = {
            "serving_default": ({"x": x}, {"y": y}, PREDICT),
            "classify_x_to_y": ({"inputs": examples}, {"scores": y}, CLASSIFY),
            "classify_x2_to_y3": ({"inputs": x2}, {"scores": y3}, CLASSIFY),
            "regress_x_to_y": ({"inputs": examples}, {"outputs": y}, REGRESS),
            "regress_x_to_y2": ({"inputs": examples}, {"outputs": y2}, REGRESS),
            "regress_x2_to_y3": ({"inputs": x2}, {"outputs": y3}, REGRESS),
        }
        if method is not None:
            signatures = {name: (*ends, method) for name, (*ends, _) in signatures.items()}
        return _save(session, path, signatures)


class HalfPlusTwo(tf.Module):
    """Half of `x` plus two as TensorFlow 2 saves it, after saved_model_half_plus_two.py."""

    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, name="x")])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * 0.5 + 2.0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": self._parse(inputs) * 0.5 + 2.0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress_more(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": self._parse(inputs) * 0.5 + 3.0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": self._parse(inputs) * 0.5 + 2.0}

    def _parse(self, examples: tf.Tensor) -> tf.Tensor:
        return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]

    def save(self, path: Path) -> Path:
        signatures = {
            "serving_default": self.predict,
            "regress_x_to_y": self.regress,
            "regress_x_to_y2": self.regress_more,
            "classify_x_to_y": self.classify,
        }
        tf.saved_model.save(self, str(path), signatures)
        return path


def save_functions(
    path: Path, shape: Sequence[int | None] | None, **functions: Callable[[tf.Tensor], tf.Tensor]
) -> Path:
    """A signature for each function, from the floats `x` of a shape to `y`."""

    def sign(compute: Callable[[tf.Tensor], tf.Tensor]) -> tf.types.experimental.GenericFunction:
        return tf.function(lambda x: {"y": compute(x)}, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])

    module = tf.Module()
    signatures = {name: sign(compute) for name, compute in functions.items()}
    module.functions = signatures
    tf.saved_model.save(module, str(path), signatures)
    return path


def save_counter(path: Path) -> Path:
    """Counts in a variable, by signatures without inputs, after export_counter.py."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        counter = v1.get_variable("counter", initializer=0.0, use_resource=False)
        delta = v1.placeholder(tf.float32, name="delta")
        outputs = {
            "get_counter": counter,
            "incr_counter": v1.assign_add(counter, 1.0),
            "incr_counter_by": v1.assign_add(counter, delta),
            "reset_counter": v1.assign(counter, 0.0),
        }
        session.run(v1.global_variables_initializer())
        inputs = {"incr_counter_by": {"delta": delta}}
        signatures = {name: (inputs.get(name, {}), {"output": output}, PREDICT) for name, output in outputs.items()}
        return _save(session, path, signatures)


def save_unsigned(path: Path) -> Path:
    """Half plus two without a signature."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.add(tf.multiply(0.5, tf.compat.v1.placeholder(tf.float32, name="x")), 2.0, name="y")
        return _save(session, path, {})


def save_echo(path: Path, inputs: Mapping[str, str]) -> Path:
    """Gives back each input under its own name, of whatever shape.

    Args:
      path: where to save it.
      inputs: the inputs' types by name, such as `float32`.
    """
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        placeholders = {name: v1.placeholder(dtype) for name, dtype in inputs.items()}
        outputs = {name: tf.identity(tensor) for name, tensor in placeholders.items()}
        signature = (placeholders, outputs, PREDICT)
        return _save(session, path, {"serving_default": signature, "predict_images": signature})


def _save(
    session: tf.compat.v1.Session,
    path: Path,
    signatures: Mapping[str, tuple[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor], str]],
) -> Path:
    v1 = tf.compat.v1
    definitions = {
        name: v1.saved_model.build_signature_def(
            {key: v1.saved_model.build_tensor_info(tensor) for key, tensor in inputs.items()},
            {key: v1.saved_model.build_tensor_info(tensor) for key, tensor in outputs.items()},
            method,
        )
        for name, (inputs, outputs, method) in signatures.items()
    }
    builder = v1.saved_model.Builder(str(path))
    builder.add_meta_graph_and_variables(session, [tf.saved_model.SERVING], signature_def_map=definitions)
    builder.save()
    return path


# Of each name by which the cases call a model, how to save it.
MODELS: Mapping[str, Callable[[Path], Path]] = {
    "half_plus_two": save_half_plus,
    "half_plus_two_tf2": lambda path: HalfPlusTwo().save(path),
    "half_plus_three": lambda path: save_half_plus(path, 3.0),
    "times_six": lambda path: save_functions(path, None, serving_default=lambda x: 3.0 * 2.0 * x),
    "two_constants": lambda path: save_functions(
        path,
        None,
        serving_default=lambda x: tf.constant(1.0) + 0.0 * x,
        custom_signature_key=lambda x: tf.constant(2.0) + 0.0 * x,
    ),
    "counter": save_counter,
    "a model without signatures": save_unsigned,
    "keras_identity": lambda path: save_functions(path, [None, 1], serving_default=tf.identity),
}
