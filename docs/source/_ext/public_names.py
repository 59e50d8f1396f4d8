"""What a package offers: every name of its __all__ with its signature and docstring, read without importing it."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

LONGEST = 500
"""Letters of a constant that are shown."""


@dataclass(frozen=True)
class Shown:
    """A public name: the code that declares it, and its documentation."""

    name: str
    code: str
    doc: str


def api(package: str) -> str:
    """A section for each public name of a package, in the order of its __all__, functions and classes alike."""
    return "\n\n".join(_section(_shown(package, name)) for name in public(package))


def public(package: str) -> list[str]:
    """The __all__ of a package."""
    for node in _tree(package).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names)):
                return [name.value for name in names if isinstance(name, ast.Constant) and isinstance(name.value, str)]
    raise LookupError(f"{package} has no __all__")


def _section(shown: Shown) -> str:
    doc = f"\n\n```text\n{shown.doc}\n```" if shown.doc else ""
    return f"## {shown.name}\n\n```python\n{shown.code}\n```{doc}"


def _shown(module: str, name: str) -> Shown:
    """A name as the module that declares it has it, followed through imports."""
    body = _tree(module).body
    for place, node in enumerate(body):
        match node:
            case ast.ImportFrom(module=str(source), names=aliases):
                for alias in aliases:
                    if (alias.asname or alias.name) == name:
                        return _shown(source, alias.name)
            case ast.FunctionDef(name=own) | ast.AsyncFunctionDef(name=own) if own == name:
                return Shown(name, _declared(node), ast.get_docstring(node) or "")
            case ast.ClassDef(name=own) if own == name:
                return Shown(name, _class(node), _class_doc(node))
            case ast.Assign(targets=[ast.Name(id=own)]) | ast.AnnAssign(target=ast.Name(id=own)) if own == name:
                return Shown(name, _constant(node), _doc_below(body[place + 1 :]))
            case ast.If(body=guarded):
                for inner in guarded:
                    if isinstance(inner, ast.ImportFrom) and any(alias.name == name for alias in inner.names):
                        return _shown(str(inner.module), name)
    raise LookupError(f"{module} declares no {name}")


def _declared(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """A function's signature as the formatter would break it."""
    start = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    whole = f"{start} {node.name}({ast.unparse(node.args)}){result}"
    if len(whole) <= 88:
        return whole
    return f"{start} {node.name}(\n{_lines(node.args)}){result}"


def _lines(arguments: ast.arguments) -> str:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    lines = [_argument(arg, default) for arg, default in zip(positional, defaults, strict=True)]
    if arguments.vararg:
        lines.append("*" + ast.unparse(arguments.vararg))
    elif arguments.kwonlyargs:
        lines.append("*")
    lines += [_argument(arg, value) for arg, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        lines.append("**" + ast.unparse(arguments.kwarg))
    return "".join(f"    {line},\n" for line in lines)


def _argument(arg: ast.arg, default: ast.expr | None) -> str:
    equals = " = " if arg.annotation else "="
    return ast.unparse(arg) + (f"{equals}{ast.unparse(default)}" if default is not None else "")


def _class(node: ast.ClassDef) -> str:
    """A class as its name, its fields and its public methods."""
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    lines = [f"class {node.name}({bases}):" if bases else f"class {node.name}:"]
    for inner in node.body:
        match inner:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]) if name[0] != "_":
                lines.append("    " + ast.unparse(inner))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name == "__init__" or name[0] != "_":
                marks = [f"    @{ast.unparse(mark)}" for mark in inner.decorator_list]
                lines += [*marks, *(f"    {line}" for line in _declared(inner).splitlines())]
    return "\n".join(lines if len(lines) > 1 else [*lines, "    ..."])


def _class_doc(node: ast.ClassDef) -> str:
    """A class's docstring, and below it those of its public methods and fields."""
    parts = [ast.get_docstring(node) or ""]
    for place, inner in enumerate(node.body):
        match inner:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name[0] != "_":
                if doc := ast.get_docstring(inner):
                    parts.append(f"{name}: {doc}")
            case ast.AnnAssign(target=ast.Name(id=name)) if doc := _doc_below(node.body[place + 1 :]):
                parts.append(f"{name}: {doc}")
    return "\n\n".join(part for part in parts if part)


def _constant(node: ast.stmt) -> str:
    text = ast.unparse(node)
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(",", 1)[0] + ", ..."


def _doc_below(following: list[ast.stmt]) -> str:
    """The string that stands directly below a constant or a field."""
    match following[:1]:
        case [ast.Expr(value=ast.Constant(value=str(doc)))]:
            return inspect.cleandoc(doc)
    return ""


def folder_of(package: str) -> Path:
    """Where a package's sources are."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise LookupError(f"there is no package {package}")
    return Path(found.origin).parent


def _tree(module: str) -> ast.Module:
    package, *inner = module.split(".")
    path = folder_of(package).joinpath(*inner)
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
