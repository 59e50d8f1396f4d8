"""The flat view of a configuration: a dataclass whose fields are dataclasses, seen as one list of named fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from itertools import pairwise
from types import NoneType
from typing import Any, get_args, get_type_hints

from lightrft_apps.config.errors import ConfigError

NEEDED: Any = dataclasses.MISSING
"""The default of a field that must be given."""


@dataclass(frozen=True)
class Meant:
    """What a spelling stands for: the name of a field, and whether it states the opposite of that field."""

    name: str
    opposite: bool = False


ALIASES = {
    "normalize_reward": Meant("reward_running_norm"),
    "dynamic_filtering": Meant("dynamic_sampling"),
    "disable_engine_sleep": Meant("enable_engine_sleep", opposite=True),
    "wandb_project": Meant("tracker_project"),
    "wandb_run_name": Meant("tracker_run_name"),
    "wandb_group": Meant("tracker_group"),
    "wandb_org": Meant("tracker_org"),
    "side-by-side": Meant("side_by_side"),
    "limit": Meant("max_samples"),
}
"""Other spellings of flags that people bring along."""

INSTEAD = {
    "use_wandb": "stands alone: a key in a flag would lie in config.yaml; set the environment variable WANDB_API_KEY",
    "use_tensorboard": "stands alone: name the folder by --tensorboard_dir, or leave that out for one in output_dir",
}
"""What to say of flags that are true or false and that people bring along with another value, which is not repeated."""


def meant(spelling: str) -> Meant:
    """What a name in a file, in Python or behind -- stands for; it need not be known."""
    return ALIASES.get(spelling, Meant(spelling))


def turned_off(name: str) -> str:
    """The flag that makes a field false which is true by default."""
    own = [alias for alias, meaning in ALIASES.items() if meaning == Meant(name, opposite=True)]
    return own[0] if own else f"no-{name}"


def by_field(flat: Mapping[str, Any]) -> dict[str, Meant]:
    """What each name of a mapping stands for. Raises ConfigError for a field given under two spellings."""
    twice = [
        f"{alias} and {meaning.name} are the same flag: keep one"
        for alias, meaning in ALIASES.items()
        if {alias, meaning.name} <= {*flat}
    ]
    if twice:
        raise ConfigError(twice)
    return {spelling: meant(spelling) for spelling in flat}


@dataclass(frozen=True)
class Field:
    """One flag.

    section: the configuration's attribute that holds it; title: how help calls that section.
    type: without None; optional tells whether None is a value too.
    group: entry points of other packages whose names are values too; "": there are none.
    """

    name: str
    section: str
    title: str
    type: Any
    optional: bool
    default: Any
    doc: str
    group: str = ""


def fields_of(config_type: type) -> Mapping[str, Field]:
    """Every field of every section, by name, in order. No two sections may share a name.

    What a configuration holds besides sections is no flag.
    """
    sections = get_type_hints(config_type)
    fields = [
        field
        for section in dataclasses.fields(config_type)
        if dataclasses.is_dataclass(sections[section.name])
        for field in _section_fields(section.name, sections[section.name])
    ]
    by_name = {field.name: field for field in fields}
    assert len(by_name) == len(fields), "two sections share the name of a field"
    return by_name


@cache
def _section_fields(section: str, section_type: type) -> list[Field]:
    hints, docs = get_type_hints(section_type), attribute_docs(section_type)
    title = inspect.cleandoc(section_type.__doc__ or section).splitlines()[0]
    return [
        Field(
            field.name,
            section,
            title,
            *_without_none(field.metadata.get("own", hints[field.name])),
            field.default,
            docs[field.name],
            field.metadata.get("group", ""),
        )
        for field in dataclasses.fields(section_type)
    ]


def or_of_others(own: Any, group: str) -> dict[str, Any]:
    """Metadata of a text field: a Literal of LightRFT's own values, and the entry points that offer further ones."""
    return {"own": own, "group": group}


def offered_by_others(field: Field) -> list[str]:
    """The values of a field that other packages offer; nothing of theirs is loaded."""
    return sorted(entry_points(group=field.group).names) if field.group else []


def _without_none(hint: Any) -> tuple[Any, bool]:
    types = [member for member in get_args(hint) if member is not NoneType]
    return (types[0], True) if NoneType in get_args(hint) else (hint, False)


def is_variadic(field_type: Any) -> bool:
    """Whether a type is a tuple of any length, such as tuple[int, ...]."""
    return get_args(field_type)[1:] == (...,)


def attribute_docs(section_type: type) -> dict[str, str]:
    """The line of documentation under each field of a dataclass, inherited ones too, read from its source."""
    docs = {}
    for owner in reversed([kind for kind in section_type.__mro__ if dataclasses.is_dataclass(kind)]):
        module = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        body = module.body[0].body if isinstance(module.body[0], ast.ClassDef) else []
        for statement, following in pairwise(body):
            match statement, following:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    docs[name] = doc
    return docs


def unknown(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """What to say about a name that does not exist: `prefix` stands before names, as in --pretrain."""
    nearest = get_close_matches(name, list(known), n=1)
    return f"{prefix}{name}" + (f"; did you mean {prefix}{nearest[0]}?" if nearest else "; --help lists them all")
