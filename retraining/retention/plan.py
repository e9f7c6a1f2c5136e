"""What may go: each thing with why, where it is, and how many bytes that frees. Nothing is changed here."""

import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from headlines import names
from headlines.objects.addresses import is_object, to_path
from headlines.pushes.versions import find_versions, kept_in
from lineage import Reader
from lineage.reading import ABANDONED, DELETED, LIVE
from retraining.retention.needed import PIPELINES, REST, Needed, NeededArtifacts
from retraining.settings import Settings

Kind = Literal["artifact", "version", "log", "leftover"]

REMOVABLE: Mapping[str, frozenset[str]] = {
    "Examples": frozenset((names.DROPS_FILE,)),
    "ExampleStatistics": frozenset(),
    "TransformGraph": frozenset(),
    "TransformCache": frozenset(),
    "RelatedHeadlines": frozenset(),
    "Model": frozenset(),
    "ModelRun": frozenset(("hyperparameters.json",)),
    "ModelEvaluation": frozenset((names.VERDICT_FILE,)),
    names.BASELINE_ANSWERS_TYPE: frozenset(),
}
"""The types of artifacts whose files may go, each with the files that stay.

They are all that is large. What is small and is asked for years later stays whole, as does every type that is not in
this table: quarantined rows, anomalies, verdicts, model cards, reports, scores, hyperparameters and their trials.
"""


@dataclass(frozen=True)
class Item:
    """One thing that may go.

    Attributes:
      kind: of thing.
      what: the same more closely, by which it is summed up: an artifact's type, whose logs.
      name: which, such as `Model 12 of night 2022-02-01`.
      why: it may go, in words.
      path: where it is.
      size_bytes: how much space that frees; a file that is also elsewhere frees none.
      id: of an artifact; or the number of a version; 0 of anything else.
      stays: names of files in its folder that stay.
    """

    kind: Kind
    what: str
    name: str
    why: str
    path: Path
    size_bytes: int
    id: int = 0
    stays: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Sum:
    """Several things of a kind that may go for the same reason: how many, and how many bytes that frees."""

    what: str
    why: str
    count: int
    size_bytes: int


def sum_up(items: Iterable[Item]) -> list[Sum]:
    """What may go by what it is and why, the largest first."""
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.what, item.why), []).append(item)
    sums = [Sum(*key, len(group), sum(item.size_bytes for item in group)) for key, group in groups.items()]
    return sorted(sums, key=lambda one: -one.size_bytes)


class Sizes:
    """Counts what removal frees: a file with several names is counted with the last of them."""

    def __init__(self) -> None:
        self._names_left: dict[tuple[int, int], int] = {}

    def measure(self, path: Path, stays: Iterable[str] = ()) -> int:
        """The bytes on the disk of a file, or of all below a folder but the files that stay."""
        kept = {path / name for name in stays}
        return sum(self._free(file.lstat()) for file in list_files(path) if file not in kept)

    def _free(self, status: os.stat_result) -> int:
        if status.st_nlink > 1:
            key = (status.st_dev, status.st_ino)
            self._names_left[key] = self._names_left.get(key, status.st_nlink) - 1
            if self._names_left[key]:
                return 0
        # In blocks of 512 bytes, whatever the file system's own are (stat(2)).
        return status.st_blocks * 512


def list_files(path: Path) -> Iterator[Path]:
    """A file itself, or everything below a folder that is none; what goes away meanwhile is left out."""
    if not path.is_dir() or path.is_symlink():
        if path.exists() or path.is_symlink():
            yield path
        return
    if is_object(path):
        yield from (one for one in path.rglob("*") if one.is_file())
        return
    for folder, _, files in os.walk(path):
        yield from (Path(folder, name) for name in files)


def plan_artifacts(
    reader: Reader,
    needed: NeededArtifacts,
    pipeline_root: Path,
    sizes: Sizes,
    now: datetime,
    limit: int | None = None,
    without: Collection[int] = (),
) -> list[Item]:
    """The artifacts whose files may go, the oldest first; before those the ones of which an earlier removal left some.

    Args:
      reader: of lineage.
      needed: what must be kept.
      pipeline_root: what lies elsewhere is not the service's.
      sizes: measures them.
      now: the moment.
      limit: at most so many. Default: all.
      without: ids that are left out.
    """
    kinds = {identity: reader.type_name(identity) for identity in reader.types(*REMOVABLE)}
    nights = needed.rule.nights
    old = f"older than night {nights[0]}, the first that is kept" if nights else "no night is kept"
    items: list[Item] = []
    for identity, kind, uri, state, night in _read_removable(reader, list(kinds), now - REST):
        path = find_own_folder(uri, pipeline_root)
        is_held = state == LIVE and identity in needed.artifacts
        if path is None or is_held or identity in without:
            continue
        if len(items) == limit:
            break
        what, stays = kinds[kind], REMOVABLE[kinds[kind]]
        name = f"{what} {identity}" + (f" of night {night}" if night else "")
        why = old if state == LIVE else "its removal was begun and not ended"
        items.append(Item("artifact", what, name, why, path, sizes.measure(path, stays), identity, stays))
    return items


def _read_removable(reader: Reader, kinds: list[int], young: datetime) -> list[tuple[int, int, str, int, str | None]]:
    has = "EXISTS (SELECT 1 FROM artifactproperty r WHERE r.artifact_id = a.id AND r.is_custom_property AND r.name = "
    return reader.rows(
        "SELECT a.id, a.type_id, a.uri, a.state, n.string_value FROM artifact a "
        "LEFT JOIN artifactproperty n ON n.artifact_id = a.id AND n.name = :night AND n.is_custom_property "
        "WHERE a.type_id IN :types AND EXISTS (SELECT 1 FROM attribution p JOIN context c ON c.id = p.context_id "
        "AND c.type_id IN :pipelines AND c.name IN :ours WHERE p.artifact_id = a.id) "
        "AND (a.state = :live AND a.create_time_since_epoch < :young "
        f"OR a.state = :deleted AND {has} :removed) AND NOT {has} :ended)) ORDER BY a.state DESC, a.id",
        night=names.NIGHT,
        types=kinds,
        pipelines=reader.types("pipeline"),
        ours=list(PIPELINES),
        live=LIVE,
        young=int(young.timestamp() * 1000),
        deleted=DELETED,
        removed=names.REMOVED_AT,
        ended=names.REMOVED_BYTES,
    )


def find_own_folder(uri: str, pipeline_root: Path) -> Path | None:
    """The folder of an artifact as TFX lays them out, `<root>/<node>/<key>/<execution>`; None for any other place."""
    path = to_path(uri)
    if not path.is_absolute() or not path.is_relative_to(pipeline_root) or ".." in path.parts:
        return None
    parts = path.relative_to(pipeline_root).parts
    return path if len(parts) >= 3 and parts[2].isdecimal() else None


def plan_versions(serving_dir: Path, needed: Needed, sizes: Sizes) -> list[Item]:
    """The pushed versions that may go, the oldest first."""
    why = "nothing serves it, and a rollback returns to newer ones"
    return [
        Item("version", "pushed versions", f"version {version}", why, path, sizes.measure(path), version)
        for version in find_versions(serving_dir)
        if version not in needed.versions
        for path in (serving_dir / str(version),)
    ]


def plan_leftovers(reader: Reader, settings: Settings, sizes: Sizes, now: datetime) -> list[Item]:
    """What attempts that ended badly or were killed have left, where nobody has been at work for a day.

    Folders that lineage does not know are left alone unless they are empty: MLMD may have been restored from before.
    """
    root, serving_dir = settings.pipeline_root, settings.serving_dir
    before = (now - REST).timestamp()
    states: dict[str, set[int]] = {}
    for uri, state in reader.rows("SELECT uri, state FROM artifact WHERE uri <> ''"):
        states.setdefault(uri, set()).add(state)
    reasons: dict[Path, str] = {}
    for path in root.glob("*/*/*"):
        if path.name.isdecimal() and path.is_dir():
            known = states.get(str(path), set())
            if known == {ABANDONED}:
                reasons[path] = "its attempt failed"
            elif not known and next(list_files(path), None) is None:
                reasons[path] = "it is empty, and of no artifact"
    # TFX's executors work in `<root>/.temp/<execution>` (tfx/orchestration/launcher/in_process_component_launcher.py).
    reasons |= dict.fromkeys((root / ".temp").glob("*"), "its attempt was killed")
    reasons |= kept_in(serving_dir).find_left(serving_dir)
    reasons |= {
        path: "its attempt was killed"
        for path in Path(tempfile.gettempdir()).glob(f"{names.STAGING}*")
        if path.lstat().st_uid == os.getuid()
    }
    # TensorFlow writes what it makes of a function into a file that it removes when Python ends
    # (tensorflow/python/autograph/pyct/loader.py); Airflow ends its tasks' processes before that.
    reasons |= {
        path: "TensorFlow left it in the folder for temporary files"
        for path in Path(tempfile.gettempdir()).glob("__autograph_generated_file*.py")
        if path.lstat().st_uid == os.getuid()
    }
    return [
        Item("leftover", "leftovers", str(path), why, path, sizes.measure(path))
        for path, why in sorted(reasons.items())
        if _was_left_before(path, before)
    ]


def _was_left_before(path: Path, moment: float) -> bool:
    try:
        return max(one.lstat().st_mtime for one in (path, *path.rglob("*"))) < moment
    except FileNotFoundError:
        # Somebody is at work there.
        return False
