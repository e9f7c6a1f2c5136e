"""Every command that a document, a message or a page shows can be typed: each is read by the command it is for."""

import ast
import functools
import html
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from airflow.cli import cli_parser
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from headlines.command import show_on_page
from lineage import ArtifactRecord
from retraining.cli.main import app
from retraining.settings import CHECKOUT
from retraining.web.pages.model import show_curves

ROOMS = ("benchmarks", "dags", "headlines", "lineage", "modules", "plugins", "retraining", "serving", "tfx_components")
DOCUMENTS = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md"), CHECKOUT / ".env.example"]
TEMPLATES = sorted((CHECKOUT / "plugins" / "templates").rglob("*.html"))
SOURCES = [path for room in ROOMS for path in sorted((CHECKOUT / room).rglob("*.py"))]
GROUP: Any = typer.main.get_command(app)
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?((?:retraining|make) [a-z-].*)", re.DOTALL)
SCRIPTS = Path(sys.executable).parent


def stand_in(placeholder: str) -> str:
    """What a reader would put in the place of an expression or of `<what>`."""
    if re.search("night|missed|newest|due", placeholder):
        return "2022-02-01"
    if re.search("version|good", placeholder):
        return "2022020101"
    return "1" if "slots" in placeholder else "x"


def fill_in(text: str) -> str:
    """A command as a reader types it."""
    text = re.sub(r"\b(D|FROM|TO|NIGHT|YYYY-MM-DD)\b", "2022-02-01", re.sub(r"\bVERSION\b", "2022020101", text))
    text = re.sub(r"<([^<>|]+)>", lambda match: stand_in(match[1]), text)
    return " ".join(text.split())


def find_commands(text: str) -> Iterator[str]:
    """The commands among some pieces of text, each of which is one or something else."""
    found = COMMAND.fullmatch(text.strip())
    if found:
        yield fill_in(found[1])


def find_in_document(text: str) -> Iterator[str]:
    """In backticks, or on a line of its own in a fenced block, where a remark may follow it."""
    for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            yield from find_commands(re.split(r"\s{2,}|\s# ", line.strip())[0])
    for span in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        yield from find_commands(span)


def read_strings(path: Path) -> Iterator[str]:
    """Every string of a file, with what stands in for the expressions in it."""
    tree = ast.parse(path.read_text())
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else stand_in(ast.unparse(part))
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def find_in_source(path: Path) -> Iterator[str]:
    """In backticks."""
    for text in read_strings(path):
        for span in re.findall(r"`([^`]+)`", text):
            yield from find_commands(span)


def find_examples(command: Any) -> Iterator[str]:
    """At the end of the help of a command and of all below it."""
    if command.epilog:
        yield from find_commands(re.sub(r"^.*\[bold\]\S*?(?=retraining )|\[/\]$", "", command.epilog))
    for inner in getattr(command, "commands", {}).values():
        yield from find_examples(inner)


def find_in_template(text: str) -> Iterator[str]:
    """As code."""
    for span in re.findall(r"<(?:code|pre)[^>]*>(.*?)</(?:code|pre)>", text, re.DOTALL):
        yield from find_commands(html.unescape(re.sub(r"{{(.*?)}}", lambda match: stand_in(match[1]), span)))


@functools.cache
def collect() -> dict[str, str]:
    """Every command that is shown anywhere, with the first file that shows it."""
    shown: dict[str, str] = {}
    for paths, find in (
        (DOCUMENTS, lambda path: find_in_document(path.read_text())),
        (SOURCES, find_in_source),
        (TEMPLATES, lambda path: find_in_template(path.read_text())),
    ):
        for path in paths:
            for command in find(path):
                shown.setdefault(command, path.relative_to(CHECKOUT).as_posix())
    for command in find_examples(GROUP):
        shown.setdefault(command, "--help")
    return shown


def split(command: str) -> list[str]:
    """The words of a command up to what a shell would do with its output, or to a remark."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word and set(word) <= set("|&;<>()"):
            break
        words.append(word)
    return words


def take(words: list[str]) -> None:
    """Has the command line of ours read a command, without running it; one that is only named may lack arguments.

    Raises:
      typer.BadParameter or its like: it does not take it.
    """
    named, command, context, rest = "retraining", GROUP, None, words
    while True:
        is_group = isinstance(command, typer.core.TyperGroup)
        if not rest and context is not None:
            return
        context = command.make_context(named, list(rest), parent=context)
        if not is_group:
            break
        named, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    if command.name == "exec" and context.params["command"][0] == "airflow":
        cli_parser.get_parser().parse_args(context.params["command"][1:])


def test_the_commands_are_found_wherever_they_are_shown() -> None:
    shown = collect()
    for command, place in {
        "retraining schema propose --night 2022-02-01": "README.md",
        "retraining lineage compare 2022-02-01 '#57'": "docs/lineage.md",
        "make bench-ingest": "docs/drops.md",
        "retraining drop FILE --night 2022-02-01 --correct": "tfx_components/headline_example_gen/driver.py",
        "retraining lineage recall 2022-02-02 --drop-version 1": "--help",
        "retraining backfill 2022-02-01 2022-02-01 --force": "plugins/templates/headlines/recall.html",
    }.items():
        assert command in shown, place
    assert {Path(place).suffix for place in shown.values()} >= {".md", ".py", ".html"}


@pytest.mark.parametrize("command", sorted(command for command in collect() if command.startswith("retraining ")))
def test_a_command_that_is_shown_is_one_that_can_be_typed(command: str) -> None:
    try:
        take(split(command)[1:])
    except (typer.Exit, SystemExit) as end:
        # That of --help, or of a parser.
        assert not getattr(end, "exit_code", getattr(end, "code", 0)), f"{collect()[command]}: {command}"
    except Exception as error:
        raise AssertionError(f"{collect()[command]} shows `{command}`: {getattr(error, 'message', error)}") from error


@pytest.mark.parametrize(
    "command",
    ["retraining run --nite 2022-02-01", "retraining ru", "retraining run --force", "retraining lineage modell x",
     "retraining backfill 2022-02-01", "retraining drop f --night yesterday", "retraining exec airflow dags explode"],
)  # fmt: skip
def test_one_that_was_invented_or_is_incomplete_would_be_noticed(command: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        take(split(command)[1:])


@pytest.mark.parametrize("command", sorted(command for command in collect() if command.startswith("make ")))
def test_a_make_target_that_is_shown_exists(command: str) -> None:
    done = subprocess.run(["make", "--dry-run", *split(command)[1:]], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, f"{collect()[command]}: {done.stderr}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_a_message_has_its_commands_in_backticks_by_which_they_are_shown_as_they_are_typed(path: Path) -> None:
    known = "|".join(GROUP.commands)
    for text in read_strings(path):
        if not COMMAND.fullmatch(text):
            assert not re.search(rf"(?<!-m )(?<![`\w./-])retraining ({known})\b", re.sub(r"`[^`]*`", "", text)), text


def test_a_page_has_its_commands_in_elements_by_which_they_are_shown_as_they_are_typed() -> None:
    for path in TEMPLATES:
        assert not re.search(r"(?<!<code>)(?<!<pre>)\b(retraining|make|tensorboard) [a-z-]+ ", path.read_text()), path
    page = show_on_page("<pre>retraining up</pre> <p>retraining runs; see `retraining logs x` &amp; `make setup`</p>")
    script = SCRIPTS / "retraining"
    assert page == (
        f"<pre>{script} up</pre> <p>retraining runs; see `{script} logs x` &amp; `make -C {CHECKOUT} setup`</p>"
    )
    # What a person wrote stays as it is: templates write its backticks so.
    assert show_on_page("<p>&#96;retraining up&#96;</p>") == "<p>&#96;retraining up&#96;</p>"


def type_in(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Types a line into bash, with nothing of ours on the PATH."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "STATE_DIR": str(folder / "state")}
    # Where this checkout is not the one that is installed, as when two of them share an environment.
    environment["PYTHONPATH"] = str(CHECKOUT)
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_what_the_readme_says_has_the_command_on_the_path_and_completes_it_in_bash(tmp_path: Path) -> None:
    [block] = re.findall(r"```sh\n(\. \.venv/bin/activate\n.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    asked = "COMP_WORDS=(retraining {}); COMP_CWORD={}; _retraining_completion retraining; echo ${{COMPREPLY[@]}}"
    for words, completed in (("lin", ["lineage"]), ("lineage rec", ["recall"]), ("replay --ni", ["--night"])):
        done = type_in(
            f"cd '{CHECKOUT}'; {block}\nretraining --version; " + asked.format(words, len(words.split())), tmp_path
        )
        version, *found = done.stdout.splitlines()
        assert re.fullmatch(r"retraining \d+\.\d+\.\d+(\.dev\d+)?", version), done.stderr
        assert [line.split() for line in found] == [completed]


def test_the_command_works_with_its_path_from_any_folder_and_what_it_says_to_type_works_there(tmp_path: Path) -> None:
    done = type_in(f"{SCRIPTS / 'retraining'} status", tmp_path)
    assert done.returncode == 1
    [said] = re.findall(r"`([^`]+ up)`", done.stdout)
    shown = type_in(f"{said} -h", tmp_path)
    assert shown.returncode == 0, shown.stderr
    [example] = re.findall(r"Example: (.*) up", " ".join(shown.stdout.split()))
    assert type_in(f"{example} up --help", tmp_path).returncode == 0


def test_every_command_takes_h_for_help() -> None:
    def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        yield words
        for name, inner in getattr(command, "commands", {}).items():
            yield from leaves(inner, (*words, name))

    for words in leaves(GROUP):
        with pytest.raises(typer.Exit) as end:
            take([*words, "-h"])
        assert end.value.exit_code == 0


def test_the_tensorboard_command_of_the_model_page_starts_and_shows_the_curves(tmp_path: Path) -> None:
    curves = tmp_path / "a model's run" / "train"
    writer = EventFileWriter(str(curves))
    writer.add_event(Event(step=1, summary=Summary(value=[Summary.Value(tag="loss", simple_value=0.5)])))
    writer.close()
    run = ArtifactRecord(1, str(curves.parent), {})
    command = show_curves(run)
    shown = html.unescape(re.sub("<[^>]+>", "", show_on_page(f"<code>{html.escape(command)}</code>")))

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    process = subprocess.Popen(
        ["bash", "-c", f"exec {shown} --port {port}"],
        cwd=folder,
        env={**os.environ, "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                tags = httpx.get(f"http://127.0.0.1:{port}/data/plugin/scalars/tags", timeout=10).json()
                if tags:
                    break
            except httpx.TransportError:
                assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.3)
        assert list(tags["train"]) == ["loss"]
    finally:
        process.kill()
        process.communicate()
