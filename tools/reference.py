"""Reference pages made from the code: options, configuration keys, record fields, metrics.

`python tools/reference.py` says which pages differ from the code and exits 1; `--write` makes them anew. A test runs
the first (`tests/core/test_reference.py`), so that page and code cannot part.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import msgspec

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- Made from the code by `make reference`; edit the code, not this page. -->\n\n"


def main(arguments: list[str]) -> int:
    pages = {
        "commands.md": commands_page(),
        "configuration.md": configuration_page(),
        "records.md": records_page(),
        "metrics.md": metrics_page(),
    }
    differ = [name for name, text in pages.items() if read(FOLDER / name) != text]
    if "--write" in arguments:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name in differ:
            (FOLDER / name).write_text(pages[name], encoding="utf-8")
        return 0
    for name in differ:
        print(f"docs/reference/{name} is not what the code says; run: make reference")
    return int(bool(differ))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


# --- commands ---------------------------------------------------------------------------------------


def commands_page() -> str:
    from tieline.cli import COMMANDS
    from tieline.cli import main as group

    text = "# Commands\n\n" + MADE + "`tieline COMMAND --help` prints the same.\n"
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        text += "".join(command_text(f"tieline {name}", command))
    return text


def command_text(path: str, command: click.Command) -> Iterator[str]:
    help_ = inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")
    yield f"\n## `{path}`\n\n{help_}\n"
    rows = [row for parameter in command.params if (row := parameter_row(parameter))]
    if rows:
        yield "\n| option | meaning | default |\n|---|---|---|\n" + "".join(rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            if inner is not None and not inner.hidden:
                yield from command_text(f"{path} {name}", inner)


def parameter_row(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        name = (parameter.metavar or parameter.name or "").upper()
        return f"| `{name}` | {'given' if parameter.required else 'may be given'} | |\n"
    assert isinstance(parameter, click.Option)
    if parameter.hidden:
        return ""
    names = ", ".join(f"`{one}`" for one in [*parameter.opts, *parameter.secondary_opts])
    return f"| {names} | {cell(parameter.help or '')} | {default_of(parameter)} |\n"


def default_of(option: click.Option) -> str:
    if option.required:
        return "required"
    value = option.default
    if value is None or value is False or value == () or callable(value) or "UNSET" in repr(value).upper():
        return ""
    return f"`{value}`"


# --- configuration ------------------------------------------------------------------------------------


def configuration_page() -> str:
    written = importlib.import_module("tieline.config.text")
    text = "# Configuration\n\n" + MADE
    text += "What `--config FILE` may hold: TOML, strict. `tieline config check FILE` names each mistake.\n"
    for struct in structs_of(written, "tieline.config", "tieline.fleet"):
        text += struct_text(struct)
    return text


# --- records -----------------------------------------------------------------------------------------


def records_page() -> str:
    from tieline import records

    text = "# Records\n\n" + MADE
    text += "Everything that happened, as it is kept, sent and replayed. Times are UTC; `None` means not known.\n"
    types_ = get_args(records.AnyRecord)
    for struct in sorted(types_, key=lambda one: one.__name__):
        text += struct_text(struct)
    inner = {one for record in types_ for one in inner_structs(record)} - set(types_)
    for struct in sorted(inner, key=lambda one: one.__name__):
        text += struct_text(struct)
    return text


def structs_of(module: types.ModuleType, *packages: str) -> list[type[msgspec.Struct]]:
    """Structs that a configuration's root reaches, in the order in which they are met."""
    roots = [value for name, value in vars(module).items() if name == "FileText"]
    found: list[type[msgspec.Struct]] = []
    waiting = [one for one in roots if inspect.isclass(one) and issubclass(one, msgspec.Struct)]
    while waiting:
        one = waiting.pop(0)
        if one in found or not one.__module__.startswith(packages):
            continue
        found.append(one)
        waiting += sorted(direct_structs(one), key=lambda s: s.__name__)
    return found


def inner_structs(struct: type[msgspec.Struct]) -> set[type[msgspec.Struct]]:
    found: set[type[msgspec.Struct]] = set()
    waiting = [struct]
    while waiting:
        for one in direct_structs(waiting.pop()) - found:
            found.add(one)
            waiting.append(one)
    return found


def direct_structs(struct: type[msgspec.Struct]) -> set[type[msgspec.Struct]]:
    found: set[type[msgspec.Struct]] = set()
    waiting: list[Any] = list(typing.get_type_hints(struct, include_extras=True).values())
    while waiting:
        hint = waiting.pop()
        if inspect.isclass(hint) and issubclass(hint, msgspec.Struct):
            found.add(hint)
        waiting += [arg for arg in get_args(hint) if arg is not Ellipsis and not isinstance(arg, str)]
    return found


def struct_text(struct: type[msgspec.Struct]) -> str:
    text = f"\n## {struct.__name__.lstrip('_').removesuffix('Text')}\n\n"
    doc = struct.__doc__ or ""
    if doc and not doc.startswith(struct.__name__ + "("):
        text += cell(inspect.cleandoc(doc).split("\n\n")[0]) + "\n\n"
    text += "| field | type | default |\n|---|---|---|\n"
    for field in msgspec.structs.fields(struct):
        text += f"| `{field.encode_name}` | {cell(type_text(field.type))} | {default_text(field)} |\n"
    return text


def type_text(hint: Any) -> str:
    """A type as a person writes it in TOML or JSON, bounds left to the code."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return type_text(args[0])
    if origin is typing.Literal:
        return ", ".join(f'"{arg}"' if isinstance(arg, str) else str(arg) for arg in args)
    if origin in (typing.Union, types.UnionType):
        known = [type_text(arg) for arg in args if arg is not type(None)]
        return " or ".join(dict.fromkeys(known)) + (" or nothing" if type(None) in args else "")
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return f"list of {type_text(args[0])}"
    if origin in (list, set, frozenset):
        return f"list of {type_text(args[0])}"
    if origin is tuple:
        return "(" + ", ".join(type_text(arg) for arg in args) + ")"
    if origin is not None and args:
        return f"{type_text(args[0])} to {type_text(args[-1])}"
    names = {"str": "text", "int": "whole number", "float": "number", "Decimal": "decimal", "datetime": "time"}
    name = str(getattr(hint, "__name__", hint))
    return names.get(name, name.lstrip("_").removesuffix("Text"))


def default_text(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        return ""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, msgspec.Struct) or value in ((), ""):
        return ""
    return f"`{value}`"


# --- metrics -----------------------------------------------------------------------------------------


def metrics_page() -> str:
    from tieline.gateway.metering import stats

    source = ast_calls(Path(inspect.getsourcefile(stats) or ""))
    text = "# Metrics\n\n" + MADE + "Prometheus' text at the gateway's `/metrics`; no label holds a client's words.\n\n"
    text += "| metric | kind | meaning | labels |\n|---|---|---|---|\n"
    for name, kind, meaning, labels in source:
        text += f"| `{name}` | {kind} | {cell(meaning)} | {labels} |\n"
    return text


def ast_calls(path: Path) -> list[tuple[str, str, str, str]]:
    """The metric families that a file makes, as it writes them down."""
    import ast

    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or len(node.args) < 2:
            continue
        words = [arg.value if isinstance(arg, ast.Constant) else None for arg in node.args[:2]]
        if not all(isinstance(word, str) for word in words) or not str(words[0]).startswith("tieline_"):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        kind = {"GaugeMetricFamily": "gauge", "SummaryMetricFamily": "summary", "family": "histogram"}.get(
            called, "counter"
        )
        labels = [
            element.value
            for part in [*node.args[2:], *(keyword.value for keyword in node.keywords)]
            for element in (part.elts if isinstance(part, ast.List | ast.Tuple) else [])
            if isinstance(element, ast.Constant) and isinstance(element.value, str)
        ]
        labels = ["model"] if kind == "histogram" else labels  # as their family has it
        name = f"{words[0]}_total" if kind == "counter" else str(words[0])
        found.append((name, kind, str(words[1]), ", ".join(labels)))
    return sorted(set(found))


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
