"""A real browser for the tests of the console: Chromium's headless shell, driven by Playwright.

Playwright's own browsers come from a server that not every machine reaches. The same program comes as an npm
package, made for machines without libraries of their own: it starts on any Linux on x86-64, without root. `fetch()`
gets it by `npm pack`, from wherever npm is configured to get packages, with fonts and with axe-core, which looks
for faults of accessibility; each of them once, and by its digest.

CASHBACK_TEST_BROWSER names an installed Chromium to use instead; npm is still needed for axe-core.
"""

import base64
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sandbox.servers.supervisor import PartError

NAME: Final = "Chromium"
FOLDER: Final = Path(__file__).parents[2] / "var" / "browser"
GIVEN_VARIABLE: Final = "CASHBACK_TEST_BROWSER"
FETCH_SECONDS: Final = 600.0
UNPACK_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Package:
    """Of npm, with the digest that npm's own lock files would have."""

    name: str
    version: str
    integrity: str


CHROMIUM: Final = Package(
    "@sparticuz/chromium",
    "153.0.0",
    "sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==",
)
AXE: Final = Package(
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)
FONTS: Final = Package(
    "dejavu-fonts-ttf",
    "2.37.3",
    "sha512-f1hd7jJbeQa1VWcw+K2KrTXS50zTMaHpVC4XIKJpNcDeYR5ajMtj/iLlQDYNvLOKamUB3ARVVCf79lNwNVztSQ==",
)
_FONTS_CONFIG: Final = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{fonts}</dir>
  <cachedir>{folder}/fonts-cache</cachedir>
  <alias binding="same"><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
  <match><edit name="family" mode="append_last"><string>DejaVu Sans</string></edit></match>
</fontconfig>
"""
# Node, which npm runs on, is what can unpack Brotli on every machine that has npm.
_UNPACK: Final = """
const { createReadStream, createWriteStream } = require("fs"), { createBrotliDecompress } = require("zlib");
const [from, to] = process.argv.slice(1);
require("stream").pipeline(createReadStream(from), createBrotliDecompress(), createWriteStream(to),
  (error) => { if (error) { console.error(String(error)); process.exit(1); } });
"""


@dataclass(frozen=True)
class Browser:
    """What Playwright is to start, and how."""

    executable: Path
    axe: Path
    """The script that finds faults of accessibility."""
    arguments: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)


def missing() -> str | None:
    """What the machine lacks for tests in a browser; None if nothing."""
    if find_spec("playwright") is None:
        return "not installed: playwright"
    absent = [program for program in ("npm", "node") if shutil.which(program) is None]
    if absent:
        return f"not on this machine: {', '.join(absent)}"
    if not os.environ.get(GIVEN_VARIABLE) and (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"no browser for {platform.system()} on {platform.machine()}: {GIVEN_VARIABLE} can name one"
    return None


def fetch(folder: Path = FOLDER) -> Browser:
    """The browser, fetched unless it is there. Raises PartError."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        axe = _unpacked(AXE, folder) / "axe.min.js"
        given = os.environ.get(GIVEN_VARIABLE)
        if given:
            return Browser(Path(given), axe)
        fonts = _unpacked(FONTS, folder)
        package = _unpacked(CHROMIUM, folder)
        program = package / "chromium"
        if not program.exists():
            _unpack_program(package)
        config = folder / "fonts.conf"
        config.write_text(_FONTS_CONFIG.format(fonts=fonts, folder=folder), "utf-8")
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "FONTCONFIG_FILE": str(config),
        "LD_LIBRARY_PATH": str(package / "lib"),
    }
    # Its own sandbox needs privileges that a container hasn't got; the only pages that it sees are ours.
    return Browser(program, axe, ("--no-sandbox", "--disable-gpu", "--font-render-hinting=none"), environment)


def _unpacked(package: Package, folder: Path) -> Path:
    """The folder with the package's files."""
    place = folder / f"{package.name.replace('/', '-').lstrip('@')}-{package.version}"
    if place.exists():
        return place
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    _run(["npm", "pack", "--silent", f"{package.name}@{package.version}"], new, FETCH_SECONDS, package.name)
    (archive,) = new.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        raise PartError(NAME, f"{package.name} {package.version} isn't what it was: its digest is another")
    with tarfile.open(archive) as files:
        files.extractall(new, filter="data")
    (new / "package").rename(place)
    shutil.rmtree(new)
    return place


def _unpack_program(package: Path) -> None:
    """The program last: where it is, all is there."""
    libraries = package / "libraries.tar"
    _run(["node", "-e", _UNPACK, package / "bin" / "al2023.tar.br", libraries], package, UNPACK_SECONDS, NAME)
    with tarfile.open(libraries) as files:
        files.extractall(package, filter="data")
    libraries.unlink()
    program = package / "chromium.new"
    _run(["node", "-e", _UNPACK, package / "bin" / "chromium.br", program], package, UNPACK_SECONDS, NAME)
    program.chmod(0o755)
    program.rename(package / "chromium")


def _run(command: Sequence[str | Path], folder: Path, seconds: float, what: str) -> None:
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PartError(NAME, f"{what} could not be fetched within {seconds:.0f} s") from error
    except OSError as error:
        raise PartError(NAME, f"{what}: {command[0]} can't be run: {error.strerror}") from error
    if result.returncode != 0:
        raise PartError(NAME, f"{what} could not be fetched", result.stdout.decode("utf-8", "replace")[-2000:])
