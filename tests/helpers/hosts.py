"""Free ports, and hosts with networks of their own: network namespaces on a bridge."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

# Every worker of pytest has hosts of its own.
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_BRIDGE = f"tfxdistill{_NUMBER}"


def lacking() -> str | None:
    """What this machine lacks to make hosts, or None."""
    if os.geteuid():
        return "root, for networks of its own"
    return next((each for each in ("ip", "unshare", "nsenter") if not shutil.which(each)), None)


@dataclass(frozen=True)
class Host:
    """Another machine, as far as the network goes.

    Attributes:
      address: Of it.
      enter: Begins a command there.
    """

    address: str
    enter: tuple[str, ...]


# This machine, on the bridge.
HERE = Host(f"10.213.{_NUMBER}.1", ())


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Hosts that reach each other and this machine, which is HERE."""
    if Path("/sys/class/net", _BRIDGE).exists():
        _ip("link", "delete", _BRIDGE)  # Of a test that was killed.
    with ExitStack() as stack:
        _ip("link", "add", _BRIDGE, "type", "bridge")
        stack.callback(_ip, "link", "delete", _BRIDGE)
        _ip("address", "add", f"{HERE.address}/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        found = []
        for number in range(1, count + 1):
            holder = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
                stdout=subprocess.PIPE,
            )
            stack.callback(holder.wait)
            stack.callback(holder.terminate)
            assert holder.stdout is not None
            holder.stdout.readline()  # It has its network by now.
            enter = ("nsenter", f"--target={holder.pid}", "--net")
            host = Host(f"{HERE.address.rpartition('.')[0]}.{number + 1}", enter)
            ends = (f"{_BRIDGE}-{number}", "eth0")
            peer = ("peer", "name", ends[1], "netns", str(holder.pid))
            _ip("link", "add", ends[0], "type", "veth", *peer)
            _ip("link", "set", ends[0], "master", _BRIDGE, "up")
            for command in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{host.address}/24", "dev", ends[1]),
                ("link", "set", ends[1], "up"),
            ):
                _ip(*command, enter=enter)
            found.append(host)
        yield found


def _ip(*words: str, enter: Sequence[str] = ()) -> None:
    subprocess.run([*enter, "ip", *words], check=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]
