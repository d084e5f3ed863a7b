"""deploy/: each name in it is one that the service knows, and its parts fit together. Nothing of it is run here."""

import ast
import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import typer
import yaml
from packaging.utils import canonicalize_name

from adapters.observability.tracing.tracer import FLUSH_SECONDS
from adapters.observability.version import VERSION
from adapters.runtime.service import JOIN_SECONDS, ProcessRole
from adapters.settings import PREFIX, Settings, check_api_is_closed, read_settings
from app import app
from scripts.runtime_lock import PYTHONS, RUNTIME_LOCK, runtime_lock
from tests.support.promql import missing, series_of
from tests.support.signals import (
    DEPLOY,
    everything_that_can_be_exported,
)

ROOT: Final = DEPLOY.parent
KUBERNETES: Final = DEPLOY / "kubernetes"
IMAGE: Final = "order-cashback-integration"
PORT: Final = 8080
COMMANDS: Final = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group has commands
THREADS: Final = 2
"""A process with one role has no more to wait for: intake, and the copier of dead letters."""


class Container(NamedTuple):
    """One of our own, wherever it's described."""

    where: str
    arguments: list[str]
    environment: dict[str, str]
    stop_seconds: float
    """From the signal to the kill."""
    is_service: bool


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text("utf-8")) if each is not None]


def manifests() -> list[dict[str, Any]]:
    return [each for path in sorted(KUBERNETES.rglob("*.yaml")) for each in documents(path)]


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [each for each in manifests() if each["kind"] in kinds]


def compose() -> dict[str, Any]:
    """With a value for everything that must be given."""
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    assert yaml.safe_load(text), "before anything is put in: compose reads it so"
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", re.sub(r"\$\{\w+:\?[^}]*\}", "given-by-whoever-starts-it", text))
    assert "${" not in text
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def dockerfile() -> list[tuple[str, str]]:
    """Instruction and arguments."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def environment_of_image() -> dict[str, str]:
    pairs = [pair for word, rest in dockerfile() if word == "ENV" for pair in shlex.split(rest)]
    return {name: value.replace("${BUILD}", "abc") for name, _, value in (pair.partition("=") for pair in pairs)}


def containers() -> Iterator[Container]:
    for name, service in compose()["services"].items():
        if service["image"].startswith(IMAGE):
            seconds = float(service["stop_grace_period"].removesuffix("s"))
            yield Container(
                f"compose {name}", service["command"], service["environment"], seconds, name in set(ProcessRole)
            )
    configured = {each["metadata"]["name"]: each for each in of_kind("ConfigMap")}
    secrets = {each["metadata"]["name"]: each for each in of_kind("Secret")}
    for each in of_kind("Deployment", "Job"):
        pod = each["spec"]["template"]["spec"]
        for container in pod["containers"]:
            environment: dict[str, str] = {}
            for source in container["envFrom"]:
                if "configMapRef" in source:
                    environment |= configured[source["configMapRef"]["name"]]["data"]
                else:
                    environment |= secrets[source["secretRef"]["name"]]["stringData"]
            seconds = float(pod.get("terminationGracePeriodSeconds", 30)) - pre_stop_seconds(container)
            where, is_service = each["metadata"]["name"], each["kind"] == "Deployment"
            yield Container(where, container["args"], environment, seconds, is_service)


def pre_stop_seconds(container: Mapping[str, Any]) -> float:
    command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    assert command[0] == "sleep"
    return float(command[1])


ALL: Final = list(containers())
every_container = pytest.mark.parametrize("container", ALL, ids=lambda each: each.where)


def settings_of(container: Container, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    for name, value in (environment_of_image() | container.environment).items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    return read_settings(None)


def test_every_role_is_deployed_in_both_ways() -> None:
    """And the schema is made by both."""
    found = [each.where for each in ALL]
    assert {f"compose {role}" for role in ProcessRole} | {f"order-cashback-{role}" for role in ProcessRole} <= set(
        found
    )
    assert {"compose migrate", "order-cashback-migrate"} <= set(found)


@every_container
def test_every_variable_is_a_setting_and_the_service_takes_its_value(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable with a slip in its name would be ignored in silence."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {name for name in environment_of_image() | container.environment if name.startswith(PREFIX)}
    assert given <= known
    settings = settings_of(container, monkeypatch)
    check_api_is_closed(settings)
    assert settings.api_host == "0.0.0.0"
    assert (settings.api_port, settings.probes_port) == (PORT, PORT)


@every_container
def test_every_command_and_its_options_exist(container: Container) -> None:
    """As the command line reads them, without running them."""
    name, *arguments = container.arguments
    command = COMMANDS[name]
    context = command.make_context(name, list(arguments))
    if name == "serve":
        assert {role.strip() for role in context.params["only"].split(",")} <= set(ProcessRole)
        assert container.where.endswith(context.params["only"])


@every_container
def test_a_container_has_the_time_to_stop_that_its_service_needs(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draining, then the threads, then the last traces; less what passes before it's told to stop."""
    if container.is_service:
        needed = (
            settings_of(container, monkeypatch).shutdown_timeout_seconds + THREADS * JOIN_SECONDS + FLUSH_SECONDS
        )
        assert container.stop_seconds >= needed


def test_probes_scraping_and_services_lead_to_the_port_that_is_listened_on() -> None:
    """The liveness probe asks whether a restart helps, the readiness probe whether to wait."""
    for each in of_kind("Deployment"):
        template = each["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert container["ports"] == [{"name": "http", "containerPort": PORT}]
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            assert container[probe]["httpGet"] == {"path": path, "port": "http"}
        annotations = template["metadata"]["annotations"]
        assert annotations == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(PORT),
            "prometheus.io/path": "/metrics",
        }
    for each in of_kind("Service"):
        assert [port["targetPort"] for port in each["spec"]["ports"]] == ["http"]
    scraped = documents(DEPLOY / "prometheus" / "prometheus.yaml")[0]["scrape_configs"][0]["static_configs"][0]
    assert set(scraped["targets"]) == {f"{role}:{PORT}" for role in ProcessRole}


def test_selectors_and_references_find_what_they_mean() -> None:
    """A disruption budget, a service or a scaler of nobody would do nothing, and say nothing."""
    labels = {}
    for each in of_kind("Deployment"):
        of_pods = each["spec"]["template"]["metadata"]["labels"]
        assert each["spec"]["selector"]["matchLabels"] == of_pods
        labels[each["metadata"]["name"]] = of_pods
    assert {name.removeprefix("order-cashback-") for name in labels} == set(ProcessRole)
    budgets = {
        each["metadata"]["name"]: each["spec"]["selector"]["matchLabels"] for each in of_kind("PodDisruptionBudget")
    }
    assert budgets == labels
    assert [each["spec"]["selector"] for each in of_kind("Service")] == [labels["order-cashback-api"]]
    assert {each["spec"]["scaleTargetRef"]["name"] for each in of_kind("ScaledObject")} <= set(labels)
    accounts = {each["metadata"]["name"] for each in of_kind("ServiceAccount")}
    for each in of_kind("Deployment", "Job"):
        assert each["spec"]["template"]["spec"]["serviceAccountName"] in accounts
    for path in KUBERNETES.rglob("kustomization.yaml"):
        for resource in documents(path)[0]["resources"]:
            assert (path.parent / resource).exists()


def test_intake_and_push_are_scaled_by_what_lags_behind() -> None:
    """Intake by the group's lag in Kafka, push by the calls that wait; both keep more than one."""
    scalers = {each["spec"]["scaleTargetRef"]["name"]: each["spec"] for each in of_kind("ScaledObject")}
    intake, push = (scalers[f"order-cashback-{role}"] for role in (ProcessRole.INTAKE, ProcessRole.PUSH))
    for scaler in (intake, push):
        assert 2 <= scaler["minReplicaCount"] < scaler["maxReplicaCount"]
    (lag,) = intake["triggers"]
    assert (lag["type"], int(lag["metadata"]["lagThreshold"]) > 0) == ("kafka", True)
    (waiting,) = push["triggers"]
    assert waiting["type"] == "prometheus"
    assert "cashback_orders_waiting" in waiting["metadata"]["query"]
    partitions = re.search(r"--partitions (\d+)", str(compose()["services"]["topic"]["command"]))
    assert partitions
    assert intake["maxReplicaCount"] <= int(partitions[1])


def test_the_scaler_of_intake_reads_the_settings_that_intake_reads() -> None:
    """Without a group or a topic of its own to go wrong."""
    configured = of_kind("ConfigMap")[0]["data"]
    triggers = [trigger for each in of_kind("ScaledObject") for trigger in each["spec"]["triggers"]]
    named = {
        value for trigger in triggers for name, value in trigger["metadata"].items() if name.endswith("FromEnv")
    }
    assert named == {"CASHBACK_KAFKA_BOOTSTRAP", "CASHBACK_KAFKA_GROUP", "CASHBACK_KAFKA_TOPIC"}
    assert named <= configured.keys()
    queries = [trigger["metadata"]["query"] for trigger in triggers if trigger["type"] == "prometheus"]
    assert len(queries) == 1
    assert missing(queries, series_of(everything_that_can_be_exported())) == []


def test_nobody_is_root_and_nothing_can_be_written_but_what_is_temporary() -> None:
    """In the cluster and on one machine."""
    user = next(rest for word, rest in dockerfile() if word == "USER")
    assert user == "10001:10001"
    for each in of_kind("Deployment", "Job"):
        pod = each["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
    for service in compose()["services"].values():
        if service["image"].startswith(IMAGE):
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_every_part_of_the_composition_that_is_waited_for_can_be() -> None:
    """For its health, or for its end."""
    services = compose()["services"]
    for name, service in services.items():
        waited = service.get("depends_on", {})
        for other, how in waited.items() if isinstance(waited, dict) else ():
            assert other in services, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other]
            if how["condition"] == "service_completed_successfully":
                assert services[other].get("restart", "no") == "no"
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose()["volumes"]


def test_the_image_is_made_of_what_is_there_in_two_stages() -> None:
    """By its packages' hashes; a Python that the project takes; a healthcheck on the port that's exposed."""
    instructions = dockerfile()
    assert [rest.split(" AS ")[1:] for word, rest in instructions if word == "FROM"] == [["packages"], []]
    for word, rest in instructions:
        if word == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources)
    (install,) = [rest for word, rest in instructions if word == "RUN" and "pip install" in rest]
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(install.split())
    bases = [rest.partition(" AS ")[0] for word, rest in instructions if word == "FROM"]
    assert bases == ["${PYTHON_IMAGE}"] * 2, "one base, which a release names by its digest"
    python = re.fullmatch(r"PYTHON_IMAGE=python:(\d+\.\d+)-slim", dict(instructions[:1])["ARG"])
    assert python is not None
    assert python[1] in PYTHONS
    by_word = dict(instructions)
    assert by_word["EXPOSE"] == str(PORT)
    assert f"127.0.0.1:{PORT}/livez" in by_word["HEALTHCHECK"]
    assert json.loads(by_word["ENTRYPOINT"]) == ["python", "app.py"]
    assert json.loads(by_word["CMD"])[0] in COMMANDS
    copied = {source for word, rest in instructions if word == "COPY" for source in rest.split()[:-1]}
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert {f"!{each}" for each in copied if not each.startswith(("--", "/"))} == {
        each for each in allowed if each.startswith("!")
    }


def test_the_image_has_the_version_that_this_is() -> None:
    """Wherever a tag is written."""
    written = [path for path in DEPLOY.rglob("*") if path.is_file()] + [ROOT / "docs" / "deploying.md"]
    tags = [re.findall(rf"{IMAGE}:([\w.]+)", path.read_text("utf-8")) for path in written]
    kustomized = [image["newTag"] for each in of_kind("Kustomization") for image in each.get("images", ())]
    assert tags[-1]
    assert {*chain(*tags), *kustomized} == {VERSION}


def test_the_changelog_tells_what_is_new_in_the_version_that_this_is() -> None:
    """And when it was cut; above it stands what isn't released yet."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(VERSION)} - \d{{4}}-\d\d-\d\d", headings[1])


def test_the_image_s_packages_are_what_the_lock_says() -> None:
    """`python -m scripts.runtime_lock` writes them, after each change of requirements.lock."""
    assert RUNTIME_LOCK.read_text("utf-8") == runtime_lock()


def test_everything_that_the_service_imports_is_among_the_image_s_packages() -> None:
    """On a developer's machine it would be there anyway, because of the tools."""
    of_modules = packages_distributions()
    packages = {
        canonicalize_name(each)
        for each in re.findall(r"^([\w.-]+)==", RUNTIME_LOCK.read_text("utf-8"), re.MULTILINE)
    }
    ours = {"app", "domain", "projections", "adapters", "sandbox"}
    files = [ROOT / "app.py", *(path for name in ours - {"app", "sandbox"} for path in (ROOT / name).rglob("*.py"))]
    for path in files:
        for module in imported(path) - ours - sys.stdlib_module_names:
            assert {canonicalize_name(each) for each in of_modules[module]} & packages, f"{path}: {module}"


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names
