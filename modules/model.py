"""The network, its training, and the Trainer's entry point `run_fn`.

No text is touched here, no file is read and no request is answered: see preprocessing, batches and signatures.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from modules.batches import Rows, make_batches, read_rows
from modules.calibration import Calibration, fit_offsets, fit_temperature
from modules.features import LABELS, NGRAMS, TOKEN_COUNT, TOKENS
from modules.hyperparameters import Hyperparameters
from modules.preprocessing import MAX_TOKENS, NGRAM_BUCKETS, VOCABULARY_NAME
from modules.signatures import export

log = logging.getLogger(__name__)


class PositionedEmbedding(keras.layers.Layer):
    """The sum of a token's embedding and of its position's, both learnt."""

    def __init__(self, token_ids: int, length: int, size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.tokens = keras.layers.Embedding(token_ids, size)
        self.positions = keras.layers.Embedding(length, size)
        self.length = length

    def call(self, token_ids: Any) -> Any:
        """Embeds int [n, length] as float [n, length, size]."""
        return self.tokens(token_ids) + self.positions(keras.ops.arange(self.length))


def build_network(token_ids: int, hyperparameters: Hyperparameters, class_shares: np.ndarray) -> keras.Model:
    """The Transformer and, beside it, the wide path: two heads over the same title, each with logits of its own.

    Trained as one sum, the Transformer, which can learn a small training set by heart, would leave the wide path
    nothing to learn; so each head has its own loss, and `blend` joins their probabilities.

    Args:
      token_ids: number of token ids, padding and unknown included.
      hyperparameters: sizes.
      class_shares: float [len(LABELS)], positive: what the untrained network answers to everything.

    Returns:
      A model of {tokens int [n, MAX_TOKENS], token_count int [n, 1], ngrams sparse [n, NGRAM_BUCKETS]} to
      {transformer, wide} logits float [n, len(LABELS)].
    """
    size = hyperparameters.embedding_size
    tokens = keras.Input((MAX_TOKENS,), dtype="int64", name=TOKENS)
    token_count = keras.Input((1,), dtype="int64", name=TOKEN_COUNT)
    ngrams = keras.Input((NGRAM_BUCKETS,), dtype="float32", sparse=True, name=NGRAMS)
    log_shares = np.log(class_shares)

    is_token = keras.ops.less(keras.ops.arange(MAX_TOKENS, dtype="int64"), token_count)
    x = PositionedEmbedding(token_ids, MAX_TOKENS, size)(tokens)
    x = keras.layers.Dropout(hyperparameters.embedding_dropout)(x)
    for _ in range(hyperparameters.blocks):
        attended = keras.layers.LayerNormalization()(x)
        attended = keras.layers.MultiHeadAttention(
            hyperparameters.attention_heads, size // hyperparameters.attention_heads
        )(attended, attended, attention_mask=is_token[:, None, :])
        x = x + keras.layers.Dropout(hyperparameters.dropout)(attended)
        fed = keras.layers.LayerNormalization()(x)
        fed = keras.layers.Dense(hyperparameters.feed_forward_size, activation="gelu")(fed)
        fed = keras.layers.Dense(size)(fed)
        x = x + keras.layers.Dropout(hyperparameters.dropout)(fed)
    x = keras.layers.LayerNormalization()(x)
    # Mean over the words alone; an empty title pools to zeros.
    mask = keras.ops.cast(is_token, x.dtype)[:, :, None]
    pooled = keras.ops.sum(x * mask, axis=1) / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1.0)
    pooled = keras.layers.Dropout(hyperparameters.dropout)(pooled)
    transformer = keras.layers.Dense(len(LABELS), bias_initializer=keras.initializers.Constant(log_shares))(pooled)

    # Starts at zero, so that an n-gram never seen in training says nothing.
    scale = hyperparameters.wide_scale
    wide = keras.layers.Dense(
        len(LABELS), kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(log_shares / scale)
    )(ngrams)
    return keras.Model(
        {TOKENS: tokens, TOKEN_COUNT: token_count, NGRAMS: ngrams},
        {"transformer": transformer, "wide": scale * wide},
        name="headlines",
    )


def blend(heads: dict[str, Any], transformer_share: float) -> Any:
    """Log-probabilities [n, len(LABELS)] of the two heads' weighted mean probability."""
    transformer, wide = (keras.ops.softmax(heads[name]) for name in ("transformer", "wide"))
    mean = transformer_share * transformer + (1.0 - transformer_share) * wide
    return keras.ops.log(keras.ops.maximum(mean, keras.config.epsilon()))


class _EpochLog(keras.callbacks.Callback):
    """One line per epoch in the log."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        names = {name: name.replace("val_", "validation ").replace("_", " ") for name in logs or {}}
        measures = ", ".join(f"{names[name]} {value:.4f}" for name, value in (logs or {}).items())
        seconds = time.monotonic() - self.started
        log.info("Epoch %d/%d in %.1f s: %s", epoch + 1, self.params["epochs"], seconds, measures)


def train(
    network: keras.Model,
    training: tf.data.Dataset,
    steps_per_epoch: int,
    validation: tf.data.Dataset | None,
    hyperparameters: Hyperparameters,
    tensorboard_dir: str | None = None,
) -> None:
    """Trains `network` in place.

    Args:
      network: as `build_network` makes it.
      training: batches, as `make_batches` makes them.
      steps_per_epoch: how many there are in one pass.
      validation: batches to measure after each epoch; never trained on.
      hyperparameters: of the training.
      tensorboard_dir: where TensorBoard finds the curves; None writes none.
    """
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
    cross_entropy = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=hyperparameters.label_smoothing
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    network.compile(
        optimizer,
        loss={"transformer": cross_entropy, "wide": cross_entropy},
        weighted_metrics={"transformer": ["accuracy"], "wide": ["accuracy"]},
        # XLA makes the wide path's sparse product twelve times slower.
        jit_compile=False,
    )
    callbacks: list[keras.callbacks.Callback] = [_EpochLog()]
    if hyperparameters.ema_momentum > 0:
        # Before the log, so that the validation line measures the weights that would be exported.
        callbacks.insert(0, keras.callbacks.SwapEMAWeights())
    if tensorboard_dir:
        callbacks.append(keras.callbacks.TensorBoard(tensorboard_dir, write_graph=False))
    network.fit(training, epochs=epochs, validation_data=validation, callbacks=callbacks, verbose=0)


def calibrate(
    network: keras.Model, validation: tf.data.Dataset, class_shares: np.ndarray, hyperparameters: Hyperparameters
) -> Calibration:
    """Fits what `hyperparameters` ask for to rows which `network` was not trained on."""
    batches = [
        (blend(network(inputs, training=False), hyperparameters.transformer_share).numpy(), labels["wide"].numpy())
        for inputs, labels, _ in validation
    ]
    logits = np.concatenate([logits for logits, _ in batches])
    label_ids = np.concatenate([labels for _, labels in batches]).argmax(axis=1)
    temperature = fit_temperature(logits, label_ids) if hyperparameters.calibrate else 1.0
    offsets = (0.0,) * len(LABELS)
    if hyperparameters.max_logit_adjustment:
        offsets = fit_offsets(logits, label_ids, class_shares, temperature, hyperparameters.max_logit_adjustment)
    return Calibration(temperature, offsets)


def run_fn(fn_args: Any) -> None:
    """TFX Trainer's entry point: trains on the `train` split and exports to `fn_args.serving_model_dir`.

    The `eval` split is not read: what validates and calibrates comes out of the `train` split.

    Args:
      fn_args: tfx FnArgs; custom_config holds `hyperparameters` (given by name) and `seed`, `hyperparameters` are the
        tuned ones. Those that are used, and why tuned ones are not, go to hyperparameters.json in `model_run_dir`.

    Raises:
      ValueError: a hyperparameter is unknown or wrong, or there is nothing to train on.
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
    tf.config.experimental.enable_op_determinism()

    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    feature_spec = transform_output.transformed_feature_spec()
    # Padding and unknown words have an id each beside the vocabulary.
    token_ids = transform_output.vocabulary_size_by_name(VOCABULARY_NAME) + 2

    def read(keep_bucket: Callable[[tf.Tensor], tf.Tensor]) -> Rows:
        rows = read_rows(fn_args.train_files, keep_bucket)
        if not rows.size:
            raise ValueError(
                f"no labelled headlines to train or to validate on in {fn_args.train_files}; "
                "give a few hundred at least"
            )
        return rows

    def fit(training: Rows, validation: tf.data.Dataset | None, name: str) -> keras.Model:
        # Seeded for each network, so that the exported one does not depend on whether another was trained before.
        keras.utils.set_random_seed(seed)
        log.info("Training on %d headlines (%s)", training.size, name)
        network = build_network(token_ids, hyperparameters, training.class_shares)
        batches = make_batches(training, feature_spec, hyperparameters.batch_size, shuffle_seed=seed)
        steps_per_epoch = -(-training.size // hyperparameters.batch_size)
        train(network, batches, steps_per_epoch, validation, hyperparameters, f"{fn_args.model_run_dir}/{name}")
        return network

    log.info("Seed %d, %s", seed, hyperparameters)
    calibration = Calibration(1.0, (0.0,) * len(LABELS))
    withheld_percent = hyperparameters.validation_percent
    if withheld_percent:
        training = read(lambda bucket: bucket >= withheld_percent)
        validation = make_batches(read(lambda bucket: bucket < withheld_percent), feature_spec, 256)
        network = fit(training, validation, "validated")
        calibration = calibrate(network, validation, training.class_shares, hyperparameters)
        log.info("Temperature %.3f, class offsets %s", calibration.temperature, calibration.offsets)
    if hyperparameters.refit or not withheld_percent:
        network = fit(read(lambda bucket: bucket >= 0), None, "exported")

    def answer(inputs: dict[str, Any]) -> tf.Tensor:
        return blend(network(inputs, training=False), hyperparameters.transformer_share)

    variables = [variable.value for variable in network.variables]
    export(answer, variables, transform_output, calibration, fn_args.serving_model_dir)
    log.info("Trained and exported in %.1f s", time.monotonic() - started)
