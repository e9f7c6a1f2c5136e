"""Answers about lineage for a person to read: tables and trees, at any width from 60 columns on."""

from collections.abc import Collection, Iterable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

import lineage
from headlines.names import MODEL_CARD
from retraining.cli.fitting import Fitting
from retraining.cli.side_tables import render_gate, render_notes
from retraining.cli.summary import STATE_COLOURS

_COLOURS = {**STATE_COLOURS, "complete": "green"}
_SHORT = 200


def render_serving(answer: lineage.Serving | None, pipeline: str = lineage.OURS.pipeline) -> RenderableType:
    """What serves, and the tree of where it comes from."""
    if answer is None:
        if pipeline != lineage.OURS.pipeline:
            return Text(f"Nothing serves: {pipeline} has pushed no version; ask for its `runs` instead.")
        return Text("Nothing serves: no model was pushed yet. Run a night: `retraining run --night YYYY-MM-DD`")
    night = f" of night {answer.night}" if answer.night else ""
    of = f" of {lineage.tell_occasion(answer.model)}" if answer.model else night
    lines = [f"version {answer.version}{of}, since {_moment(answer.since)}"]
    if answer.rollback:
        back = answer.rollback
        lines.append(f"returned to by {back.by} from {back.from_version}: {back.reason}")
    if answer.reason:
        lines.append(answer.reason)
    if answer.before:
        lines.append(f"before it: version {answer.before.version}, since {_moment(answer.before.since)}")
    return Group(Text("\n".join(lines)), Text(), _drops(answer.drops), render_graph(answer.path))


def render_model(answer: lineage.ModelDetail) -> RenderableType:
    """A model's verdict, metrics and origin."""
    report = answer.report
    model = answer.model
    of = f" of night {model.night}" if model.night else ""
    head = [
        f"{lineage.name_model(model)}{of}, made by {model.run_id}, {model.uri}"
        + (f", {model.removal}" if model.removal else ""),
        f"{answer.state}: {report.reason or report.why or report.state}",
    ]
    if model.night:
        head.append(f"champion before: {answer.champion_before or 'none'}, after: {answer.champion_after or 'none'}")
    parts: list[RenderableType] = [Text("\n".join(head)), Text()]
    if report.checks:
        table = Fitting("check", "value", "95 % interval", "", "must be")
        for check in report.checks:
            table.add_row(check.name, _number(check.value), _between((check.low, check.high)), _mark(check), check.rule)
        parts.append(table)
    if answer.metrics:
        table = Fitting("metric", "candidate", "champion", "LR", "majority", "champion, fresh")
        fresh = answer.fresh.get("champion", {})
        sources = (answer.metrics, answer.champion_metrics, answer.lr_metrics, answer.majority_metrics, fresh)
        for name in answer.metrics:
            table.add_row(name, *(_number(source.get(name)) for source in sources))
        parts.append(table)
    origin = "; ".join(f"{name} {value}" for name, value in answer.origin.items())
    card = next((one.uri for (node, _), one in answer.artifacts.items() if node == MODEL_CARD), None)
    notes = [f"made from: {origin}" if origin else "", f"card: {card}" if card else ""]
    if answer.notes:
        parts += [render_notes(answer.notes), Text()]
    return Group(*parts, _drops(answer.drops), Text("\n".join(filter(None, notes)), style="dim"))


def render_runs(answer: Iterable[lineage.RunSummary]) -> RenderableType:
    """Runs, newest first."""
    table = Fitting("run", "night", "began", "state", "model", "")
    for run in answer:
        report = run.report
        model = report.pushed_version or ("-" if report.model_id is None else f"#{report.model_id}")
        state = Text(report.state, style=_COLOURS.get(report.state, ""))
        table.add_row(report.run_id, report.night or "-", _moment(run.began_at), state, model, Text(report.why))
    return table if table else Text("No runs.")


def render_pipelines(held: Iterable[lineage.PipelineSummary]) -> RenderableType:
    """Pipelines, the one that ran last first."""
    table = Fitting("pipeline", "runs", "models", "newest")
    for one in held:
        table.add_row(one.name, str(one.runs), str(one.models), _moment(one.newest) if one.newest else "-")
    return table if table else Text("No pipelines: nothing was run yet.")


def render_drop(answer: lineage.Recall) -> RenderableType:
    """A drop and what was trained on it."""
    table = Fitting("night", "model", "drop", "serves")
    for taint in answer.taints:
        if "trained-on" in taint.ways:
            versions = ", ".join(f"v{version}" for version in taint.drop_versions)
            occasion = taint.model.night or taint.model.run_id
            table.add_row(occasion, lineage.name_model(taint.model), versions, "yes" if taint.is_serving else "")
    versions = ", ".join(f"v{version}" for version in answer.versions)
    return Group(Text(f"Drop of night {answer.night}: {versions}. Trained on it:"), table)


def render_recall(answer: lineage.Recall) -> RenderableType:
    """Every model that a drop touched, and what to know for acting on it."""
    table = Fitting("night", "model", "serves", "touched", "on the way")
    for taint in answer.taints:
        occasion = taint.model.night or taint.model.run_id
        first = (occasion, lineage.name_model(taint.model), "yes" if taint.is_serving else "")
        for index, (way, path) in enumerate(taint.ways.items()):
            table.add_row(*(("",) * 3 if index else first), way, " > ".join(node.label for node in path[:-1]))
    serving = answer.serving
    if serving is None:
        verdict = Text("Nothing serves.")
    elif answer.is_serving:
        verdict = Text(f"Version {serving.version}, which serves now, was made from this drop.", style="red")
    else:
        verdict = Text(f"Version {serving.version}, which serves now, was not made from this drop.", style="green")
    good = f"The newest version that was not: {answer.last_good_version or 'none'}."
    which = "all its versions" if answer.version is None else f"version {answer.version}"
    return Group(
        Text(f"Drop of night {answer.night}, {which}: {len(answer.taints)} models were touched."), table, verdict,
        Text(good),
    )  # fmt: skip


def render_night(answer: lineage.NightDetail) -> RenderableType:
    """A night's runs with every attempt."""
    drop = answer.drop
    versions = ", ".join(f"v{version}" for version in answer.drop_versions) or "none"
    lines = [f"Night {answer.night}; versions of its drop that were used: {versions}"]
    if drop:
        lines.append(f"its newest run used v{drop.version}: {drop.rows_used} of {drop.rows_in} rows, "
                     f"{drop.rows_quarantined} quarantined")  # fmt: skip
    lines.append(f"champion before: {answer.champion_before or 'none'}, after: {answer.champion_after or 'none'}")
    parts: list[RenderableType] = [Text("\n".join(lines))]
    for ruling in answer.rulings:
        why = f": {ruling.why}" if ruling.why else ""
        parts.append(Text(f"v{ruling.version} {ruling.ruled} by {ruling.by}, {_moment(ruling.at)}{why}"))
    if answer.refusal:
        parts.append(
            Text(
                "its drop is left out of later windows until it is corrected, or accepted: `retraining drop --accept "
                f"{answer.night} --reason TEXT`",
                style="red",
            )
        )
    if report := answer.report:
        parts += [Text(f"left out of the window: {one.night} v{one.version}, {one.why}") for one in report.left_out]
        parts.append(Text.assemble((report.state, _COLOURS.get(report.state, "")), f": {report.why}".rstrip(": ")))
    if answer.scheduled:
        table = Fitting("run in Airflow", "state", "task", "state", "attempt", "")
        for scheduled in answer.scheduled:
            for number, task in enumerate(scheduled.tasks or (None,)):
                head = ("", "") if number else (scheduled.run_id, scheduled.state)
                cells = (task.name, task.state, str(task.attempt), task.reason) if task else ("", "", "", "")
                table.add_row(*head, *cells)
        parts += [Text(), table]
    for run in answer.runs:
        report = run.report
        parts += [Text(), Text(f"{report.run_id}: {report.state}; {report.why}".rstrip("; "))]
        table = Fitting("node", "attempt", "state", "seconds", "execution", "")
        for one in run.executions:
            note = one.error or (f"superseded by {one.superseded_by}" if one.superseded_by else "")
            state = Text(one.state, style=_COLOURS.get(one.state, ""))
            seconds = "-" if one.seconds is None else f"{one.seconds:.1f}"
            table.add_row(one.node, str(one.attempt), state, seconds, str(one.id), note)
        parts.append(table)
    if answer.gate:
        parts += [Text(), render_gate(answer.gate)]
    if answer.notes:
        parts += [Text(), render_notes(answer.notes)]
    return Group(*parts)


def render_comparison(answer: lineage.Comparison) -> RenderableType:
    """Two models side by side."""
    a, b = lineage.name_model(answer.a.model), lineage.name_model(answer.b.model)
    parts: list[RenderableType] = []
    paired = answer.paired
    if paired.problem:
        parts.append(Text(f"They cannot be compared on the same rows: {paired.problem}."))
    else:
        parts.append(Text(f"On the same rows, {_rows(paired.rows)}: {paired.which}."))
        table = Fitting("metric", a, b, "difference", "95 % interval")
        for name, pair in paired.metrics.items():
            ends = "-" if pair.low is None or pair.high is None else f"{pair.low:+.3f} to {pair.high:+.3f}"
            table.add_row(name, _number(pair.a), _number(pair.b), f"{pair.difference:+.3f}", ends)
        parts.append(table)
        if paired.p is not None:
            parts.append(Text(f"McNemar's test that both err equally often: p = {paired.p:.3f}", style="dim"))
    if answer.metrics:
        parts += [
            Text(),
            Text(f"Each on its own rows: {a} on {_rows(answer.rows[0])}, {b} on {_rows(answer.rows[1])}."),
        ]
        table = Fitting("metric", a, "95 % interval", b, "95 % interval")
        for name, (one, other) in answer.metrics.items():
            intervals = [_between(model.intervals.get(name)) for model in (answer.a, answer.b)]
            if name != "example_count":
                table.add_row(name, _number(one), intervals[0], _number(other), intervals[1])
        parts.append(table)
    if answer.class_mix:
        table = Fitting("share of label", a, b)
        for label, shares in answer.class_mix.items():
            table.add_row(label, *("-" if share is None else f"{share:.1%}" for share in shares))
        parts.append(table)
    absent = {"data": "not in it"}
    return Group(
        *parts,
        *(
            _differences(title, getattr(answer, title), recorded, absent.get(title, "not recorded"), a, b)
            for title, recorded in answer.recorded.items()
        ),
    )


def _differences(
    title: str, differences: Iterable[lineage.Difference], recorded: tuple[bool, bool], absent: str, a: str, b: str
) -> RenderableType:
    table = Fitting(title, a, b)
    for one in differences:
        table.add_row(one.name, *(absent if value is None else _short(value) for value in (one.a, one.b)))
    likeness = "the same" if all(recorded) else "not recorded"
    return table if table else Text(f"{title}: {likeness}", style="dim")


def render_models(answer: lineage.ModelList) -> RenderableType:
    """Models, a row for each."""
    table = Fitting("night", "model", "state", "accuracy", "macro_f1", "rows", "verdict")
    for one in answer.models:
        state = Text(one.state, style=_COLOURS.get(one.state, ""))
        rows = one.metrics.get("example_count")
        table.add_row(
            one.model.night or "-",
            lineage.name_model(one.model),
            state,
            *(_number(one.metrics.get(name)) for name in ("accuracy", "macro_f1")),
            "-" if rows is None else f"{rows:.0f}",
            _short(one.reason or "not judged"),
        )
    states = ", ".join(f"{count} {state}" for state, count in answer.states.items()) or "no model yet"
    return Group(table, Text(f"{len(answer.models)} of {answer.count} shown; of all there are: {states}", style="dim"))


def render_check_history(answer: lineage.CheckHistory) -> RenderableType:
    """A check, a row for each night, with what it asks."""
    table = Fitting("night", "value", "95 % interval", "limit", "", "what happened")
    checks = [(point, point.check) for point in answer.points if point.check]
    for point, check in checks:
        ends = _between((check.low, check.high))
        table.add_row(point.night, _number(check.value), ends, _number(check.limit), _mark(check), _happening(point))
    if not checks:
        return Text(f"{answer.name}: none of these nights has it")
    newest = checks[-1][1]
    return Group(Text(f"{answer.name}: {newest.title}. {newest.meaning}\nMust be: {newest.rule}."), table)


def _mark(check: lineage.Check) -> Text:
    mark = Text("ok", style="green") if check.passed else Text("FAILED", style="red")
    return mark + Text(f", {check.note}", style="dim") if check.note else mark


def _happening(point: lineage.Happening) -> str:
    happened = [f"pushed {point.pushed_version}"] if point.pushed_version else []
    happened += ["refused"] if point.is_refused else []
    happened += [f"rolled back after it to {one.to_version} by {one.by}" for one in point.rollbacks]
    return "; ".join(happened) or "-"


def render_history(answer: lineage.History) -> RenderableType:
    """A metric, a row for each night."""
    table = Fitting("night", "candidate", "champion", "LR", "majority", "champion, fresh", "LR, fresh", "what happened")
    for point in answer.points:
        values = (point.candidate, point.champion, point.lr, point.majority, point.fresh_champion, point.fresh_lr)
        table.add_row(point.night, *map(_number, values), _happening(point))
    return Group(Text(answer.metric), table)


def render_gaps(
    nights: Iterable[lineage.Gap], orphans: lineage.Orphans, airflow_asked: bool, has_nights: bool = True
) -> RenderableType:
    """Nights without a verdict, and what no run answers for."""
    table = Fitting("night", "", "why")
    for gap in nights:
        table.add_row(gap.night, Text(gap.kind, style=_COLOURS.get(gap.kind, "")), gap.reason)
    sentences = [f"artifact {one.id} ({one.type}, {one.uri}) was made by nothing" for one in orphans.artifacts]
    sentences += [f"execution {one.id} ({one.node or one.type}) belongs to no run" for one in orphans.executions]
    none = "Every night from the first to the last came to a verdict." if has_nights else (
        "No run names a night; ask for the `runs`, with what became of each."
    )  # fmt: skip
    gaps = table if table else Text(none)
    sentences = sentences or ["No orphaned artifacts or executions."]
    if has_nights and not airflow_asked:
        sentences.append("Airflow was not asked: nights that MLMD never heard of are not among these.")
    return Group(gaps, Text("\n".join(sentences), style="dim"))


def render_graph(answer: lineage.Graph) -> RenderableType:
    """A graph as a tree, from what nothing was made of back to the drops; what is reached twice is spelled out once."""
    nodes = {node.key: node for node in answer.nodes}
    before: dict[str, list[tuple[str, str]]] = {}
    for edge in answer.edges:
        before.setdefault(edge.target, []).append((edge.source, edge.label))
    sources = {edge.source for edge in answer.edges}
    root = Tree(Text("made from what is below it", style="dim"), guide_style="dim")
    spelled: set[str] = set()

    def grow(branch: Tree, key: str, label: str) -> None:
        text = Text(_label(nodes[key])) + Text(f"  {label}" if label != "drop" else "", style="dim")
        if key in spelled and before.get(key):
            branch.add(text + Text("  (see above)", style="dim"))
            return
        spelled.add(key)
        twig = branch.add(text)
        for source, how in before.get(key, []):
            grow(twig, source, how)

    for node in reversed(answer.nodes):
        if node.key not in sources:
            grow(root, node.key, "")
    return root


def _label(node: lineage.Node) -> str:
    return node.label if node.id is None else f"{node.label} #{node.id}"


def _drops(drops: Collection[lineage.DropUse]) -> RenderableType:
    if not drops:
        return Text("Lineage knows no drops behind it.", style="dim")
    table = Fitting("drop", "version", "rows used", "quarantined", "folded", "files", "sha256")
    for drop in drops:
        passed_over = [f"passed over: {name}" for name in drop.passed_over]
        table.add_row(
            drop.night,
            f"v{drop.version}",
            f"{drop.rows_used} of {drop.rows_in}",
            str(drop.rows_quarantined),
            str(drop.duplicates_folded),
            ", ".join([*(file.name for file in drop.files), *passed_over]) or "-",
            drop.sha256[:12],
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _between(interval: tuple[float | None, float | None] | None) -> str:
    low, high = interval or (None, None)
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _rows(count: int | None) -> str:
    return "rows that are not on record" if count is None else f"{count} rows"


def _short(value: str | None) -> str:
    return "-" if value is None else value if len(value) <= _SHORT else f"{value[:_SHORT]}..."


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
