"""`retraining lineage`: the questions about lineage as commands, for a person or, with `--json`, for a script."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

import lineage
from headlines.display import harmless
from headlines.postgres_address import Postgres
from lineage import OURS, Names, Reader
from lineage.reader import Source
from retraining.cli import lineage_tables as tables
from retraining.cli import side_tables
from retraining.cli.console import check_order, console, errors, example, print_json, take_night
from retraining.cli.status import render_observation
from retraining.places.relocation import find_difference
from retraining.settings import Settings
from retraining.watching import replicas

app = typer.Typer(
    help="Which drop made which model, what serves and why: asked of the lineage in MLMD.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead; docs/lineage.md tells its shape.")]
Night = Annotated[str, typer.Argument(parser=take_night, metavar="NIGHT", help="YYYY-MM-DD.")]
Model = Annotated[str, typer.Argument(help="A version (2022020201), a night (2022-02-02) or '#<id in MLMD>', quoted.")]
First = Annotated[str | None, typer.Option("--from", parser=take_night, metavar="NIGHT", help="Earliest night.")]
Last = Annotated[str | None, typer.Option("--to", parser=take_night, metavar="NIGHT", help="Latest night.")]


@dataclass
class _Asked:
    """Where the command looks, and for which pipeline: the service's own, unless it was told otherwise."""

    place: Path | Postgres | None = None
    pipeline: str | None = None
    names: Names = OURS


_asked = _Asked()


@app.callback()
def choose(
    sqlite: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read an SQLite file, such as that of `run --local`.")
    ] = None,
    mlmd: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Read any MLMD in Postgres, postgresql://user@host:port/database. The password may be in it, in "
            "PGPASSWORD or in libpq's password file.",
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Ask about this pipeline instead of the nightly one; see `pipelines`."),
    ] = None,
) -> None:
    """Which drop made which model, what serves and why: asked of the lineage in MLMD."""
    if sqlite is not None and mlmd is not None:
        raise typer.BadParameter("give --sqlite or --mlmd, not both: each says where to look")
    _asked.place = sqlite if mlmd is None else Postgres.from_address("MLMD", mlmd)
    _asked.pipeline, _asked.names = pipeline, OURS


def _example(text: str) -> str:
    return example(f"retraining lineage {text}")


@contextmanager
def _opened(any_pipeline: bool = False) -> Iterator[Reader]:
    try:
        source: Source = _asked.place or Settings.from_env()
        if isinstance(source, Settings) and (problem := find_difference(source)):
            # What lineage knows without its files is answered all the same.
            errors.print(problem, style="yellow", highlight=False, markup=False, soft_wrap=not errors.is_terminal)
        if not any_pipeline:
            source = _choose_pipeline(source)
        with lineage.open_lineage(source, _asked.names) as reader:
            yield reader
    except lineage.UnknownError as error:
        raise lineage.LineageError(str(error)) from error


def _choose_pipeline(source: Source) -> Source:
    """Finds out what the pipeline calls its nodes, and leaves Airflow out where it is not the service's own."""
    if isinstance(source, Settings):
        if _asked.pipeline in (None, OURS.pipeline):
            return source
        # The service's schedule is not this pipeline's.
        source = source.mlmd
    _asked.names = lineage.find_names(source, _asked.pipeline)
    if _asked.pipeline is None and _asked.names != OURS:
        errors.print(
            f"Of pipeline {_asked.names.pipeline}, the only one there is.", style="dim", highlight=False, markup=False
        )
    return source


def _answer(question: str, as_json: bool, ask: Callable[[Reader], Any], show: Callable[[Any], RenderableType]) -> Any:
    with _opened() as reader:
        answer = ask(reader)
    if as_json:
        print_json(question, answer)
    else:
        console.print(show(answer))
    return answer


@app.command(epilog=_example("serving"))
def serving(as_json: AsJson = False) -> None:
    """What serves now, since when, and the whole path back to its drops; and what the model servers answer with.

    Exits with 3 when a model server answers with another version, or does not answer.
    """
    with _opened() as reader:
        answer = lineage.serving_now(reader)
        # What another pipeline pushed is served, if at all, by others.
        is_own = _asked.place is None and _asked.names == OURS
        observed = replicas.observe(Settings.from_env(), reader) if is_own else None
    if as_json:
        print_json("serving", answer, observed=observed)
    else:
        console.print(tables.render_serving(answer, _asked.names.pipeline))
        if observed:
            console.print(render_observation(observed), highlight=False)
    if observed and not observed.is_right:
        raise typer.Exit(3)


@app.command(epilog=_example("runs --limit 5"))
def runs(
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 20, as_json: AsJson = False
) -> None:
    """The newest runs of the pipeline, whether they are for a night or not: what each came to, and why."""
    _answer("runs", as_json, lambda reader: lineage.runs(reader, limit), tables.render_runs)


@app.command(epilog=_example("pipelines"))
def pipelines(as_json: AsJson = False) -> None:
    """The pipelines that the database holds, whoever ran them; --pipeline NAME asks about one of them."""
    with _opened(any_pipeline=True) as reader:
        held = lineage.pipelines(reader)
    if as_json:
        print_json("pipelines", held)
    else:
        console.print(tables.render_pipelines(held))


@app.command(epilog=_example("model 2022-02-02"))
def model(name: Model, as_json: AsJson = False) -> None:
    """A model: its verdict with reasons, its metrics beside the champion's, the drops it was trained on."""
    _answer("model", as_json, lambda reader: lineage.model_detail(reader, name), tables.render_model)


@app.command(epilog=_example("models --state refused --search 2022-02"))
def models(
    state: Annotated[
        str | None, typer.Option(help="Only those that are serving, pushed, refused, withdrawn, ...")
    ] = None,
    search: Annotated[str, typer.Option(metavar="TEXT", help="Only those with this in night, version or reason.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """The models, newest first: verdict, metrics, and what became of each."""
    _answer("models", as_json, lambda reader: lineage.list_models(reader, state, search, limit), tables.render_models)


@app.command(epilog=_example("drop 2022-02-02"))
def drop(night: Night, as_json: AsJson = False) -> None:
    """A drop: its versions, and the models that were trained on it."""
    _answer("drop", as_json, lambda reader: lineage.recall(reader, night), tables.render_drop)


@app.command(epilog=_example("recall 2022-02-02 --drop-version 1"))
def recall(
    night: Night,
    drop_version: Annotated[int | None, typer.Option(help="Only this version of the drop.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every model that a bad drop touched, how, and whether one of them serves. Exits with 3 when one does."""
    answer = _answer(
        "recall", as_json, lambda reader: lineage.recall(reader, night, drop_version), tables.render_recall
    )
    if answer.is_serving:
        raise typer.Exit(3)


@app.command(epilog=_example("night 2022-02-02"))
def night(night: Night, as_json: AsJson = False) -> None:
    """A night: every attempt of every node of every run, its drop, the champions before and after."""
    _answer("night", as_json, lambda reader: lineage.night_detail(reader, night), tables.render_night)


@app.command(epilog=_example("compare 2022-02-01 2022-02-02"))
def compare(a: Model, b: Model, as_json: AsJson = False) -> None:
    """Two models side by side: data, settings, code, libraries, metrics, class mix."""
    _answer("compare", as_json, lambda reader: lineage.compare(reader, a, b), tables.render_comparison)


@app.command(epilog=_example("history macro_f1 --from 2022-02-01"))
def history(
    name: Annotated[
        str, typer.Argument(help="A metric, such as accuracy; with --check a check, such as mcnemar_change.")
    ],
    first: First = None,
    last: Last = None,
    check: Annotated[
        bool, typer.Option("--check", help="A check of the quality bar, with the limit of each night.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Over nights: a metric of candidate, champion, classical baseline (LR) and majority class; or a check."""
    check_order(first, last)
    if check:
        _answer(
            "history",
            as_json,
            lambda reader: lineage.check_history(reader, name, first, last),
            tables.render_check_history,
        )
    else:
        _answer(
            "history", as_json, lambda reader: lineage.metric_history(reader, name, first, last), tables.render_history
        )


@app.command(epilog=_example("drift class_mix_shift --from 2022-02-01"))
def drift(
    measure: Annotated[
        str | None, typer.Argument(help="Such as class_mix_shift, label:negative; without one, each in a line.")
    ] = None,
    first: First = None,
    last: Last = None,
    as_json: AsJson = False,
) -> None:
    """How the data of nights drift: each label and each measure, with the limit that was in force."""
    with _opened() as reader:
        answer = lineage.drift(reader, first, last)
        shown = side_tables.render_drift(answer, measure)
    if as_json:
        print_json("drift", answer)
    else:
        console.print(shown)


@app.command(epilog=_example("scores --night 2022-02-02"))
def scores(
    night: Annotated[str | None, typer.Option(parser=take_night, metavar="NIGHT", help="Of this night alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """What pushed models said of unlabelled headlines: which nights, by which version, how many of each label."""
    _answer("scores", as_json, lambda reader: lineage.scores(reader, night), side_tables.render_scores)


@app.command(epilog=_example("tuning"))
def tuning(as_json: AsJson = False) -> None:
    """Searches for hyperparameters: what each found, and which nights were trained with it."""
    _answer("tuning", as_json, lineage.searches, side_tables.render_searches)


@app.command(epilog=_example("notes --from 2022-02-01"))
def notes(first: First = None, last: Last = None, as_json: AsJson = False) -> None:
    """What people wrote on nights and versions, newest first, withdrawn notes among it."""
    _answer("notes", as_json, lambda reader: lineage.notes(reader, first, last), side_tables.render_notes)


@app.command(epilog=_example("gaps"))
def gaps(first: First = None, last: Last = None, as_json: AsJson = False) -> None:
    """Nights without a verdict, and why; artifacts and executions that no run answers for."""
    check_order(first, last)

    def ask(reader: Reader) -> dict[str, Any]:
        nights, orphans = lineage.gaps(reader, first, last), lineage.orphans(reader)
        has_nights = lineage.find_ends(reader) is not None
        return {"nights": nights, "orphans": orphans, "airflow_asked": reader.scheduling is not None,
                "has_nights": has_nights}  # fmt: skip

    _answer("gaps", as_json, ask, lambda answer: tables.render_gaps(*answer.values()))


@app.command(epilog=_example("graph --model 2022-02-02 --dot | dot -Tsvg > lineage.svg"))
def graph(
    night: Annotated[str | None, typer.Option(parser=take_night, metavar="NIGHT", help="Of this night's runs.")] = None,
    model: Annotated[str | None, typer.Option(help="Back from this model to its drops.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Every execution and artifact, not domain steps only.")] = False,
    limit: Annotated[int, typer.Option("--nights", min=1, help="How many of the newest nights otherwise.")] = 5,
    dot: Annotated[bool, typer.Option("--dot", help="Print it in Graphviz's language.")] = False,
    as_json: AsJson = False,
) -> None:
    """From drops to pushes, as a tree, as JSON or for Graphviz."""
    with _opened() as reader:
        if model is not None:
            answer = lineage.path_back(reader, model, full)
        else:
            answer = lineage.graph(reader, night, full, limit)
    if dot:
        print(harmless(lineage.to_dot(answer)), end="")
    elif as_json:
        print_json("graph", answer)
    else:
        console.print(tables.render_graph(answer))
