"""A server of the sandbox: a child process over a folder of its own, started, watched and stopped in one way."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Final, Self

from sandbox.servers.free_port import free_port
from sandbox.servers.supervisor import POLL_INTERVAL_SECONDS, STOP_SECONDS, Child, Command, PartError

PORT_ATTEMPTS: Final = 5


class ChildServer(ABC):
    """Each kind says how its folder is prepared, what to run, when it answers, and what to clean up after it."""

    name: ClassVar[str]
    """For people."""
    ready_seconds: ClassVar[float]
    port_taken: ClassVar[str]
    """What the end of its log says when another program listens on its port."""

    def __init__(self, folder: Path, log_name: str, *, find_port: Callable[[], int] = free_port) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / log_name
        self._find_port = find_port
        self._child: Child | None = None
        self._address = ""

    @property
    def address(self) -> str:
        """Only after `start`."""
        assert self._address, "not started"
        return self._address

    @property
    def pid(self) -> int:
        assert self._child, "not started"
        return self._child.pid

    def start(self, port: int | None = None) -> str:
        """Returns `address` when it answers there, on the port given, or a free one. Raises PartError."""
        assert self._child is None, "started already"
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            try:
                self._prepare()
                self._address = self._launch(port)
            except OSError as error:
                raise PartError(self.name, f"can't use the folder {self.folder}: {error}") from error
            on_failure.pop_all()
        return self._address

    def stop(self, within_seconds: float = STOP_SECONDS) -> None:
        """Asks it to end, and kills it when that takes too long. Does nothing when it is stopped already."""
        if self._child is not None:
            self._child.stop(within_seconds)
            self._child = None
        self._address = ""

    def check(self) -> None:
        """Raises PartError if it has ended on its own."""
        if self._child is not None:
            self._child.check()

    @abstractmethod
    def reset(self) -> None:
        """Forgets what earlier starts have kept. Only while it is stopped."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> None:
        """Makes the folder ready. An OSError here, or in `_command`, is told as a PartError."""

    @abstractmethod
    def _command(self, port: int) -> Command: ...

    @abstractmethod
    def _refusal(self, port: int) -> str | None:
        """Why it doesn't answer yet; None when it does. Another's server on the port is not taken for it."""

    @abstractmethod
    def _address_at(self, port: int) -> str: ...

    def _launch(self, wanted: int | None) -> str:
        for _ in range(PORT_ATTEMPTS if wanted is None else 1):
            port = wanted or self._find_port()
            self._child = Child.start(self._command(port))
            if self._is_ready(self._child, port):
                return self._address_at(port)
            if self.port_taken not in self._child.log_tail():
                self._child.check()
            self._child.stop()
        raise PartError(
            self.name, "the port is taken" if wanted else f"found no free port in {PORT_ATTEMPTS} attempts"
        )

    def _is_ready(self, child: Child, port: int) -> bool:
        """Waits until it answers; False if it has ended before."""
        deadline = time.monotonic() + self.ready_seconds
        while child.alive:
            refusal = self._refusal(port)
            if refusal is None:
                return True
            if time.monotonic() > deadline:
                reason = f"no answer within {self.ready_seconds:.0f} s ({refusal})"
                raise PartError(self.name, reason, child.log_tail())
            time.sleep(POLL_INTERVAL_SECONDS)
        return False
