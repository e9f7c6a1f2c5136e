"""HeadlineExampleGen through Beam is HeadlineExampleGen in one process: the same examples, files and properties."""

import gzip
import json
import pickle
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tensorflow as tf
from apache_beam.pvalue import TaggedOutput
from hypothesis import HealthCheck, event, given
from hypothesis import settings as examples_of
from hypothesis import strategies as st
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types.artifact import Artifact
from tfx.types.artifact_utils import get_split_uri
from tfx.types.standard_artifacts import Examples

from headlines.drops import pieces
from headlines.drops.drops_folder import DropError, DropsFolder, GrowingDropError
from headlines.drops.rules import Rules
from headlines.drops.rulings import Ruled, Ruling
from headlines.drops.sources import hash_versions
from headlines.names import EXAMPLE_GEN
from retraining.engines.accounting import HeadlineExampleGenExecutor
from retraining.engines.arguments import LOCAL
from retraining.pipelines.nightly import create_pipeline
from retraining.settings import Settings
from tfx_components.headline_example_gen import beam_executor, planning, transforms
from tfx_components.headline_example_gen.beam_executor import BeamExecutor
from tfx_components.headline_example_gen.component import HeadlineExampleGen, Quarantine
from tfx_components.headline_example_gen.executor import Executor
from tfx_components.headline_example_gen.planning import Role

Deliver = Callable[..., Path]
FIRST = date(2022, 2, 1)
# Few, so that titles conflict and repeat, in one file, in several, in versions that were corrected.
TITLES = st.sampled_from(
    (
        *(
            "Sol",
            "sol ",
            "Chove  muito",
            "Chove muito!",
            "Eleição no Pará",
            "Vai, ou fica",
            "Linha\nquebrada",
            "NaN",
            "",
        ),
        *("O que ?ser? isso", "Cora??o do pa?s", "Inunda??o mata", "ElÃ©trico", "x" * 70, "Governo cai", "12 mortos"),
    )
)
LABELS = st.sampled_from(["negative", "neutral", "Positive ", "0", "1", "2", "a", "b", "bom", ""])
ROWS = st.lists(st.tuples(TITLES, LABELS), min_size=1, max_size=14)
TEXTS = st.one_of(
    ROWS.map(lambda rows: "".join(f'"{title}",{label}\n' for title, label in rows).encode()),
    # Quotes that are not balanced, rows run together, bytes that are not UTF-8, too many cells.
    ROWS.map(
        lambda rows: "".join(f"{title},{label}\r\n" for title, label in rows).encode() + b'\xff"Lua,1\nMar,neutral\n'
    ),
    ROWS.map(lambda rows: b'Sol,neutral\n"Ouro,neutral\nPrata",neutral\n' + rows[0][0].encode() + b",1\n"),
)
FILES = st.dictionaries(st.sampled_from(["a.csv", "b.csv", "c.csv.gz"]), TEXTS, min_size=1)


class Outputs(NamedTuple):
    examples: Artifact
    quarantine: Artifact

    def tell(self) -> dict[str, Any]:
        """All that anybody can see of them but for the order of examples."""
        properties = [{name: str(value) for name, value in one.mlmd_artifact.custom_properties.items()} for one in self]
        files = {name: (Path(self.quarantine.uri) / name).read_bytes() for name in ("quarantine.csv", "duplicates.csv")}
        drops = json.loads((Path(self.examples.uri) / "drops.json").read_text(encoding="utf-8"))
        splits = {split: Counter(self.read(split)) for split in self.examples.splits}
        return {"properties": properties, "files": files, "drops": drops, "splits": splits}

    def read(self, split: str) -> list[bytes]:
        found = sorted(str(path) for path in Path(get_split_uri([self.examples], split)).glob("*"))
        return list(tf.data.TFRecordDataset(found, "GZIP").as_numpy_iterator())


def run_both(drops_dir: Path, place: Path, night: str, rules: Rules, precedents: str = "") -> list[Any]:
    """What comes of both, or in which words they fail."""
    beam = BaseBeamExecutor.Context(beam_pipeline_args=list(LOCAL))
    told: list[Any] = []
    for name, executor in (("alone", Executor()), ("beam", BeamExecutor(beam))):
        component = HeadlineExampleGen(drops_dir=str(drops_dir), night=night, rules=rules)
        outputs = Outputs(Examples(), Quarantine())
        outputs.examples.uri, outputs.quarantine.uri = str(place / name / "examples"), str(place / name / "quarantine")
        properties = component.exec_properties | {"precedents": precedents}
        try:
            executor.Do({}, {"examples": [outputs.examples], "quarantine": [outputs.quarantine]}, properties)
        except DropError as error:
            told.append((type(error), str(error)))
        else:
            told.append(outputs.tell())
    return told


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few rows are in several pieces and buckets."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 60)
    monkeypatch.setattr(planning, "ROWS_PER_BUCKET", 6)


@examples_of(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deliveries=st.dictionaries(st.tuples(st.integers(1, 4), st.integers(1, 3)), FILES, min_size=1, max_size=7),
    unbalanced=st.sampled_from(["quarantine", "quarantine", "refuse"]),
    codes=st.lists(st.sampled_from([{"a": "negative", "b": "positive"}, None]), min_size=12, max_size=12),
    refused=st.booleans(),
)
def test_both_ways_give_the_same_whatever_is_delivered(
    drop_rules: dict[str, Any],
    small_pieces: None,
    deliveries: dict[tuple[int, int], dict[str, bytes]],
    unbalanced: str,
    codes: list[dict[str, str] | None],
    refused: bool,
) -> None:
    rules = Rules(
        **{**drop_rules, "unbalanced_quotes": unbalanced, "max_missing_nights": 6, "max_title_characters": 60}
    )
    with tempfile.TemporaryDirectory() as folder:
        drops_dir = Path(folder) / "drops"
        for (number, version), files in deliveries.items():
            place = drops_dir / str(FIRST + timedelta(number)) / ("" if version == 1 else f"v{version}")
            place.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                data = b"title,sentiment\n" + content
                (place / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
            marker = {"delivered": "2022-03-01T00:00:00+00:00"}
            spoken = codes[number * version - 1]
            (place / "_SUCCESS").write_text(json.dumps(marker | ({"label_codes": spoken} if spoken else {})))
        nights = sorted({FIRST + timedelta(number) for number, _ in deliveries})
        precedents = refuse_first(drops_dir, nights, rules) if refused else ""
        alone, beam = run_both(drops_dir, Path(folder), str(nights[-1]), rules, precedents)
        assert beam == alone
        event("read" if isinstance(alone, dict) else "refused")


def refuse_first(drops_dir: Path, nights: list[date], rules: Rules) -> str:
    drops = DropsFolder(drops_dir)
    try:
        [(version, sha256)] = hash_versions([drops.find_version(nights[0])])
    except DropError:
        return ""
    at = "2022-03-02T00:00:00+00:00"
    ruling = {"id": 1, "night": str(version.night), "version": version.number, "sha256": sha256}
    ruling |= {"ruled": Ruled.REFUSED.value, "why": "too few", "by": "DropGate", "at": at}
    assert set(ruling) == set(Ruling.__dataclass_fields__)
    return json.dumps({"refused": [ruling], "codes": []})


def test_both_ways_give_the_same_of_twelve_nights(
    drop_rules: dict[str, Any], twelve_nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 10_000)
    monkeypatch.setattr(planning, "ROWS_PER_BUCKET", 700)
    alone, beam = run_both(twelve_nights, tmp_path, "2022-02-12", Rules(**drop_rules))
    assert beam == alone
    assert sum(beam["splits"]["train"].values()) > 2000
    assert len(list((tmp_path / "beam" / "examples" / "Split-train").glob("*"))) > 4
    # Workers' files are not left behind.
    assert sorted(path.name for path in (tmp_path / "beam" / "quarantine").iterdir()) == [
        "duplicates.csv",
        "quarantine.csv",
    ]


def test_of_few_rows_the_files_are_the_same_byte_by_byte(
    drop_rules: dict[str, Any], twelve_nights: Path, tmp_path: Path
) -> None:
    run_both(twelve_nights, tmp_path, "2022-02-03", Rules(**drop_rules))
    for split in ("train", "eval", "fresh"):
        alone, beam = (tmp_path / way / "examples" / f"Split-{split}" for way in ("alone", "beam"))
        [name] = [path.name for path in alone.iterdir()]
        assert [path.name for path in beam.iterdir()] == [name]
        assert (beam / name).read_bytes() == (alone / name).read_bytes()


def test_a_runner_that_loses_rows_fails_the_run(
    deliver: Deliver, drop_rules: dict[str, Any], tmp_path: Path, drops_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver("2022-02-01", "Sol,neutral\nChove,negative\nOuro,positive\n")
    monkeypatch.setattr(planning, "ROWS_PER_BUCKET", 1)
    settle = transforms._Settle.process

    def lose(self: Any, element: Any, *arguments: Any) -> Any:
        return iter(()) if element[0] == 0 else settle(self, element, *arguments)

    monkeypatch.setattr(transforms, "_choose_bucket", lambda key, buckets: len(key) % buckets)
    monkeypatch.setattr(transforms._Settle, "process", lose)
    words = "rows of night 2022-02-01 were lost or invented: 3 came in, but 2 used"
    with pytest.raises(RuntimeError, match=words) as refused:
        run_both(drops_dir, tmp_path, "2022-02-01", Rules(**drop_rules))
    assert str(refused.value).endswith("The runner lost a part of the work: use another engine, or BEAM=local")


def is_of(role: Role) -> Callable[[Any, Any], bool]:
    """Whether an output is rows of a role."""

    def judge(plan: Any, output: Any) -> bool:
        if isinstance(output, TaggedOutput):
            return False
        source, *_ = pickle.loads(output[1])[0]
        return bool(plan.sources[source].role is role)

    return judge


def is_tagged(tag: str, source: int | None = None) -> Callable[[Any, Any], bool]:
    """Whether an output has a tag, and is of a source where one is named."""
    return lambda plan, output: (
        isinstance(output, TaggedOutput) and output.tag == tag and (source is None or output.value[0] == source)
    )


# Of the sources 0 and 1 are the window's, then those that are replaced, corrected and left out.
@pytest.mark.parametrize(
    ("is_lost", "sentence"),
    [
        (is_of(Role.REPLACED), "rows of version 1 of night 2022-02-02 were lost or invented: 1 of 3"),
        (is_of(Role.CORRECTED), "rows of version 1 of night 2022-02-03 were lost or invented: 1 of 3"),
        (is_of(Role.LEFT_OUT), "rows of version 1 of night 2022-02-01 were lost or invented: 1 of 3"),
        (is_tagged("outcome"), "rows of version . of night .* were lost or invented"),
        (is_tagged("words"), "titles of the window that words are learnt from were lost or invented: 0 of 2"),
        (is_tagged("labels"), "rows of night 2022-02-03 with an unknown label were lost or invented: 0 of 1"),
        (is_tagged("lost"), "what tells of lost letters in source . was lost"),
        (is_tagged("lost", 2), "what tells of lost letters in source 2 was lost"),
    ],
)
def test_a_runner_that_loses_what_is_not_of_the_windows_rows_fails_the_run(
    deliver: Deliver,
    drop_rules: dict[str, Any],
    tmp_path: Path,
    drops_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_lost: Callable[[Any, Any], bool],
    sentence: str,
) -> None:
    for night in ("2022-02-01", "2022-02-02", "2022-02-03"):
        for version in ("", "/v2") if night != "2022-02-01" else ("",):
            title = f"Dia {night}{version}"
            deliver(f"{night}{version}", f"{title} sol,neutral\n{title} chuva,negative\nmau,talvez\n")
    rules = Rules(**{**drop_rules, "require_success_marker": False, "max_missing_nights": 6})
    precedents = refuse_first(drops_dir, [date(2022, 2, 1)], rules)
    process = transforms._ReadAndJudge.process

    def lose(self: Any, element: Any) -> Any:
        return (output for output in process(self, element) if not is_lost(self._plan, output))

    monkeypatch.setattr(transforms._ReadAndJudge, "process", lose)
    with pytest.raises(RuntimeError, match=sentence):
        run_both(drops_dir, tmp_path, "2022-02-03", rules, precedents)


def test_a_runner_that_loses_what_one_piece_tells_of_lost_letters_fails_the_run(
    deliver: Deliver, drop_rules: dict[str, Any], tmp_path: Path, drops_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.csv", "b.csv"):
        deliver("2022-02-01", f"Sol em {name},neutral\nChuva em {name},negative\n", name)
    process = transforms._ReadAndJudge.process

    def lose(self: Any, element: Any) -> Any:
        return (
            output
            for output in process(self, element)
            if not (element.number == 0 and isinstance(output, TaggedOutput) and output.tag == "lost")
        )

    monkeypatch.setattr(transforms._ReadAndJudge, "process", lose)
    words = "titles of version 1 of night 2022-02-01 that may have lost letters were lost or invented: 2 of 4"
    with pytest.raises(RuntimeError, match=words):
        run_both(drops_dir, tmp_path, "2022-02-01", Rules(**drop_rules))


@pytest.mark.parametrize(
    ("tag", "sentence"),
    [("", "of the rows .* of bucket 0, .* came twice"), ("aside", "of the rows that are set aside, .* came twice")],
)
def test_a_runner_that_doubles_a_row_in_the_place_of_another_fails_the_run(
    deliver: Deliver,
    drop_rules: dict[str, Any],
    tmp_path: Path,
    drops_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    tag: str,
    sentence: str,
) -> None:
    deliver("2022-02-01", "Sol,neutral\nChuva,negative\nmau,talvez\npior,quem sabe\n")
    process = transforms._ReadAndJudge.process

    def double(batch: bytes) -> bytes:
        first, _ = pickle.loads(batch)
        return pickle.dumps([first, first])

    def misdeliver(self: Any, element: Any) -> Any:
        for output in process(self, element):
            if not tag and not isinstance(output, TaggedOutput):
                yield output[0], double(output[1])
            elif tag and isinstance(output, TaggedOutput) and output.tag == tag:
                yield TaggedOutput(tag, (output.value[0], double(output.value[1])))
            else:
                yield output

    monkeypatch.setattr(transforms._ReadAndJudge, "process", misdeliver)
    with pytest.raises(RuntimeError, match=sentence):
        run_both(drops_dir, tmp_path, "2022-02-01", Rules(**drop_rules))


def test_a_runner_that_leaves_nothing_fails_the_run(
    deliver: Deliver, drop_rules: dict[str, Any], tmp_path: Path, drops_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver("2022-02-01", "Sol,neutral\n")
    monkeypatch.setattr(beam_executor, "read_and_write", lambda root, plan, tasks: None)
    words = r"outcome.pickle was not written: .*; put PIPELINE_ROOT where they all have it, or use another engine"
    with pytest.raises(RuntimeError, match=words):
        run_both(drops_dir, tmp_path, "2022-02-01", Rules(**drop_rules))


def test_a_file_that_changes_between_the_two_looks_fails_the_run(
    deliver: Deliver, drop_rules: dict[str, Any], tmp_path: Path, drops_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = deliver("2022-02-01", "Sol,neutral\n")
    read = beam_executor.read_and_write

    def change(*arguments: Any) -> None:
        path.write_text("title,sentiment\nMar,neutral\n")
        read(*arguments)

    monkeypatch.setattr(beam_executor, "read_and_write", change)
    with pytest.raises(GrowingDropError, match="changed while it was read; run the night again"):
        beam = BaseBeamExecutor.Context(beam_pipeline_args=list(LOCAL))
        component = HeadlineExampleGen(drops_dir=str(drops_dir), night="2022-02-01", rules=Rules(**drop_rules))
        examples, quarantine = Examples(), Quarantine()
        examples.uri, quarantine.uri = str(tmp_path / "examples"), str(tmp_path / "quarantine")
        BeamExecutor(beam).Do({}, {"examples": [examples], "quarantine": [quarantine]}, component.exec_properties)


@pytest.mark.parametrize(("beam", "expected"), [("local", Executor), ("args", HeadlineExampleGenExecutor)])
def test_an_engine_reads_a_window_through_beam_and_one_box_does_not(
    settings: Settings, beam: str, expected: type
) -> None:
    arguments = {"beam": beam, "beam_runner_args": LOCAL if beam == "args" else ()}
    pipeline = create_pipeline(settings.model_copy(update=arguments), "2022-02-01")
    [kind] = [node.executor_spec.executor_class for node in pipeline.components if node.id == EXAMPLE_GEN]
    assert kind is expected
