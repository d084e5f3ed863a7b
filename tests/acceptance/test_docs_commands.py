"""Every command in the README and in docs/ is typed by a test, page by page, or stands in NOT_RUN with a reason."""

import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import typer

from app import app
from sandbox.servers.free_port import free_port
from tests.support.clusters import Cluster
from tests.support.docs_scenes import (
    FOUR_TOPICS,
    LEFT_AS,
    MEANWHILE,
    SCENES,
    SETTINGS,
    TUTORIAL,
    an_order,
    nothing,
)
from tests.support.docs_stage import Stage
from tests.support.documents import ROOT, Block, Typed, pages, pattern, runnable_blocks, typed
from tests.support.processes import Apps, bare_environment
from tests.support.sandbox_process import Sandbox, start_sandbox
from tests.support.shells import Result, Shell

pytestmark = pytest.mark.slow

COMMANDS: Final = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group has commands
AGAIN_SECONDS: Final = 30.0
PAGE_SECONDS: Final = 300
POLL_INTERVAL_SECONDS: Final = 0.2
USUAL_TOPIC: Final = "order-cashback-promotion"


class NotRun(NamedTuple):
    """Commands of a page that begin so are only looked at: files and options that they name are there."""

    page: str
    beginning: str
    because: str


NOT_RUN: Final = (
    NotRun("docs/command-line.md", "", "each command has tests of its own; the commands of how-tos are run"),
    NotRun("README.md", "make test", "this is one of its tests"),
    NotRun("README.md", "make demo", "tests/acceptance/test_demo.py runs it, with fewer orders"),
    NotRun("docs/operating.md", "make demo", "tests/acceptance/test_demo.py runs these, with fewer orders"),
    NotRun("docs/deploying.md", "docker ", "no containers where the tests run"),
    NotRun("docs/deploying.md", "export POSTGRES_PASSWORD", "for docker"),
    NotRun("docs/deploying.md", "kubectl ", "no cluster where the tests run"),
    NotRun(
        "docs/runbooks/add-partitions.md", "kafka-topics.sh ", "Kafka's own; test_apache_kafka.py does the same"
    ),
)
"""Nothing else may be left out."""

# Ends only when it's told to; it's left running once it has written this.
LEFT_RUNNING: Final = {
    r"make demo(?!.*--exit)": r"calls [1-9]",
    r"(\w+=\S+ )*\S*python app\.py serve": r'"event": "(reading|listening)"',
}
ASKS: Final = r"\S*python app\.py replay-many (?!.*(--dry-run|--yes|--token))"
ONLY_LOOKS: Final = (
    r'curl -s "\$(API|CASHBACK_THIRD_PARTY_URL)\S*"(?! -)'
    r"|\S*python app\.py (order|orders|parked|status|reconcile|rebuild .*--check)\b"
)
"""Typed again while it doesn't show what the page says: so would a reader do."""
KEPT: Final = {
    "TOKEN": r'"token": ?"([\w-]+)"|^token: +(\S+)',
    "ID": r'"id": ?"([0-9a-f]{8}-[0-9a-f-]{27})"',
}
"""What a reader copies out of an answer, by the variable that the page has for it."""

# The tests.


@pytest.fixture(scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One for all pages; its books are emptied for each."""
    with Apps(tmp_path_factory.mktemp("third-party"), {}) as apps:
        yield start_sandbox(apps)


PAGES: Final = [page for page in pages() if runnable_blocks(page)]


@pytest.mark.timeout(PAGE_SECONDS)
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_do_what_it_says(
    page: str, tmp_path: Path, database_url: str, broker: Cluster, topic: Callable[..., str], third_party: Sandbox
) -> None:
    """Typed in their order, each with its exit code, and with the output that the page shows."""
    commands = [
        (block, each) for block in runnable_blocks(page) for each in typed(block) if not not_run(page, each)
    ]
    if not commands:
        return
    stage = Stage(tmp_path, database_url, broker.bootstrap, topic(2), third_party, SETTINGS.get(page, {}).copy())
    third_party.reset()
    try:
        shell = stage.open_shell(environment_of(page, stage))
        SCENES.get(page, an_order)(stage)
        for block, command in commands:
            for each in MEANWHILE:
                if each.page == page and re.match(each.beginning, command.text):
                    stage.database_url = shell.run("echo $CASHBACK_DATABASE_URL").output.strip()
                    each.happens(stage)
                    if each.ends_what_runs:
                        shell.stop_background()
            do(shell, stage, block, command)
        LEFT_AS.get(page, nothing)(stage)
        written = shell.stop_background()
        assert page != TUTORIAL or "all stopped after" in written[0]
    finally:
        stage.close()


def environment_of(page: str, stage: Stage) -> dict[str, str]:
    """The service's settings; in the tutorial there are none, but for a folder of the demo's own."""
    if page == TUTORIAL:
        return {"CASHBACK_DEMO_FOLDER": str(stage.folder / "demo")}
    more = {"CASHBACK_PROBES_PORT": str(free_port())} if page == FOUR_TOPICS else {}
    return bare_environment(stage.settings) | more


def do(shell: Shell, stage: Stage, block: Block, command: Typed) -> None:
    text = command.text if block.page == TUTORIAL else as_typed_here(command.text, stage)
    for beginning, until in LEFT_RUNNING.items():
        if re.match(beginning, text):
            shell.stop_background()
            written = shell.start(text, until)
            assert pattern(command.expected or "").match(written), f"{block}: {text}\nwrote:\n{written}"
            return
    stage.settle()
    if re.match(ASKS, text):
        shell.answer("y\n")
    result = shell.run(text)
    deadline = time.monotonic() + AGAIN_SECONDS
    while not is_as_shown(result, command) and re.match(ONLY_LOOKS, text) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_SECONDS)
        result = shell.run(text)
    assert result.exit_code == 0, f"{block}: {text}\n{result.output}\n{result.complaints}"
    assert is_as_shown(result, command), f"{block}: {text}\nwrote:\n{result.output}\nnot:\n{command.expected}"
    for name, wanted in KEPT.items():
        if found := re.search(wanted, result.output, re.MULTILINE):
            shell.run(f"{name}={next(filter(None, found.groups()))}")


def is_as_shown(result: Result, command: Typed) -> bool:
    """The end of the last line may be missing: on a terminal nobody sees it."""
    written = result.output if result.output.endswith("\n") else result.output + "\n"
    return result.exit_code == 0 and (not command.expected or bool(pattern(command.expected).fullmatch(written)))


def as_typed_here(text: str, stage: Stage) -> str:
    """With our servers in the place of those that pages have for an example."""
    for example, here in {
        "http://localhost:8080": f"http://localhost:{stage.api_port}",
        "postgresql://cashback:secret@db.example/cashback": stage.database_url,
        "kafka-1.example:9092,kafka-2.example:9092": stage.bootstrap,
        "https://cashback.example": stage.third_party.url,
        USUAL_TOPIC: stage.topic,
    }.items():
        text = text.replace(example, here)
    return text


def not_run(page: str, command: Typed) -> NotRun | None:
    return next((each for each in NOT_RUN if each.page == page and command.text.startswith(each.beginning)), None)


def test_what_is_not_run_is_there_and_names_files_and_options_that_are_there() -> None:
    """An exception for a command that has gone would let another one pass."""
    used = set()
    for page in PAGES:
        for block in runnable_blocks(page):
            for command in typed(block):
                exception = not_run(page, command)
                if exception is not None:
                    used.add(exception)
                    look_at(block, command.text)
    assert used == set(NOT_RUN)


def look_at(block: Block, text: str) -> None:
    words = shlex.split(text, comments=True)
    for word in words:
        if re.match(r"(deploy|docs|scripts|tests)/", word):
            assert (ROOT / word).exists(), f"{block}: {word}"
    if words[:2] == ["make", "demo"]:
        arguments = " ".join(word.removeprefix("ARGS=") for word in words if word.startswith("ARGS="))
        words = ["app.py", "demo", *shlex.split(arguments)]
    if "app.py" in words:
        name, *options = words[words.index("app.py") + 1 : words.index("|") if "|" in words else None]
        COMMANDS[name].make_context(name, options)
