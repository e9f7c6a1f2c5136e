"""The exported model: what it answers to which request.

Training must not live here. The names and shapes of the signatures are a public interface.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from modules.calibration import Calibration
from modules.features import (
    DEFAULT_SIGNATURE,
    LABELS,
    MODEL_NAME,
    NGRAMS,
    PROBABILITIES,
    SCORING_SIGNATURE,
    TEXT_SIGNATURE,
    TITLE,
    TOKEN_COUNT,
    TOKENS,
    TRANSFORM_SIGNATURE,
    WORDS,
    transformed_name,
)

# Sent by a model server to itself before it answers anyone: the first request of each shape is the slow one.
WARMUP_TITLES = ("", "Governo anuncia novo pacote de 10 medidas para a economia", "Chuva forte " * 30)
WARMUP_BATCH_SIZES = (1, 32)


class HeadlineModel(tf.Module):
    """Variables, transform graph and signatures, and nothing of Keras.

    A Keras object as an attribute would be saved too, and TensorFlow 1 loaders (BulkInferrer's) reject such models
    (tensorflow/tfx#7782).
    """

    def __init__(
        self,
        network: Callable[[dict[str, Any]], tf.Tensor],
        variables: list[tf.Variable],
        transform_output: tft.TFTransformOutput,
        calibration: Calibration,
    ):
        """Loads the transform graph and makes the signatures.

        Args:
          network: {tokens, token_count, words, ngrams} -> logits float32 [n, len(LABELS)].
          variables: those that `network` reads.
          transform_output: what Transform left, on whose examples `network` was trained.
          calibration: what turns logits into probabilities.
        """
        super().__init__(name=MODEL_NAME)
        self.network_variables = variables
        self.transform_graph = tf.saved_model.load(transform_output.transform_savedmodel_dir)
        apply: Callable[[dict[str, Any]], dict[str, Any]] = self.transform_graph.transform_fn
        raw_spec = transform_output.raw_feature_spec()

        def transform(features: dict[str, tf.SparseTensor], size: tf.Tensor) -> dict[str, Any]:
            missing = {
                name: tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], spec.dtype), tf.stack([size, 1]))
                for name, spec in raw_spec.items()
                if name not in features
            }
            return apply({**features, **missing})

        def predict(transformed: dict[str, Any]) -> dict[str, tf.Tensor]:
            logits = network({key: transformed[transformed_name(key)] for key in (TOKENS, TOKEN_COUNT, WORDS, NGRAMS)})
            probabilities = calibration.answer(logits)
            return {
                PROBABILITIES: probabilities,
                "label": tf.gather(tf.constant(LABELS), tf.argmax(probabilities, axis=1)),
                "confidence": tf.reduce_max(probabilities, axis=1),
            }

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def predict_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            features = tf.io.parse_example(examples, {TITLE: raw_spec[TITLE]})
            return predict(transform(features, tf.shape(examples, tf.int64)[0]))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def score_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            # BulkInferrer's: it cannot read an output of strings (no issue known).
            return {PROBABILITIES: predict_examples(examples)[PROBABILITIES]}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="title")])
        def predict_titles(title: tf.Tensor) -> dict[str, tf.Tensor]:
            size = tf.shape(title, tf.int64)[0]
            indices = tf.stack([tf.range(size), tf.zeros([size], tf.int64)], axis=1)
            return predict(transform({TITLE: tf.SparseTensor(indices, title, tf.stack([size, 1]))}, size))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def transform_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            transformed = transform(tf.io.parse_example(examples, raw_spec), tf.shape(examples, tf.int64)[0])
            # The n-grams stay inside: 65,536 columns are of no use outside, and signatures of sparse tensors are of
            # little.
            return {name: value for name, value in transformed.items() if isinstance(value, tf.Tensor)}

        self.functions = {
            DEFAULT_SIGNATURE: predict_examples,
            TEXT_SIGNATURE: predict_titles,
            SCORING_SIGNATURE: score_examples,
            TRANSFORM_SIGNATURE: transform_examples,
        }


def export(
    network: Callable[[dict[str, Any]], tf.Tensor],
    variables: list[tf.Variable],
    transform_output: tft.TFTransformOutput,
    calibration: Calibration,
    directory: str,
) -> None:
    """Writes the SavedModel of a HeadlineModel, with warm-up requests.

    Args:
      network: as HeadlineModel takes it.
      variables: as HeadlineModel takes them.
      transform_output: as HeadlineModel takes it.
      calibration: as HeadlineModel takes it.
      directory: where to write; it is created.
    """
    model = HeadlineModel(network, variables, transform_output, calibration)
    tf.saved_model.save(model, directory, signatures=model.functions)
    write_warmup_requests(directory)


def write_warmup_requests(directory: str) -> None:
    """Writes requests of `predict_text` to where TensorFlow Serving looks for them in the SavedModel `directory`."""
    # Not a pathlib.Path: the directory may be an address that only gfile understands.
    extra = f"{directory}/assets.extra"
    tf.io.gfile.makedirs(extra)
    with tf.io.TFRecordWriter(f"{extra}/tf_serving_warmup_requests") as writer:
        for batch_size in WARMUP_BATCH_SIZES:
            for title in WARMUP_TITLES:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = MODEL_NAME
                request.model_spec.signature_name = TEXT_SIGNATURE
                request.inputs[TITLE].CopyFrom(tf.make_tensor_proto([title] * batch_size, tf.string))
                record = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                writer.write(record.SerializeToString())
