"""`retraining lineage`: the questions about lineage as commands, for a person or, with `--json`, for a script."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

import lineage
from lineage import Reader
from retraining.cli import lineage_tables as tables
from retraining.cli import side_tables
from retraining.cli.console import console, example
from retraining.settings import Settings

app = typer.Typer(
    help="Which drop made which model, what serves and why: asked of the lineage in MLMD.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def _night(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a night; write it as 2022-02-01") from None


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead; docs/lineage.md tells its shape.")]
Night = Annotated[str, typer.Argument(parser=_night, metavar="NIGHT", help="YYYY-MM-DD.")]
Model = Annotated[str, typer.Argument(help="A version (2022020201), a night (2022-02-02) or '#<id in MLMD>', quoted.")]
First = Annotated[str | None, typer.Option("--from", parser=_night, metavar="NIGHT", help="Earliest night.")]
Last = Annotated[str | None, typer.Option("--to", parser=_night, metavar="NIGHT", help="Latest night.")]
_source: dict[str, Path] = {}


@app.callback()
def choose(
    sqlite: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read an SQLite file, such as that of `run --local`.")
    ] = None,
) -> None:
    """Which drop made which model, what serves and why: asked of the lineage in MLMD."""
    _source.clear()
    if sqlite is not None:
        _source["file"] = sqlite


def _example(text: str) -> str:
    return example(f"retraining lineage {text}")


@contextmanager
def _opened() -> Iterator[Reader]:
    with lineage.open_lineage(_source.get("file") or Settings.from_env()) as reader:
        try:
            yield reader
        except lineage.UnknownError as error:
            raise lineage.LineageError(str(error)) from error


def _answer(question: str, as_json: bool, ask: Callable[[Reader], Any], show: Callable[[Any], RenderableType]) -> Any:
    with _opened() as reader:
        answer = ask(reader)
    if as_json:
        _print_json(question, answer)
    else:
        console.print(show(answer))
    return answer


def _print_json(question: str, answer: Any) -> None:
    document = {"version": lineage.VERSION, "question": question, "answer": lineage.to_json(answer)}
    print(json.dumps(document, ensure_ascii=False, indent=2))


@app.command(epilog=_example("serving"))
def serving(as_json: AsJson = False) -> None:
    """What serves now, since when, and the whole path back to its drops."""
    _answer("serving", as_json, lineage.serving_now, tables.render_serving)


@app.command(epilog=_example("model 2022-02-02"))
def model(name: Model, as_json: AsJson = False) -> None:
    """A model: its verdict with reasons, its metrics beside the champion's, the drops it was trained on."""
    _answer("model", as_json, lambda reader: lineage.model_detail(reader, name), tables.render_model)


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
    metric: Annotated[str, typer.Argument(help="Such as accuracy, macro_f1.")],
    first: First = None,
    last: Last = None,
    as_json: AsJson = False,
) -> None:
    """A metric over nights: candidate, champion, classical baseline (LR) and majority class."""
    _answer(
        "history", as_json, lambda reader: lineage.metric_history(reader, metric, first, last), tables.render_history
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
        _print_json("drift", answer)
    else:
        console.print(shown)


@app.command(epilog=_example("scores --night 2022-02-02"))
def scores(
    night: Annotated[str | None, typer.Option(parser=_night, metavar="NIGHT", help="Of this night alone.")] = None,
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

    def ask(reader: Reader) -> dict[str, Any]:
        nights, orphans = lineage.gaps(reader, first, last), lineage.orphans(reader)
        return {"nights": nights, "orphans": orphans, "airflow_asked": reader.scheduling is not None}

    _answer("gaps", as_json, ask, lambda answer: tables.render_gaps(*answer.values()))


@app.command(epilog=_example("graph --model 2022-02-02 --dot | dot -Tsvg > lineage.svg"))
def graph(
    night: Annotated[str | None, typer.Option(parser=_night, metavar="NIGHT", help="Of this night's runs.")] = None,
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
        print(lineage.to_dot(answer), end="")
    elif as_json:
        _print_json("graph", answer)
    else:
        console.print(tables.render_graph(answer))
