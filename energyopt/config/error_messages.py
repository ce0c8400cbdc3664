"""One sentence for each error: what is wrong, the value, what is allowed, what to do."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping

from hydra.errors import OverrideParseException

from energyopt.errors import EnergyoptError
from energyopt.utils.failure import FULL_ERROR
from energyopt.utils.paths import conf_dir
from energyopt.utils.text import near_word

_HINT = f"{FULL_ERROR}=1 shows where"


def explain(error: BaseException, *, is_own_app: bool = True) -> str:
    """Return an error as one sentence.

    Our own errors are sentences already; Hydra's and OmegaConf's are translated; any other keeps
    its message, with a hint to its traceback.

    Args:
        error: The error.
        is_own_app: Whether our own configs and their keys are meant.
    """
    chain = _chain(error)
    for link in chain:
        if isinstance(link, EnergyoptError):
            return _one_line(str(link))
    for link in chain:
        if isinstance(link, OverrideParseException):
            return _unparsed(link)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}"
    text = "\n".join(dict.fromkeys(str(link) for link in chain if str(link)))
    translations = {**(_OF_OUR_CONFIGS if is_own_app else {}), **_OF_ALL_CONFIGS}
    for pattern, translate in translations.items():
        match = re.search(pattern, text, re.MULTILINE | re.DOTALL)
        if match:
            return _one_line(translate(match, text))
    if type(error).__module__.startswith(("hydra.", "omegaconf.", "yaml.")):
        return _one_line(" ".join(text.splitlines()[:3]) or type(error).__name__)
    first = text.splitlines()[0] if text else "no message"
    return f"{type(error).__name__}: {first} ({_HINT})"


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and all(link is not e for e in chain):  # NVML's define no ==
        chain.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return chain


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _unknown_key(match: re.Match[str], _text: str) -> str:
    key = match["key"]
    group, _, name = key.rpartition(".")
    if group == "hardware":
        near = near_word(name, _hardware_keys())
        hint = f"did you mean hardware.{near}? " if near else ""
        return f"{key}: there is no such key; {hint}there are {', '.join(_hardware_keys())}"
    rule = key.removeprefix("stopping.rules.").partition(".")[0]
    if group.startswith("stopping.rules") and rule in _options("stopping"):
        return f"{key}: there is no such key; choose the rule, and see --cfg job: stopping=[{rule}]"
    near = near_word(name, _root_keys())
    hint = f"did you mean {near}? " if near else ""
    return f"{key}: there is no such key; {hint}--help lists them, +{key}=... adds one"


def _hardware_keys() -> list[str]:
    text = (conf_dir() / "hardware_defaults.yaml").read_text()
    return re.findall(r"^  ([a-z_]+):", text, re.MULTILINE)


def _root_keys() -> list[str]:
    text = (conf_dir() / "config.yaml").read_text()
    return [*re.findall(r"^([a-z_]+):", text, re.MULTILINE), *_groups()]


def _groups() -> list[str]:
    return sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir())


def _options(group: str) -> list[str]:
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def _unknown_choice(match: re.Match[str], _text: str) -> str:
    """Return the message for one of several options of a group; Hydra does not list them."""
    group, _, option = match["path"].rpartition("/")
    options = _options(group)
    allowed = f"choose among {', '.join(options)}" if options else "there is no such group"
    return f"{group}={option}: there is no such option; {allowed}"


def _unknown_option(match: re.Match[str], text: str) -> str:
    group, _, option = match["path"].rpartition("/")
    listing = text.partition("Available options")[2].partition("Config search path")[0]
    options = re.findall(r"^\t(\S+)$", listing, re.MULTILINE)
    allowed = f"choose one of {', '.join(options)}" if options else "there is no such group"
    return f"{group}={option}: there is no such option; {allowed}"


def _unknown_group(match: re.Match[str], _text: str) -> str:
    return (
        f"{match['key']}: there is no such group or key to override; the groups are "
        f"{', '.join(g for g in _groups() if g != 'hydra')}"
    )


def _unknown_config(match: re.Match[str], _text: str) -> str:
    return (
        f"there is no config {match['name']!r} in the config folders; check --config-name and "
        "--config-dir"
    )


def _unparsed(error: OverrideParseException) -> str:
    reason = error.message.strip().splitlines()[0]
    return _one_line(
        f"the word {error.override} cannot be read ({reason}); write key=value, and quote words "
        "with brackets for the shell, such as 'lr=tag(log,interval(1e-4,1e-1))'"
    )


def _without_m(match: re.Match[str], _text: str) -> str:
    return f"{match['word']} is a search: add -m, as in python -m energyopt -m {match['word']!r}"


def _missing(match: re.Match[str], _text: str) -> str:
    return f"{match['key']} has no value; set it with {match['key']}=..."


def _broken_reference(match: re.Match[str], text: str) -> str:
    """Return the message for an interpolation; OmegaConf often does not say where it is."""
    interpolation = f"${{{match['key']}}}"
    place = re.search(r"full_key: (?P<key>\S+)", text)
    words = [word for word in sys.argv[1:] if interpolation in word]
    where = place["key"] if place else words[0] if words else "the config"
    return (
        f"{where}: {interpolation} refers to the key {match['key']}, which does not exist; give a "
        "value, or the name of a key that --cfg job lists"
    )


_Translations = Mapping[str, Callable[[re.Match[str], str], str]]

_OF_OUR_CONFIGS: _Translations = {
    r"Could not override '(?P<key>[^']+)'\.\s*To append": _unknown_key,
    r"Could not override '(?P<key>[^']+)'": _unknown_group,
    r"Could not load '(?P<path>[^']+/[^']+)'": _unknown_choice,
}
_OF_ALL_CONFIGS: _Translations = {
    r"Could not find '(?P<path>[^']+/[^']+)'": _unknown_option,
    r"Cannot find primary config '(?P<name>[^']+)'": _unknown_config,
    r"Missing mandatory value: (?P<key>\S+)": _missing,
    r"Interpolation key '(?P<key>[^']+)' not found": _broken_reference,
    r"Sweep parameters '(?P<word>.*?)' requires --multirun": _without_m,
}
