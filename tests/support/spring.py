"""A publisher with Spring Kafka (tests/jvm), in a JVM of its own."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from sandbox.servers.apache_kafka import fetch

SOURCES: Final = Path(__file__).parents[1] / "jvm"
JARS: Final = Path(__file__).parents[2] / "var" / "spring-jars"
PUBLISH_SECONDS: Final = 120.0


def publish_with_spring(bootstrap: str, topic: str) -> dict[str, int]:
    """The order ids of what it publishes, by the names of the variants, in the order of publishing."""
    java = shutil.which("java")
    assert java is not None
    jars = fetch(JARS, SOURCES / "pom.xml")
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
    done = subprocess.run(
        [java, *options, SOURCES / "SpringPublisher.java", bootstrap, topic],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PUBLISH_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    variants = (line.split("\t", 1) for line in done.stdout.splitlines())
    return {name: int(order_id) for order_id, name in variants}
