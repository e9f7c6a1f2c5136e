import multiprocessing
import shutil
from pathlib import Path

import pytest
from tiny_model import FLAWS, save_tiny_model

from headlines.pushes.model_hash import hash_model


def _save(uri: str) -> None:
    save_tiny_model(Path(uri))


def test_the_same_model_saved_again_is_the_same_though_its_bytes_differ(tmp_path: Path) -> None:
    first, again = save_tiny_model(tmp_path / "first"), save_tiny_model(tmp_path / "again")
    assert (first / "saved_model.pb").read_bytes() != (again / "saved_model.pb").read_bytes()
    assert hash_model(first) == hash_model(again)


def test_the_same_model_saved_by_another_process_is_the_same(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_save, args=(str(tmp_path / "child"),))
    child.start()
    child.join()
    assert hash_model(tmp_path / "child" / "Format-Serving") == hash_model(save_tiny_model(tmp_path / "parent"))


def test_a_model_that_computes_anything_else_is_another(tmp_path: Path) -> None:
    models = [
        # What it is said to have answered in training lies beside the model, and is no part of it.
        *(save_tiny_model(tmp_path / flaw, flaw) for flaw in FLAWS if flaw != "trained_otherwise"),
        save_tiny_model(tmp_path / "other weights", sure=3.5),
        save_tiny_model(tmp_path / "other constant", shift=0.5),
        save_tiny_model(tmp_path / "always neutral", always="neutral"),
        save_tiny_model(tmp_path / "always positive", always="positive"),
    ]
    assert len({hash_model(model) for model in models}) == len(models)


@pytest.mark.parametrize("name", ["assets/words", "assets.extra/tf_serving_warmup_requests"])
def test_a_model_with_another_vocabulary_is_another(name: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path)
    hashes = [hash_model(model)]
    for content in ("um", "dois"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(content)
        hashes.append(hash_model(model))
    shutil.move(model / name, model / f"{name}2")
    hashes.append(hash_model(model))
    assert len(set(hashes)) == 4
