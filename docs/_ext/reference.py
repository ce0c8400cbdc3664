"""Pages of the reference that are made from the code: in a page, `<!-- generated: NAME -->`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any

from docstring_parser import DocstringStyle, parse
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import energyopt
from energyopt.analysis.pareto import FrontPoint
from energyopt.cli.commands import COMMANDS, parser_of
from energyopt.config.yaml_comments import Key, read_about, read_keys
from energyopt.core.study_record import TrialRecord
from energyopt.report.json_text import schema as output_schema
from energyopt.search.pruner_names import PRUNERS
from energyopt.search.sampler_names import SAMPLERS, sweeper_options
from energyopt.search.sweep_keys import SweepKeys
from energyopt.utils.paths import conf_dir
from energyopt.workflows.load_study import LoadedStudy, RecommendedConfiguration

GROUPS = {
    "task": "the data, and what is to be told of it",
    "model": "the network",
    "paradigm": "how it is trained",
    "optimizer": "what makes a step",
    "scheduler": "how the learning rate changes over a training",
    "hardware": "what tells the joules",
    "objective": "what a study is told, and searches for",
    "stopping": "what ends or pauses a trial early",
    "experiment": "several studies and their summary, with `-m experiment=NAME`",
}
_MARK = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)
_WIDTH = "88"
_UNSET = "???"


def setup(app: Sphinx) -> dict[str, Any]:
    """Let Sphinx fill the pages in."""
    app.connect("source-read", _fill)
    app.connect("env-get-outdated", _made)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _made(
    _app: Sphinx, env: BuildEnvironment, _added: set[str], _changed: set[str], _removed: set[str]
) -> list[str]:
    """Pages that are made anew at each build: what they are made from may have changed."""
    return [page for page in env.found_docs if _MARK.search(env.doc2path(page).read_text())]


def _fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = _MARK.sub(lambda found: PARTS[found[1]](), source[0])


def groups() -> str:
    """All groups with their options: what each is, its keys and their defaults."""
    return "\n\n".join(_group(name, what) for name, what in GROUPS.items())


def root_keys() -> str:
    """Return the keys of the root config, by what they are for."""
    parts: dict[str, list[Key]] = {}
    for key in read_keys(conf_dir() / "config.yaml"):
        parts.setdefault(key.section, []).append(key)
    return "\n\n".join(
        f"## {section.partition('. ')[0]}\n\n{_table(keys, {})}" for section, keys in parts.items()
    )


def samplers() -> str:
    """Return the samplers by name."""
    rows = [f"| `{name}` | `{target}` |" for name, target in SAMPLERS.items()]
    return "\n".join(["| `sampler=` | what it is |", "|---|---|", *rows])


def sweeper_samplers() -> str:
    """Return the samplers of `hydra.sweeper.sampler`, for other apps."""
    rows = [f"| `{name}` | `{node['_target_']}` |" for name, node in sweeper_options()]
    return "\n".join(["| `hydra/sweeper/sampler=` | what it is |", "|---|---|", *rows])


def sweeper_pruners() -> str:
    """Return the pruners of `hydra.sweeper.pruner`, for other apps, with their keys."""
    rows = ["| `hydra/sweeper/pruner=` | what it is | keys |", "|---|---|---|"]
    for name, node in PRUNERS.items():
        keys = ", ".join(f"`{key}`" for key in node if key != "_target_")
        rows.append(f"| `{name}` | `{node['_target_']}` | {keys} |")
    return "\n".join(rows)


def sweeper_keys() -> str:
    """Return the keys of `hydra.sweeper`, for other apps."""
    _, said = _documented(SweepKeys)
    keys = [Key(field.name, _default(field.default), "") for field in fields(SweepKeys)]
    return _table(keys, said)


def commands() -> str:
    """Each command's own help."""
    return "\n\n".join(_command(name) for name in COMMANDS)


def front_columns() -> str:
    """Return the columns of a point of a front."""
    _, said = _documented(FrontPoint)
    rows = [f"| `{field.name}` | {_cell(said[field.name])} |" for field in fields(FrontPoint)]
    return "\n".join(["| column | what it is |", "|---|---|", *rows])


def public_names() -> str:
    """Return the public names of `energyopt`."""
    names = [name for name in energyopt.__all__ if name != "__version__"]
    return "\n\n".join(_public(name, getattr(energyopt, name)) for name in names)


def loaded_study() -> str:
    """Return the classes of what `load_study` returns."""
    classes = (LoadedStudy, RecommendedConfiguration, TrialRecord)
    return "\n\n".join(_public(each.__name__, each) for each in classes)


def json_keys() -> str:
    """Return the keys of the outputs with `--json`, by command and by what is in them."""
    parts = []
    definitions = output_schema()["$defs"]
    for name in sorted(definitions, key=lambda name: name not in COMMANDS):
        definition = definitions[name]
        title = f"energyopt {name} --json" if name in COMMANDS else f"Part: {_words(name)}"
        for node in definition.get("anyOf", [definition]):
            parts += [f"## {title}", node["description"], _keys_of(node)]
            title += ", of a run"
    return "\n\n".join(parts)


def _keys_of(node: Mapping[str, Any], prefix: str = "") -> str:
    rows = [] if prefix else ["| key | type | what it is |", "|---|---|---|"]
    for name, key in node["properties"].items():
        rows.append(f"| `{prefix}{name}` | {_kind(key)} | {_cell(key.get('description', ''))} |")
        if "properties" in key:
            rows.append(_keys_of(key, f"{prefix}{name}."))
    return "\n".join(rows)


def _kind(key: Mapping[str, Any]) -> str:
    """Return what a key of a schema holds, in words: "number or null", "array of check"."""
    if "const" in key or "enum" in key:
        return ", ".join(f"`{json.dumps(value)}`" for value in key.get("enum", [key.get("const")]))
    if "anyOf" in key:
        return " or ".join(map(_kind, key["anyOf"]))
    if "$ref" in key:
        return _words(key["$ref"].rpartition("/")[2])
    kinds = [key["type"]] if isinstance(key["type"], str) else key["type"]
    of_items = f" of {_kind(key['items'])}" if "$ref" in key.get("items", {}) else ""
    return " or ".join(kinds) + of_items


def _words(name: str) -> str:
    return name.replace("_", " ")


PARTS: Mapping[str, Callable[[], str]] = {
    "groups": groups,
    "root-keys": root_keys,
    "samplers": samplers,
    "sweeper-keys": sweeper_keys,
    "sweeper-samplers": sweeper_samplers,
    "sweeper-pruners": sweeper_pruners,
    "commands": commands,
    "front-columns": front_columns,
    "public-names": public_names,
    "loaded-study": loaded_study,
    "json-keys": json_keys,
}


def _public(name: str, item: Any) -> str:
    doc = parse(inspect.getdoc(item) or "", DocstringStyle.GOOGLE)
    signature = _signature(item) if inspect.isfunction(item) else ""
    texts = [text for text in (doc.short_description, doc.long_description) if text]
    members = [(each.arg_name, each.description or "") for each in doc.params]
    if inspect.isclass(item):
        members += _members(item)
    rows = [f"| `{member}` | {_cell(' '.join(text.split()))} |" for member, text in members]
    table = "\n".join(["| name | what it is |", "|---|---|", *rows]) if rows else ""
    parts = [f"### `{name}{signature}`", *map(_cell, texts), table]
    parts += [
        _cell(f"Raises {each.type_name}: {' '.join((each.description or '').split())}")
        for each in doc.raises
    ]
    return "\n\n".join(part for part in parts if part)


def _members(made: type) -> list[tuple[str, str]]:
    """Return the public properties and methods of a class, each with its first sentence."""
    members = []
    for name, member in vars(made).items():
        if name.startswith("_") and name != "__call__":
            continue
        if isinstance(member, (property, cached_property)):
            function = member.fget if isinstance(member, property) else member.func
            signature = ""
        else:
            function = member.__func__ if isinstance(member, classmethod) else member
            if not inspect.isfunction(function):
                continue
            signature = _signature(function)
        doc = parse(inspect.getdoc(function) or "", DocstringStyle.GOOGLE)
        members.append((f"{name}{signature}", doc.short_description or ""))
    return members


def _signature(function: Any) -> str:
    """Its arguments and their defaults, without types."""
    signature = inspect.signature(function)
    plain = [
        each.replace(annotation=each.empty)
        for name, each in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))


def _group(name: str, what: str) -> str:
    files = sorted((conf_dir() / name).glob("*.yaml"))
    parts = [f"## {name}", f"`{name}=...`: {what}."]
    shared = {"hardware": "hardware_defaults", "stopping": "stopping_defaults"}.get(name)
    if shared is not None:
        keys = read_keys(conf_dir() / f"{shared}.yaml")
        parts += [f"Keys of every option of `{name}`:", _table(keys, {})]
    for file in files:
        keys = [] if name == "experiment" else read_keys(file)
        targets = [key.value for key in keys if key.name.endswith("_target_")]
        first, said = _documented(targets[0]) if targets else ("", {})
        parts.append(f"### {name}={file.stem}")
        parts.append(_cell(_sentence(read_about(file)) or first))
        made = [key for key in keys if key.name.endswith("_target_") and key.value != _UNSET]
        told = [key for key in keys if key not in made and not key.name.endswith("_partial_")]
        if told:
            parts.append(_table(told, said, prefix=f"{name}."))
        if made:
            parts.append("Made by " + ", ".join(f"`{key.value}`" for key in made) + ".")
    return "\n\n".join(part for part in parts if part)


def _table(keys: list[Key], said: Mapping[str, str], prefix: str = "") -> str:
    rows = ["| key | default | what it is |", "|---|---|---|"]
    for key in keys:
        what = said.get(key.name.rpartition(".")[2]) or key.comment
        rows.append(f"| `{prefix}{key.name}` | {_value(key.value)} | {_cell(_sentence(what))} |")
    return "\n".join(rows)


def _value(text: str) -> str:
    if text == _UNSET:
        return "*to be given*"
    return f"`{_bars(text)}`" if text else ""


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "?", "!", ":")) else f"{text}."


def _cell(text: str) -> str:
    """Text of a comment or a docstring, which is not written as Markdown, in a table's cell."""
    parts = text.split("`")
    return "`".join(
        _bars(part) if at % 2 else _bars(re.sub(r"([*_<>\[\]$])", r"\\\1", part))
        for at, part in enumerate(parts)
    )


def _bars(text: str) -> str:
    return text.replace("|", "\\|")


def _default(value: Any) -> str:
    return "null" if value is None else str(value)


def _target(name: str) -> Any:
    module, _, name = name.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _documented(made: Any) -> tuple[str, dict[str, str]]:
    """Return the first sentence of what is ours, and what it says of its arguments or fields."""
    if isinstance(made, str):
        if not made.startswith("energyopt."):
            return "", {}
        made = _target(made)
    doc = parse(inspect.getdoc(made) or "", DocstringStyle.GOOGLE)
    wanted = "attribute" if dataclasses.is_dataclass(made) else "param"
    said = {each.arg_name: each.description or "" for each in doc.params if each.args[0] == wanted}
    return doc.short_description or "", {key: " ".join(text.split()) for key, text in said.items()}


def _command(name: str) -> str:
    # As wide as a page, in whatever terminal the site is built.
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDTH
    try:
        text = parser_of(name).format_help()
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return f"## energyopt {name}\n\n```text\n{text.rstrip()}\n```"
