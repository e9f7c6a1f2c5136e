"""The search for better hyperparameters, and the Tuner's entry point `tuner_fn`."""

import gc
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from keras_tuner.engine.trial import Trial, TrialStatus

from modules.batches import Rows, read_rows
from modules.calibration import Calibration, fit_temperature, log_loss
from modules.errors import ModellingError
from modules.features import LABELS
from modules.hyperparameters import Hyperparameters
from modules.model import as_inputs, fit_wide_path, read_titles, train
from modules.network import PretrainedVectors, build_transformer
from modules.preprocessing import VOCABULARY_NAME
from modules.word_vectors import read_vectors

log = logging.getLogger(__name__)

# What a trial is judged by: log-loss of withheld titles, after the temperature that they ask for.
OBJECTIVE = "log_loss"
# Percent of the training titles, by stable hash, that no trial is trained on: more than a night withholds, since twenty
# trials are compared on them.
WITHHELD_PERCENT = 25
_INITIAL_TRIALS = 6

Declare = Callable[[keras_tuner.HyperParameters, str, Any], None]


def _between(low: float, high: float, sampling: str = "linear") -> Declare:
    return lambda space, name, default: space.Float(name, low, high, sampling=sampling, default=default)


def _whole(low: int, high: int) -> Declare:
    return lambda space, name, default: space.Int(name, low, high, default=default)


def _one_of(*values: int) -> Declare:
    return lambda space, name, default: space.Choice(name, values, default=default)


# Only what changes how well a model reads. Sizes and epochs are bounded by a night's time for training.
SEARCHED: dict[str, Declare] = {
    "embedding_size": _one_of(16, 32, 64),
    "blocks": _one_of(1, 2),
    "embedding_dropout": _between(0.0, 0.7),
    "dropout": _between(0.0, 0.5),
    "inverse_l2": _between(0.5, 20.0, "log"),
    "vector_scale": _between(0.3, 2.0),
    "transformer_share": _between(0.0, 1.0),
    "epochs": _whole(4, 16),
    "learning_rate": _between(1e-4, 5e-3, "log"),
    "weight_decay": _between(1e-3, 0.2, "log"),
    "label_smoothing": _between(0.0, 0.15),
}


class TunerFnResult(NamedTuple):
    """What TFX's Tuner expects: the tuner, and what its `search` is called with."""

    tuner: keras_tuner.Tuner
    fit_kwargs: dict[str, Any]


class Oracle(keras_tuner.oracles.BayesianOptimizationOracle):
    """keras-tuner's Bayesian optimisation, which tries the defaults first and knows when its time is over."""

    def __init__(self, minutes: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._end = time.monotonic() + 60 * minutes

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """What keras-tuner asks for: the status and the values of the next trial, or the status that there is none."""
        if time.monotonic() > self._end:
            log.info("The time for trials is over after %d of %d.", len(self.trials), self.max_trials)
            return {"status": TrialStatus.STOPPED}
        if not self.trials:
            # So that what is found is never worse, on the withheld titles, than what would be used without it.
            return {
                "status": TrialStatus.RUNNING,
                "values": {parameter.name: parameter.default for parameter in self.hyperparameters.space},
            }
        response: dict[str, Any] = super().populate_space(trial_id)
        # The Gaussian process answers in NumPy's types, which a hyperparameter is not (no issue known).
        plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in (response.get("values") or {}).items()}
        return {**response, "values": plain}


class Tuner(keras_tuner.Tuner):
    """Runs trials, and logs a line for each and a table of all."""

    def __init__(self, measure: Callable[[dict[str, Any]], float], **kwargs: Any) -> None:
        """Prepares the search.

        Args:
          measure: gives the score of some hyperparameters.
          **kwargs: keras-tuner's own arguments.
        """
        super().__init__(**kwargs)
        self._measure = measure
        self._seconds: dict[str, float] = {}

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measures the values of a trial; returns the score by its name."""
        started = time.monotonic()
        score = self._measure(trial.hyperparameters.values)
        self._seconds[trial.trial_id] = time.monotonic() - started
        return {OBJECTIVE: score}

    def on_trial_begin(self, trial: Trial) -> None:
        """Logs what is tried."""
        values = ", ".join(f"{name} {value:.4g}" for name, value in trial.hyperparameters.values.items())
        log.info("Trial %d of at most %d begins: %s", len(self.oracle.trials), self.oracle.max_trials, values)

    def on_trial_end(self, trial: Trial) -> None:
        """Logs the score, or why there is none."""
        super().on_trial_end(trial)
        number, most = len(self.oracle.trials), self.oracle.max_trials
        if trial.status != TrialStatus.COMPLETED:
            log.warning("Trial %d of at most %d failed:\n%s", number, most, trial.message)
            return
        [best] = self.oracle.get_best_trials(1)
        log.info(
            "Trial %d of at most %d: %s %.4f in %.0f s; best so far %.4f, of trial %d",
            number,
            most,
            OBJECTIVE,
            trial.score,
            self._seconds[trial.trial_id],
            best.score,
            self.oracle.start_order.index(best.trial_id) + 1,
        )

    def on_search_end(self) -> None:
        """Logs the table of all trials."""
        log.info("All trials, best first:\n%s", self.tabulate())

    def tabulate(self) -> str:
        """A row per finished trial, best first: its number, score, seconds and hyperparameters."""
        names = [parameter.name for parameter in self.oracle.hyperparameters.space]
        rows = [["trial", OBJECTIVE, "seconds", *names]]
        for trial in self.oracle.get_best_trials(len(self.oracle.trials)):
            # Those that failed follow the others.
            if trial.status != TrialStatus.COMPLETED:
                continue
            number = str(self.oracle.start_order.index(trial.trial_id) + 1)
            values = [f"{trial.hyperparameters.values[name]:.4g}" for name in names]
            rows.append([number, f"{trial.score:.4f}", f"{self._seconds[trial.trial_id]:.0f}", *values])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """TFX Tuner's entry point: a seeded search on the `train` split. The `eval` split is not read.

    Args:
      fn_args: tfx FnArgs; custom_config holds `hyperparameters` (given by name, and not searched for), `seed`,
        `trials` and `minutes` (most of each; a trial that has begun is not cut short).

    Raises:
      ModellingError: a given hyperparameter is wrong, all that are searched are given, or there is nothing to train on.
    """
    config = fn_args.custom_config
    overrides, seed = config["hyperparameters"], config["seed"]
    defaults = Hyperparameters.from_overrides(overrides)
    space = keras_tuner.HyperParameters()
    for name, declare in SEARCHED.items():
        if name not in overrides:
            declare(space, name, getattr(defaults, name))
    if not space.space:
        raise ModellingError(
            "every hyperparameter that is searched for is given already; take some out of HYPERPARAMETERS and of "
            "HYPERPARAMETERS_FILE"
        )
    tf.config.experimental.enable_op_determinism()
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    rows = read_rows(fn_args.train_files, transform_output.transformed_feature_spec())
    is_withheld = rows.buckets < WITHHELD_PERCENT
    training, withheld = rows.choose(~is_withheld), rows.choose(is_withheld)
    if is_withheld.all() or not is_withheld.any():
        raise ModellingError(
            f"no labelled headlines to search on in {fn_args.train_files}; give a few hundred at least"
        )
    log.info("Searching on %d headlines, measuring on %d others", len(training.titles), len(withheld.titles))

    def measure(values: dict[str, Any]) -> float:
        hyperparameters = Hyperparameters.from_overrides({**overrides, **values})
        return measure_once(hyperparameters, training, withheld, transform_output, seed)

    oracle = Oracle(
        config["minutes"],
        objective=keras_tuner.Objective(OBJECTIVE, "min"),
        max_trials=config["trials"],
        num_initial_points=_INITIAL_TRIALS,
        seed=seed,
        hyperparameters=space,
        tune_new_entries=False,
        allow_new_entries=False,
    )
    # keras-tuner's own display draws to the screen; the tuner writes to the log.
    oracle.verbose = 0
    return TunerFnResult(
        Tuner(measure, oracle=oracle, directory=fn_args.working_dir, project_name="search", overwrite=True), {}
    )


def measure_once(
    hyperparameters: Hyperparameters, training: Rows, withheld: Rows, transform_output: tft.TFTransformOutput, seed: int
) -> float:
    """Trains once and measures.

    Args:
      hyperparameters: what to train with.
      training: the rows to train on.
      withheld: the rows to measure on.
      transform_output: what Transform left.
      seed: decides initial weights, dropout and the order of rows.

    Returns:
      The log-loss of `withheld`, in nats, after the temperature that it asks for.
    """
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(seed)
    # Padding and unknown words have an id each beside the vocabulary.
    token_ids = transform_output.vocabulary_size_by_name(VOCABULARY_NAME) + 2
    vectors = PretrainedVectors(read_vectors())
    network = build_transformer(token_ids, vectors, hyperparameters, training.class_shares)
    train(network, training, None, hyperparameters, seed)
    wide = fit_wide_path(training, vectors, hyperparameters)
    logits = read_titles(network, wide, as_inputs(withheld), hyperparameters).numpy()
    calibration = Calibration(fit_temperature(logits, withheld.label_ids), (0.0,) * len(LABELS))
    return log_loss(calibration.answer(logits).numpy(), withheld.label_ids)
