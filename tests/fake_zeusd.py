"""A pretend zeusd: its HTTP API over a Unix socket, as the client of zeus 0.16 speaks it.

A daemon with the permission to set power limits serves a process without:

    with fake_zeusd.running(tmp_path / "zeusd", fake.environment) as environment:
        subprocess.run([...], env=os.environ | fake.environment | environment)

By hand: python tests/fake_zeusd.py SOCKET [GROUPS]; it says "ready".
"""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pynvml

if TYPE_CHECKING:
    from tests.fake_rapl import Powercap

GROUPS = "gpu-read,gpu-control"

_READ: dict[str, Callable[[Any], Any]] = {
    "get_cumulative_energy": lambda gpu: {
        "energy_mj": pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
    },
    "get_power": pynvml.nvmlDeviceGetPowerUsage,
    "get_power_limit": lambda gpu: {
        "power_limit_mw": pynvml.nvmlDeviceGetPowerManagementLimit(gpu)
    },
    "get_power_limit_constraints": lambda gpu: dict(
        zip(
            ("min_power_limit_mw", "max_power_limit_mw"),
            pynvml.nvmlDeviceGetPowerManagementLimitConstraints(gpu),
            strict=True,
        )
    ),
    "get_persistence_mode": lambda gpu: {"enabled": bool(pynvml.nvmlDeviceGetPersistenceMode(gpu))},
}
_CONTROL: dict[str, Callable[[Any, Mapping[str, str]], None]] = {
    "set_power_limit": lambda gpu, given: pynvml.nvmlDeviceSetPowerManagementLimit(
        gpu, int(given["power_limit_mw"])
    ),
    "set_persistence_mode": lambda gpu, given: pynvml.nvmlDeviceSetPersistenceMode(
        gpu, given["enabled"] == "true"
    ),
}
_STATUS = {pynvml.NVML_ERROR_NO_PERMISSION: 403, pynvml.NVML_ERROR_INVALID_ARGUMENT: 400}


class _Daemon(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(
        self, socket: str, groups: str, handler: type[BaseHTTPRequestHandler] | None = None
    ) -> None:
        super().__init__(socket, handler or _Handler)
        self.groups = groups.split(",")


class _Handler(BaseHTTPRequestHandler):
    server: _Daemon

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        operation = url.path.removeprefix("/gpu/")
        if operation == "/discover":
            self._answer(self._discover())
        elif operation == "/time":
            self._answer({"timestamp_ms": _now_ms()})
        elif operation in _READ and "gpu-read" in self.server.groups:
            status, values = self._each(url.query, lambda gpu, _: _READ[operation](gpu))
            if operation == "get_power" and status == 200:
                values = {"timestamp_ms": _now_ms(), "power_mw": values}
            self._answer(values, status)
        else:
            self._answer({"error": "not found"}, 404)

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        operation = url.path.removeprefix("/gpu/")
        if operation in _CONTROL and "gpu-control" in self.server.groups:
            status, values = self._each(url.query, _CONTROL[operation])
            self._answer({} if status == 200 else values, status)
        else:
            self._answer({"error": "not found"}, 404)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _discover(self) -> dict[str, Any]:
        gpus = range(pynvml.nvmlDeviceGetCount())
        return {
            "gpus": [{"id": i, "name": pynvml.nvmlDeviceGetName(_gpu(i))} for i in gpus],
            "cpus": [],
            "enabled_api_groups": self.server.groups,
            "auth_required": False,
        }

    def _each(
        self, query: str, call: Callable[[Any, Mapping[str, str]], Any]
    ) -> tuple[int, dict[str, Any]]:
        """Return the answer of a call for each GPU of a request; for all, if it names none."""
        given = dict(parse_qsl(query))
        named = given.get("gpu_ids")
        gpus = named.split(",") if named else range(pynvml.nvmlDeviceGetCount())
        values, errors, status = {}, {}, 200
        for gpu in map(str, gpus):
            try:
                values[gpu] = call(_gpu(int(gpu)), given)
            except pynvml.NVMLError as error:
                errors[gpu], status = str(error), _STATUS.get(error.value, 500)
        return (status, {"errors": errors}) if errors else (status, values)

    def _answer(self, body: Mapping[str, Any], status: int = 200) -> None:
        words = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)


@contextmanager
def running(
    socket: Path, environment: Mapping[str, str], *, groups: str = GROUPS
) -> Iterator[dict[str, str]]:
    """A daemon in a process of its own.

    Args:
        socket: Where it will listen.
        environment: Where its GPUs are: `FakeNvml.environment`.
        groups: What it serves, by commas.

    Yields:
        The environment with which Zeus finds it.
    """
    # What this process may not do, the daemon may.
    own = {name: value for name, value in os.environ.items() if name != "FAKE_NVML_UNPRIVILEGED"}
    command = [sys.executable, __file__, str(socket), groups]
    with subprocess.Popen(command, env=own | dict(environment), stdout=subprocess.PIPE) as daemon:
        try:
            assert daemon.stdout is not None
            assert daemon.stdout.readline() == b"ready\n", "the pretend zeusd has not started"
            yield {"ZEUSD_SOCK_PATH": str(socket)}
        finally:
            daemon.terminate()
            daemon.wait()
            socket.unlink(missing_ok=True)


@contextmanager
def reading_cpus(socket: Path, tree: Powercap, *, groups: str = "cpu-read") -> Iterator[str]:
    """A daemon in this process that reads a made-up RAPL tree, and adds up its wraps.

    Yields:
        The value of ZEUSD_SOCK_PATH.
    """

    class Handler(_Handler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/discover":
                cpus = [{"id": i, "dram_available": i == 0} for i in range(3)]
                found = {"gpus": [], "cpus": cpus, "auth_required": False}
                self._answer({**found, "enabled_api_groups": self.server.groups})
            elif path == "/time":
                self._answer({"timestamp_ms": _now_ms()})
            elif "cpu-read" in self.server.groups:
                given = dict(parse_qsl(urlsplit(self.path).query))
                self._answer({number: energies(number) for number in given["cpu_ids"].split(",")})
            else:
                self._answer({"error": "not found"}, 404)

    def energies(number: str) -> dict[str, int | None]:
        package = f"intel-rapl:{number}"
        files = {"cpu_energy_uj": tree.counter(package)}
        for name in tree.root.glob(f"{package}/*/name"):
            if name.read_text() == "dram\n":
                files["dram_energy_uj"] = name.with_name("energy_uj")
        found: dict[str, int | None] = {"dram_energy_uj": None}
        return found | {key: 3 * tree.range_uj + int(f.read_text()) for key, f in files.items()}

    with _Daemon(str(socket), groups, Handler) as daemon:
        thread = threading.Thread(target=daemon.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield str(socket)
        finally:
            daemon.shutdown()
            thread.join()


def _gpu(index: int) -> Any:
    return pynvml.nvmlDeviceGetHandleByIndex(index)


def _now_ms() -> int:
    return round(1000 * time.time())


def _serve(socket: str, groups: str = GROUPS) -> None:
    pynvml.nvmlInit()
    with _Daemon(socket, groups) as daemon:
        print("ready", flush=True)  # noqa: T201  # what `running` waits for
        daemon.serve_forever()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
