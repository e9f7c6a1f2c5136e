"""`make quality`: each night's titles, answered after all nights before it are learnt; pooled, beside simpler models.

Nothing is tuned here: every choice was made on nights 1-5, which are not among those judged by default.
"""

import argparse
import json
import logging
import multiprocessing
import sys
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.measurement import peak_gigabytes
from benchmarks.quality_scores import SCORES, interval, mean_score
from headlines.bar.tally import Floats, Integers
from headlines.drops.drops_folder import DropError, DropsFolder
from modules.features import LABELS
from modules.text import TextSettings, normalise
from retraining.local.airflow import compute_as_the_service

MIN_ACCURACY_GAIN, MIN_MACRO_F1_GAIN, MAX_LOG_LOSS_RISE, MAX_ECE = 0.0, 0.03, 0.0, 0.03
MAX_TRAINING_SECONDS, MAX_TRAINING_GIGABYTES = 60.0, 1.5
BASELINE, ARTICLE, OURS = "TF-IDF + LR", "the article's", "ours"
console = Console(width=130)

# By contestant, probabilities [seeds, rows, classes].
Answers = dict[str, Floats]
# By how a headline is told from another, whether a row is one that was taught, [rows].
Taught = dict[str, NDArray[np.bool_]]


def find_taught(past: list[str], titles: list[str]) -> Taught:
    """Which titles are one headline with one of the past.

    By what the model reads of a title (docs/decisions/0013-one-headline.md), and by its spelling alone, as before that
    decision: compatible characters, case and spaces.
    """
    settings = TextSettings()
    ways: dict[str, Callable[[str], str]] = {
        "text": lambda title: normalise(title, settings),
        "spelling": lambda title: " ".join(unicodedata.normalize("NFKC", title).casefold().split()),
    }
    return {
        name: np.isin([identity(title) for title in titles], [identity(title) for title in past])
        for name, identity in ways.items()
    }


def answer_night(
    drops_dir: Path, night: int, seeds: int, hyperparameters: dict[str, Any]
) -> tuple[Answers, Integers, Taught]:
    """Has every contestant learn from the nights before `night` and answer its titles."""
    # TensorFlow and Beam only in the processes that work.
    from benchmarks import quality_models as models

    logging.getLogger().setLevel(logging.ERROR)
    headlines = models.read_drops(drops_dir)
    past, tonight = headlines.choose(headlines.nights < night), headlines.choose(headlines.nights == night)
    started = time.monotonic()
    answers = {
        "majority class": models.answer_majority(past, tonight.titles)[None],
        BASELINE: models.answer_regression(past, tonight.titles)[None],
        ARTICLE: np.array([models.answer_article(past, tonight.titles, seed) for seed in range(seeds)]),
        OURS: models.answer_ours(past, tonight.titles, range(seeds), hyperparameters),
    }
    console.print(f"night {night}: {len(past.titles)} headlines before it, {time.monotonic() - started:.0f} s")
    return answers, tonight.label_ids, find_taught(past.titles, tonight.titles)


@dataclass(frozen=True)
class Training:
    """One training of ours on every headline there is, alone on the machine.

    Attributes:
      headlines: how many.
      seconds: by the clock, from transformed headlines to the exported model.
      gigabytes: the most that its process held, with Beam and the transform before it.
    """

    headlines: int
    seconds: float
    gigabytes: float


def measure_training(drops_dir: Path, hyperparameters: dict[str, Any]) -> Training:
    """Trains once, in a process that has done nothing else."""
    from benchmarks import quality_models as models

    logging.getLogger().setLevel(logging.ERROR)
    headlines = models.read_drops(drops_dir)
    seconds = models.time_training(headlines, hyperparameters)
    return Training(len(headlines.titles), seconds, peak_gigabytes())


def show(answers: Answers, label_ids: Integers, training: Training, title: str) -> bool:
    """Prints the table and the closing line."""
    table = Table(title=title)
    table.add_column("")
    for name in SCORES:
        table.add_column(name, justify="right")
    gains: dict[str, float] = {}
    for contestant, ours in answers.items():
        cells = []
        for name, score in SCORES.items():
            value = mean_score(score, ours, label_ids)
            cell = f"{value:.4f}"
            if contestant != BASELINE:
                gain = value - mean_score(score, answers[BASELINE], label_ids)
                low, high = interval(score, ours, answers[BASELINE], label_ids)
                cell += f"\n{gain:+.4f} [{low:+.4f}, {high:+.4f}]"
            if contestant == OURS:
                gains[name] = value if name == "ECE" else gain
            cells.append(cell)
        table.add_row(contestant, *cells)
    console.print(table)
    low, high = interval(SCORES["ECE"], answers[OURS], None, label_ids)
    targets = {
        f"accuracy {gains['accuracy']:+.4f} beside LR (at least {MIN_ACCURACY_GAIN:+})": (
            gains["accuracy"] >= MIN_ACCURACY_GAIN
        ),
        f"macro-F1 {gains['macro-F1']:+.4f} (at least {MIN_MACRO_F1_GAIN:+})": gains["macro-F1"] >= MIN_MACRO_F1_GAIN,
        f"log-loss {gains['log-loss']:+.4f} (at most {MAX_LOG_LOSS_RISE:+})": gains["log-loss"] <= MAX_LOG_LOSS_RISE,
        f"ECE {gains['ECE']:.4f} [{low:.4f}, {high:.4f}] (at most {MAX_ECE})": gains["ECE"] <= MAX_ECE,
        f"{training.headlines:,} headlines are learnt in {training.seconds:.0f} s (at most "
        f"{MAX_TRAINING_SECONDS:.0f})": training.seconds <= MAX_TRAINING_SECONDS,
        f"with {training.gigabytes:.2f} GB (at most {MAX_TRAINING_GIGABYTES})": (
            training.gigabytes <= MAX_TRAINING_GIGABYTES
        ),
    }
    closing = "; ".join(f"{text}: {'met' if met else 'MISSED'}" for text, met in targets.items())
    console.print(closing, soft_wrap=True, highlight=False)
    return all(targets.values())


def show_taught(answers: Answers, label_ids: Integers, taught: Taught) -> None:
    """Prints what is left of the scores when no headline is judged that was taught."""
    table = Table(title="without the headlines that were taught on an earlier night")
    for name in ("told by", "left out", *(f"{who}: {name}" for who in ("ours", "LR") for name in SCORES)):
        table.add_column(name, justify="right")
    for name, mask in {"": np.zeros(len(label_ids), bool), **taught}.items():
        fresh = ~mask
        scores = [
            f"{mean_score(score, answers[who][:, fresh], label_ids[fresh]):.4f}"
            for who in (OURS, BASELINE)
            for score in SCORES.values()
        ]
        table.add_row(name, str(mask.sum()), *scores)
    console.print(table)


def main() -> None:
    """Measures, prints, and exits with 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drops", type=Path, required=True, help="folder of drops")
    parser.add_argument("--first-night", type=int, default=6)
    parser.add_argument("--last-night", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hyperparameters", type=json.loads, default={}, help="overrides, as JSON")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    nights = range(arguments.first_night, arguments.last_night + 1)
    try:
        delivered = len(DropsFolder(arguments.drops).nights)
    except DropError as error:
        sys.exit(str(error))
    if delivered < nights[-1] or nights[0] < 2:
        sys.exit(
            f"nights {nights[0]}-{nights[-1]} were asked for; {arguments.drops} holds {delivered}, and night 1 has no "
            "past"
        )
    compute_as_the_service()
    # Forked children of a process that has run TensorFlow hang (tensorflow/tensorflow#8220).
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
        # The longest first: then the processes end together.
        jobs = [
            pool.submit(answer_night, arguments.drops, night, arguments.seeds, arguments.hyperparameters)
            for night in reversed(nights)
        ]
        results = [job.result() for job in jobs]
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        training = pool.submit(measure_training, arguments.drops, arguments.hyperparameters).result()
    label_ids = np.concatenate([labels for _, labels, _ in results])
    answers = {name: np.concatenate([by_name[name] for by_name, _, _ in results], axis=1) for name in results[0][0]}
    taught = {name: np.concatenate([by_way[name] for _, _, by_way in results]) for name in results[0][2]}
    positives = np.sum(label_ids == LABELS.index("positive"))
    title = (
        f"nights {nights[0]}-{nights[-1]}, each learnt from all nights before it: {len(label_ids)} headlines, "
        f"{positives} positive, {arguments.seeds} seeds\nbelow each score its difference to LR with 95 % interval"
    )
    show_taught(answers, label_ids, taught)
    sys.exit(not show(answers, label_ids, training, title))


if __name__ == "__main__":
    main()
