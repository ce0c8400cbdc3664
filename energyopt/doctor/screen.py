"""Terminal output of `energyopt doctor`. Text carries the verdicts; colour repeats them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from energyopt.core.units import count
from energyopt.doctor.records import Check, Configured, GpuHealth, Health, Level

_STYLES: Mapping[Level, str] = {
    "ok": "green",
    "info": "",
    "note": "yellow",
    "FAIL": "bold red",
}
_WIDTHS = (6, 13)
_MIN_TEXT_WIDTH = 20
_DOUBTS: Sequence[Level] = ("note", "FAIL")


def health_screen(health: Health) -> RenderableType:
    """Render all results, the verdict first."""
    configured, nvidia = health.configured, health.nvidia
    driver = f", driver {nvidia.driver}" if nvidia.driver else ""
    versions = ", ".join(f"{name} {version}" for name, version in health.versions.items())
    return Group(
        _verdict(health),
        *_section("Configured hardware", [_overrides(configured), *configured.checks]),
        *_section(f"NVIDIA GPUs{driver}", nvidia.checks),
        *(part for gpu in nvidia.gpus for part in _section(_title(gpu), gpu.checks)),
        *_section("CPU", health.cpu.checks),
        *_section("Shared by all users", health.shared.checks),
        *_section("Storage of studies", health.storage.checks),
        *_section("Versions", [Check("info", "packages", versions)]),
    )


def _verdict(health: Health) -> RenderableType:
    level, text = _rate(health)
    return _printable(f"{level}: the configured hardware {text}", f"bold {_STYLES[level]}".strip())


def _rate(health: Health) -> tuple[Level, str]:
    configured = health.configured
    if configured.provenance is None:
        if configured.measurable is None:
            return "note", "is held by another trial at present"
        return "FAIL", "could not be measured"
    kind = configured.provenance.kind
    if kind != "measured":
        return "note", f"would be {kind}, not measured"
    n_warnings = sum(1 for _ in _warnings(health))
    if n_warnings:
        return "note", f"would be measured, with {count(n_warnings, 'warning')} below"
    return "ok", "would be measured"


def _warnings(health: Health) -> Iterator[Check]:
    """Yield the checks that put in doubt what the configured hardware would measure."""
    uuids = {gpu.uuid for gpu in health.configured.gpus}
    boards = [board for board in health.nvidia.gpus if board.gpu and board.gpu.uuid in uuids]
    # Whether the limit may be set matters only where one is configured, which is tried there.
    notes = [check for board in boards for check in board.checks if check.name != "power limit"]
    yield from (check for check in (*health.configured.checks, *notes) if check.level in _DOUBTS)
    elsewhere = (*health.nvidia.checks, *health.shared.checks, *health.storage.checks)
    yield from (check for check in elsewhere if check.level == "FAIL")


def _overrides(configured: Configured) -> Check:
    return Check("info", "config", " ".join(configured.overrides) or "the defaults")


def _title(health: GpuHealth) -> str:
    gpu = "" if health.gpu is None else f"  {health.gpu.name}  {health.gpu.uuid}"
    return f"  GPU {health.index}{gpu}"


def _section(heading: str, checks: Sequence[Check]) -> Iterator[RenderableType]:
    yield _printable(heading, "bold")
    for check in checks:
        style = _STYLES[check.level]
        level = "" if check.level == "info" else check.level
        yield _Line((level, style), (check.name, ""), check.says)
        if check.remedy is not None:
            yield _Line(("", ""), ("  remedy", style), check.remedy)


class _Line:
    """Two narrow columns and a wide one that wraps, without trailing blanks."""

    def __init__(self, level: tuple[str, str], name: tuple[str, str], text: str) -> None:
        self.head = Text("  ")
        for (cell, style), width in zip((level, name), _WIDTHS, strict=True):
            self.head.append(f"{cell:{width}}", style)
        self.text = _printable(text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width - len(self.head), _MIN_TEXT_WIDTH)
        head = self.head
        for line in self.text.wrap(console, width):
            row = head + line
            row.rstrip()
            yield row
            head = Text(" " * len(head))


def _printable(text: str, style: str = "") -> Text:
    # A process or a path can have any name; keep control characters out of the terminal.
    return Text("".join(char if char.isprintable() else "?" for char in text), style=style)
