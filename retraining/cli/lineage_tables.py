"""Answers about lineage for a person to read: tables and trees, in at most 100 columns."""

from collections.abc import Iterable
from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

import lineage
from headlines.names import MODEL_CARD
from retraining.cli.side_tables import render_gate, render_notes
from retraining.cli.summary import STATE_COLOURS

_COLOURS = {**STATE_COLOURS, "complete": "green"}
_SHORT = 200


def render_serving(answer: lineage.Serving | None) -> RenderableType:
    """What serves, and the tree of where it comes from."""
    if answer is None:
        return Text("Nothing serves: no model was pushed yet. Run a night: retraining run --night YYYY-MM-DD")
    lines = [f"version {answer.version} of night {answer.night}, since {_moment(answer.since)}"]
    if answer.rollback:
        back = answer.rollback
        lines.append(f"returned to by {back.by} from {back.from_version}: {back.reason}")
    lines.append(answer.reason)
    if answer.before:
        lines.append(f"before it: version {answer.before.version}, since {_moment(answer.before.since)}")
    return Group(Text("\n".join(lines)), Text(), _drops(answer.drops), render_graph(answer.path))


def render_model(answer: lineage.ModelDetail) -> RenderableType:
    """A model's verdict, metrics and origin."""
    report = answer.report
    model = answer.model
    head = [
        f"{lineage.name_model(model)} of night {model.night}, made by {model.run_id}, {model.uri}",
        ("serves now; " if answer.is_serving else "") + (report.reason or report.error or report.state),
        f"champion before: {answer.champion_before or 'none'}, after: {answer.champion_after or 'none'}",
    ]
    parts: list[RenderableType] = [Text("\n".join(head)), Text()]
    if report.checks:
        table = _table("check", "value", "95 % interval", "limit", "")
        for check in report.checks:
            mark = Text("ok", style="green") if check.passed else Text("FAILED", style="red")
            between = "-" if check.low is None or check.high is None else f"{check.low:.3f} to {check.high:.3f}"
            table.add_row(check.name, _number(check.value), between, _number(check.limit), mark)
        parts.append(table)
    if answer.metrics:
        table = _table("metric", "candidate", "champion", "LR", "majority", "champion, fresh")
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


def render_drop(answer: lineage.Recall) -> RenderableType:
    """A drop and what was trained on it."""
    table = _table("night", "model", "drop", "serves")
    for taint in answer.taints:
        if "trained-on" in taint.ways:
            versions = ", ".join(f"v{version}" for version in taint.drop_versions)
            table.add_row(
                taint.model.night, lineage.name_model(taint.model), versions, "yes" if taint.is_serving else ""
            )
    versions = ", ".join(f"v{version}" for version in answer.versions)
    return Group(Text(f"Drop of night {answer.night}: {versions}. Trained on it:"), table)


def render_recall(answer: lineage.Recall) -> RenderableType:
    """Every model that a drop touched, and what to know for acting on it."""
    table = _table("night", "model", "serves", "touched", "on the way")
    for taint in answer.taints:
        first = (taint.model.night, lineage.name_model(taint.model), "yes" if taint.is_serving else "")
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
    if answer.summary and answer.summary.reason:
        kind = answer.summary.state
        parts.append(Text.assemble((kind, _COLOURS.get(kind, "")), ": ", answer.summary.reason))
    if answer.scheduled:
        table = _table("run in Airflow", "state", "task", "state", "attempt", "")
        for scheduled in answer.scheduled:
            for number, task in enumerate(scheduled.tasks or (None,)):
                head = ("", "") if number else (scheduled.run_id, scheduled.state)
                cells = (task.name, task.state, str(task.attempt), task.reason) if task else ("", "", "", "")
                table.add_row(*head, *cells)
        parts += [Text(), table]
    for run in answer.runs:
        report = run.report
        parts += [Text(), Text(f"{report.run_id}: {report.state}; {report.error or report.reason}".rstrip("; "))]
        table = _table("node", "attempt", "state", "seconds", "execution", "")
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
    if answer.metrics:
        table = _table("metric", a, "95 % interval", b, "95 % interval", "difference")
        for name, (one, other) in answer.metrics.items():
            change = f"{other - one:+.3f}" if one is not None and other is not None else "-"
            intervals = [_between(model.intervals.get(name)) for model in (answer.a, answer.b)]
            table.add_row(name, _number(one), intervals[0], _number(other), intervals[1], change)
        parts.append(table)
    if answer.class_mix:
        table = _table("share of label", a, b)
        for label, shares in answer.class_mix.items():
            table.add_row(label, *("-" if share is None else f"{share:.1%}" for share in shares))
        parts.append(table)
    titles = ("data", "settings", "code", "libraries")
    return Group(*parts, *(_differences(title, getattr(answer, title), a, b) for title in titles))


def _differences(title: str, differences: Iterable[lineage.Difference], a: str, b: str) -> RenderableType:
    table = _table(title, a, b)
    for one in differences:
        table.add_row(one.name, _short(one.a), _short(one.b))
    return table if table.row_count else Text(f"{title}: the same", style="dim")


def render_history(answer: lineage.History) -> RenderableType:
    """A metric, a row for each night."""
    table = _table("night", "candidate", "champion", "LR", "majority", "champion, fresh", "LR, fresh", "verdict")
    for point in answer.points:
        verdict = "-" if point.blessed is None else "blessed" if point.blessed else "refused"
        values = (point.candidate, point.champion, point.lr, point.majority, point.fresh_champion, point.fresh_lr)
        table.add_row(point.night, *map(_number, values), verdict)
    return Group(Text(answer.metric), table)


def render_gaps(nights: Iterable[lineage.Gap], orphans: lineage.Orphans, airflow_asked: bool) -> RenderableType:
    """Nights without a verdict, and what no run answers for."""
    table = _table("night", "", "why")
    for gap in nights:
        table.add_row(gap.night, Text(gap.kind, style=_COLOURS.get(gap.kind, "")), gap.reason)
    sentences = [f"artifact {one.id} ({one.type}, {one.uri}) was made by nothing" for one in orphans.artifacts]
    sentences += [f"execution {one.id} ({one.node or one.type}) belongs to no run" for one in orphans.executions]
    gaps = table if table.row_count else Text("Every night from the first to the last came to a verdict.")
    sentences = sentences or ["No orphaned artifacts or executions."]
    if not airflow_asked:
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


def _drops(drops: Iterable[lineage.DropUse]) -> RenderableType:
    table = _table("drop", "version", "rows used", "quarantined", "folded", "files", "sha256")
    for drop in drops:
        table.add_row(
            drop.night,
            f"v{drop.version}",
            f"{drop.rows_used} of {drop.rows_in}",
            str(drop.rows_quarantined),
            str(drop.duplicates_folded),
            ", ".join(file.name for file in drop.files) or "-",
            drop.sha256[:12],
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, title in enumerate(columns):
        # Names must stay whole to be copied; what explains may wrap.
        table.add_column(title, no_wrap=number == 0, overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _between(interval: tuple[float, float] | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-"


def _short(value: str | None) -> str:
    return "-" if value is None else value if len(value) <= _SHORT else f"{value[:_SHORT]}..."


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
