"""Training, and the Trainer's entry point `run_fn`."""

import dataclasses
import json
import logging
import time
from typing import Any

import keras
import numpy as np
import scipy.sparse
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray

from modules.batches import Rows, make_batches, read_rows
from modules.calibration import Calibration, fit_temperature
from modules.errors import ModellingError
from modules.features import LABELS, NGRAMS, PROBABILITIES, REFERENCE_FILE, WORDS
from modules.hyperparameters import Hyperparameters
from modules.network import PretrainedVectors, WidePath, blend, build_transformer
from modules.preprocessing import VOCABULARY_NAME
from modules.signatures import export
from modules.wide import fit_wide
from modules.word_vectors import read_vectors

log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 512
_REFERENCE_TITLES = 64


class _EpochLog(keras.callbacks.Callback):
    """Logs a line per epoch: its seconds, loss and accuracy."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        names = {name: name.replace("val_", "validation ").replace("_", " ") for name in logs or {}}
        measures = ", ".join(f"{names[name]} {value:.4f}" for name, value in (logs or {}).items())
        seconds = time.monotonic() - self.started
        log.info("Epoch %d/%d in %.1f s: %s", epoch + 1, self.params["epochs"], seconds, measures)


def train(
    network: keras.Model,
    training: Rows,
    validation: Rows | None,
    hyperparameters: Hyperparameters,
    seed: int,
    tensorboard_dir: str | None = None,
) -> None:
    """Trains `network` in place.

    Args:
      network: as `build_transformer` makes it.
      training: the rows to train on.
      validation: the rows to measure on after each epoch, never trained on; None measures nothing.
      hyperparameters: length, pace and regularisation of the training.
      seed: decides the order of the rows.
      tensorboard_dir: where TensorBoard finds the curves; None writes none.
    """
    batches = make_batches(training, hyperparameters.batch_size, shuffle_seed=seed)
    steps_per_epoch = -(-len(training.label_ids) // hyperparameters.batch_size)
    epochs = max(hyperparameters.epochs, -(-hyperparameters.min_steps // steps_per_epoch))
    steps = steps_per_epoch * epochs
    warmup_steps = round(steps * hyperparameters.warmup_share)
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(
            0.0, max(steps - warmup_steps, 1), warmup_target=hyperparameters.learning_rate, warmup_steps=warmup_steps
        ),
        weight_decay=hyperparameters.weight_decay,
        global_clipnorm=hyperparameters.clip_norm,
        use_ema=hyperparameters.ema_momentum > 0,
        ema_momentum=hyperparameters.ema_momentum,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    network.compile(
        optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=hyperparameters.label_smoothing),
        weighted_metrics=["accuracy"],
        jit_compile=False,
    )
    callbacks: list[keras.callbacks.Callback] = [_EpochLog()]
    if hyperparameters.ema_momentum > 0:
        # Before the log, so that the validation line measures the weights that would be exported.
        callbacks.insert(0, keras.callbacks.SwapEMAWeights())
    if tensorboard_dir:
        callbacks.append(keras.callbacks.TensorBoard(tensorboard_dir, write_graph=False))
    validation_data = make_batches(validation, _ROWS_AT_ONCE) if validation else None
    network.fit(batches, epochs=epochs, validation_data=validation_data, callbacks=callbacks, shuffle=False, verbose=0)


def fit_wide_path(rows: Rows, vectors: PretrainedVectors, hyperparameters: Hyperparameters) -> WidePath:
    """The wide path, fitted to `rows`.

    Args:
      rows: the rows to fit to.
      vectors: the table that words are looked up in.
      hyperparameters: how freely it fits, and the length of a title's mean vector.
    """
    words, scale = rows.sequences[WORDS], hyperparameters.vector_scale
    means = [vectors.mean(words[i : i + _ROWS_AT_ONCE]).numpy() for i in range(0, len(words), _ROWS_AT_ONCE)]
    features = scipy.sparse.hstack([rows.ngrams, scale * np.concatenate(means)], format="csr")
    kernel, bias = fit_wide(features, rows.label_ids, rows.weights, len(LABELS), hyperparameters.inverse_l2)
    log.info("Fitted the wide path to %d headlines", len(words))
    return WidePath(kernel, bias, vectors, scale)


def read_titles(
    network: keras.Model, wide: WidePath, inputs: dict[str, Any], hyperparameters: Hyperparameters
) -> tf.Tensor:
    """Logits float [n, len(LABELS)] of both paths together.

    Args:
      network: the Transformer.
      wide: the wide path.
      inputs: as `as_inputs` makes them.
      hyperparameters: how much the Transformer counts.
    """
    sequences = {name: value for name, value in inputs.items() if name != NGRAMS}
    of_wide = wide(inputs[NGRAMS], inputs[WORDS])
    return blend(network(sequences, training=False), of_wide, hyperparameters.transformer_share)


def as_inputs(rows: Rows) -> dict[str, Any]:
    """All rows as one batch: {tokens, token_count, words, ngrams}."""
    cells = rows.ngrams.tocoo()
    ngrams = tf.SparseTensor(np.stack([cells.row, cells.col], axis=1).astype(np.int64), cells.data, rows.ngrams.shape)
    return {**{name: tf.constant(value) for name, value in rows.sequences.items()}, NGRAMS: ngrams}


def run_fn(fn_args: Any) -> None:
    """TFX Trainer's entry point: trains on the `train` split and exports to `fn_args.serving_model_dir`.

    The `eval` split is not read: what validates and calibrates comes out of the `train` split. The Transformer is
    trained once, without the withheld titles; the wide path, which costs a second, is fitted without them to calibrate
    and with them to be exported.

    Args:
      fn_args: tfx FnArgs; custom_config holds `hyperparameters` (given by name) and `seed`, `hyperparameters` are the
        tuned ones. Those that are used, and why tuned ones are not, go to hyperparameters.json in `model_run_dir`.

    Raises:
      ModellingError: a hyperparameter is unknown or wrong, or there is nothing to train on.
    """
    started = time.monotonic()
    config = fn_args.custom_config or {}
    hyperparameters, misfit = Hyperparameters.choose(config.get("hyperparameters"), fn_args.hyperparameters)
    if misfit:
        log.warning("The tuned hyperparameters do not fit this code and are left out: %s", misfit)
    tf.io.gfile.makedirs(fn_args.model_run_dir)
    with tf.io.gfile.GFile(f"{fn_args.model_run_dir}/hyperparameters.json", "w") as file:
        json.dump({"values": dataclasses.asdict(hyperparameters), "left_out": misfit}, file, indent=1)
    seed = int(config.get("seed", 0))
    log.info("Seed %d, %s", seed, hyperparameters)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)

    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    # Padding and unknown words have an id each beside the vocabulary.
    token_ids = transform_output.vocabulary_size_by_name(VOCABULARY_NAME) + 2
    rows = read_rows(fn_args.train_files, transform_output.transformed_feature_spec())
    is_withheld = rows.buckets < hyperparameters.validation_percent
    if is_withheld.all() or (hyperparameters.validation_percent and not is_withheld.any()):
        raise ModellingError(
            f"of {len(rows.label_ids)} labelled headlines {is_withheld.sum()} are withheld to validate on; "
            "give a few hundred at least"
        )
    training, validation = rows.choose(~is_withheld), rows.choose(is_withheld) if is_withheld.any() else None
    log.info("Training on %d headlines, %d withheld", len(training.label_ids), is_withheld.sum())

    vectors = PretrainedVectors(read_vectors())
    network = build_transformer(token_ids, vectors, hyperparameters, training.class_shares)
    train(network, training, validation, hyperparameters, seed, fn_args.model_run_dir)

    def answer(wide: WidePath, inputs: dict[str, Any]) -> tf.Tensor:
        return read_titles(network, wide, inputs, hyperparameters)

    offsets = tuple(float(offset) for offset in hyperparameters.logit_adjustment * np.log(rows.class_shares))
    calibration = Calibration(1.0, offsets)
    if hyperparameters.calibrate and validation:
        logits = answer(fit_wide_path(training, vectors, hyperparameters), as_inputs(validation)).numpy()
        calibration = Calibration(fit_temperature(logits, validation.label_ids), offsets)
    log.info("Temperature %.3f, class offsets %s", calibration.temperature, calibration.offsets)

    wide = fit_wide_path(rows, vectors, hyperparameters)
    variables = [variable.value for variable in network.variables] + list(wide.variables)
    export(lambda inputs: answer(wide, inputs), variables, transform_output, calibration, fn_args.serving_model_dir)
    sample = rows.choose(np.arange(len(rows.titles)) % max(len(rows.titles) // _REFERENCE_TITLES, 1) == 0)
    probabilities = calibration.answer(answer(wide, as_inputs(sample))).numpy()
    _write_reference(sample.titles, probabilities, fn_args.serving_model_dir)
    log.info("Trained and exported in %.1f s", time.monotonic() - started)


def _write_reference(titles: NDArray[np.object_], probabilities: NDArray[np.float32], model_dir: str) -> None:
    """Writes what the model says in training beside `model_dir`, for whoever serves it to compare."""
    answers = [
        {"title": title.decode("utf-8", "replace"), PROBABILITIES: [float(value) for value in row]}
        for title, row in zip(titles, probabilities, strict=True)
    ]
    # Not a pathlib.Path: the directory may be an address that only gfile understands.
    with tf.io.gfile.GFile(f"{model_dir.rstrip('/').rpartition('/')[0]}/{REFERENCE_FILE}", "w") as file:
        file.write(json.dumps(answers, ensure_ascii=False, indent=0))
