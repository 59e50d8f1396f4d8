"""The flags of a command as tables, read off its configuration: types, defaults, bounds, and what each needs."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from lightrft_apps.config import COMMANDS, RLConfig, check, check_grm, check_rm, check_sft
from lightrft_apps.config import parse as parse_function
from lightrft_apps.config.checks.bounds import BOUNDS, Bound
from lightrft_apps.config.reading.schema import ALIASES, NEEDED, Field, fields_of, is_variadic, turned_off
from lightrft_apps.config.reading.text import as_text
from lightrft_apps.main import COMMANDS as ABOUTS

PARSE = sys.modules[parse_function.__module__]
CHECKS = {"rl": check, "sft": check_sft, "srm": check_rm, "grm": check_grm}
"""The commands that train -> everything that is wrong with a configuration of theirs."""

SHARED = "Every flag of [`lightrft rl`](rl.md) that has a use here works too."

NO_EFFECT = re.compile(r"--([\w-]+) has no effect: (.*?)(?:, or leave --[\w-]+ out)?")


@dataclass(frozen=True)
class Asked:
    """What a command parses: its configuration, the words of its --help, and its own defaults."""

    config_type: type
    about: str
    defaults: Mapping[str, Any]

    def fields(self) -> dict[str, Field]:
        """Its flags by name, with the command's own defaults."""
        return {
            name: replace(field, default=self.defaults.get(name, field.default))
            for name, field in fields_of(self.config_type).items()
        }


def commands() -> str:
    """Every command with what it is for."""
    rows = [(f"[`lightrft {name}`]({name.replace('-', '_')}.md)", plain(about)) for name, about in ABOUTS.items()]
    return table(("command", "what it is for"), rows)


def flags(command: str, *words: str) -> str:
    """A command's --help and, section by section, its flags."""
    described = asked(command, *words)
    if isinstance(described, str):
        return fenced(described)
    named = described.fields()
    bounds, needs = _bounds(command, described.config_type), _needs(command)
    parts = [fenced(described.about)]
    of_rl = fields_of(RLConfig)
    if command != "rl" and len(of_rl.keys() - named.keys()) < len(of_rl) / 4:
        named = {
            name: field for name, field in named.items() if name not in of_rl or field.default != of_rl[name].default
        }
        parts.append(f"{SHARED} These are its own, and those whose default differs:")
    for title in dict.fromkeys(field.title for field in named.values()):
        rows = [_row(field, bounds, needs) for field in named.values() if field.title == title]
        parts.append(f"## {plain(title[0].upper() + title[1:])}\n\n{table(('flag', 'value', 'default', ''), rows)}")
    return "\n\n".join(parts)


class _Seen(Exception):
    """Carries what a command was about to print as its help."""


def asked(command: str, *words: str) -> Asked | str:
    """What `lightrft COMMAND --help` describes; its text for commands that have no configuration."""

    def seen(config_type: type, *, prog: str, about: str, defaults: Mapping[str, Any]) -> str:
        raise _Seen(Asked(config_type, about, defaults))

    usual, PARSE.help_text = PARSE.help_text, seen  # type: ignore[attr-defined]
    try:
        with redirect_stdout(StringIO()) as printed:
            importlib.import_module(f"lightrft_apps.commands.{command.replace('-', '_')}").main([*words, "--help"])
    except _Seen as found:
        asked: Asked = found.args[0]
        return asked
    except SystemExit:
        return printed.getvalue()
    finally:
        PARSE.help_text = usual  # type: ignore[attr-defined]
    return printed.getvalue()


def _row(field: Field, bounds: Mapping[str, Bound], needs: Mapping[str, str]) -> tuple[str, str, str, str]:
    text = plain(field.doc)
    if field.name in bounds:
        text += f". *Set it to {plain(bounds[field.name].instead)}*"
    if field.name in needs:
        text += f". *Only matters once you {plain(needs[field.name])}*"
    others = [
        f"`--{alias}`" for alias, meaning in ALIASES.items() if meaning.name == field.name and not meaning.opposite
    ]
    if others:
        text += f". *Also* {', '.join(others)}"
    flag = turned_off(field.name) if field.default is True else field.name
    default = "needed" if field.default is NEEDED else "" if field.default is None else f"`{as_text(field.default)}`"
    name = f"`--{field.name}`" + (f", `--{flag}`" if flag != field.name else "")
    return name, plain(_value(field)), default.replace("``", ""), text


def _value(field: Field) -> str:
    """What kind of value a flag takes."""
    if get_origin(field.type) is Literal:
        return ", ".join(map(str, get_args(field.type)))
    if is_variadic(field.type):
        return "texts" if get_args(field.type)[0] is str else "whole numbers"
    if get_origin(field.type) is tuple:
        return f"{len(get_args(field.type))} numbers"
    if get_origin(field.type) is dict:
        return "JSON"
    return {bool: "true or false", int: "whole number", float: "number", str: "text"}[field.type]


def _bounds(command: str, config_type: type) -> Mapping[str, Bound]:
    """The bounds a command hands to out_of_bounds, found where it does so."""
    for module in _modules(command, config_type):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            match node:
                case ast.Call(func=ast.Name(id="out_of_bounds"), args=[_, bounds]):
                    found: Mapping[str, Bound] = eval(ast.unparse(bounds), vars(module))
                    return found
    return BOUNDS


def _modules(command: str, config_type: type) -> Iterator[Any]:
    yield sys.modules[config_type.__module__]
    for room in ("commands", "checks"):
        name = f"lightrft_apps.config.{room}.{command.replace('-', '_')}"
        if find_spec(name):
            yield importlib.import_module(name)


@cache
def _needs(command: str) -> Mapping[str, str]:
    """Flags that have no effect alone -> what would bring each into effect: each that may be one is tried by itself."""
    kinds = {name: kind for kind, name in COMMANDS.items()}
    if command not in kinds:
        return {}
    fields, found = fields_of(kinds[command]), {}
    base = kinds[command].create(**{name: _any(field) for name, field in fields.items() if field.default is NEEDED})
    for field in (fields[name] for name in fields if name in _conditional()):
        for value in _others(field):
            section = replace(getattr(base, field.section), **{field.name: value})
            problems = CHECKS[command](replace(base, **{field.section: section}))
            told = [match[2] for problem in problems if (match := _of(field.name, problem))]
            if told:
                found[field.name] = told[0]
                break
    return found


@cache
def _conditional() -> frozenset[str]:
    """Every name that stands as text in a module about flags without effect."""
    modules = [path.read_text() for path in Path(PARSE.__file__ or "").parents[1].rglob("*.py")]
    trees = [ast.parse(text) for text in modules if "without_effect" in text]
    return frozenset(
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _of(name: str, problem: str) -> re.Match[str] | None:
    match = NO_EFFECT.fullmatch(problem)
    return match if match and match[1] in (name, turned_off(name)) else None


def _any(field: Field) -> Any:
    return next(iter(_others(field)))


def _others(field: Field) -> Iterable[Any]:
    """A value other than the default; of several that are offered, every one."""
    if get_origin(field.type) is Literal:
        return [choice for choice in get_args(field.type) if choice != field.default]
    if get_origin(field.type) is tuple:
        kind = get_args(field.type)[0]
        return [(0.25, 0.75) if not is_variadic(field.type) else ("x",) if kind is str else (1,)]
    if get_origin(field.type) is dict:
        return [{"5": 1.0}] if get_args(field.type)[1] is float else [{"x": "number"}]
    if field.type is bool:
        return [field.default is not True]
    return [value for value in {int: (1, 2), float: (0.5, 2.0), str: ("x",)}[field.type] if value != field.default][:1]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; cells are Markdown already."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |" for cells in lines)


def fenced(text: str) -> str:
    """Text as it stands."""
    return f"```text\n{text.strip()}\n```"


def plain(text: str) -> str:
    """Text in which nothing but flags is markup."""
    pieces = re.split(r"(?<![\w-])(--[a-z][\w-]*)", text)
    return "".join(
        f"`{piece}`" if place % 2 else re.sub(r"([\\`*_{}\[\]<>#|$~&])", r"\\\1", piece)
        for place, piece in enumerate(pieces)
    )
