"""The house by numbers: `python tools/house.py` prints each measure beside what it may be at most.

Reads the source as text, runs nothing of it. Imports under TYPE_CHECKING count as imports: two files that need each
other's types are one mind in two files. A test holds the limits (`tests/core/test_house.py`); `--list MEASURE` names
what a measure counts.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "tieline"
LONG_LINES, MANY_ARGUMENTS, COMPLEX, TANGLED = 60, 8, 15, 25

Function = ast.FunctionDef | ast.AsyncFunctionDef
# What opens another path through a function (McCabe 1976; boolean operators count as radon counts them).
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension, ast.Assert)


def sources() -> dict[str, ast.Module]:
    """Module name -> its syntax tree, of the whole package."""
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        trees[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def functions(trees: dict[str, ast.Module]) -> Iterator[tuple[str, Function]]:
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}:{node.name}", node


def long_functions(trees: dict[str, ast.Module]) -> list[str]:
    lengths = ((name, (node.end_lineno or 0) - node.lineno + 1) for name, node in functions(trees))
    return [f"{name} ({lines} lines)" for name, lines in lengths if lines > LONG_LINES]


def many_arguments(trees: dict[str, ast.Module]) -> list[str]:
    found = []
    for name, node in functions(trees):
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([a for a in given if a.arg not in ("self", "cls")])
        if count > MANY_ARGUMENTS:
            found.append(f"{name} ({count})")
    return found


def complexity(node: Function) -> int:
    """Paths through one function; functions inside it are counted for themselves."""
    paths = 1
    waiting: list[ast.AST] = list(ast.iter_child_nodes(node))
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(one, BRANCHES):
            paths += 1
        elif isinstance(one, ast.BoolOp):
            paths += len(one.values) - 1
        elif isinstance(one, ast.match_case):
            paths += 1
        if isinstance(one, ast.comprehension):
            paths += len(one.ifs)
        waiting.extend(ast.iter_child_nodes(one))
    return paths


def complex_functions(trees: dict[str, ast.Module], most: int = COMPLEX) -> list[str]:
    counted = sorted(((complexity(node), name) for name, node in functions(trees)), reverse=True)
    return [f"{name} ({paths})" for paths, name in counted if paths > most]


def classes_twice(trees: dict[str, ast.Module]) -> list[str]:
    """Class names that stand in two files or more, those of a file's own use included."""
    homes: dict[str, set[str]] = defaultdict(set)
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name].add(module)
    return [f"{name} ({', '.join(sorted(where))})" for name, where in sorted(homes.items()) if len(where) > 1]


def waivers() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found += [f"{path.relative_to(ROOT)}:{number}"] * len(re.findall(r"#\s*(?:type: ignore|noqa)", line))
    return found


def full_folders(most: int) -> list[str]:
    count: dict[Path, int] = defaultdict(int)
    for path in PACKAGE.rglob("*.py"):
        count[path.parent] += path.name != "__init__.py"
    return [f"{folder.relative_to(ROOT)} ({n})" for folder, n in sorted(count.items()) if n > most]


def fullest_folder() -> int:
    count: dict[Path, int] = defaultdict(int)
    for path in PACKAGE.rglob("*.py"):
        count[path.parent] += path.name != "__init__.py"
    return max(count.values())


def imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Module -> modules of the package that it imports, typing imports included."""
    found: dict[str, set[str]] = {}
    for module, tree in trees.items():
        wanted: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tieline":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    wanted.add(inner if inner in trees else node.module)
            elif isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names if alias.name.split(".")[0] == "tieline"}
        found[module] = {name for name in wanted if name in trees and name != module}
    return found


def page_imports() -> dict[str, set[str]]:
    """The same of the page's own files, by their paths without an ending; what is loaded later counts too."""
    folder = ROOT / "web" / "src"
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.ts")}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        wanted = set()
        for target in re.findall(r"""(?:from\s+|import\()["'](\.[^"']+)["']""", path.read_text(encoding="utf-8")):
            inner = (path.parent / target).resolve()
            if inner.is_relative_to(folder.resolve()):
                wanted.add(inner.relative_to(folder.resolve()).as_posix().removesuffix(".ts"))
        found[name] = {one for one in wanted if one in files and one != name}
    return found


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Groups of files that reach each other (Tarjan 1972, written without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []
    for root in graph:
        if root in index:
            continue
        work: list[tuple[str, Iterator[str]]] = [(root, iter(sorted(graph[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, targets = work[-1]
            target = next(targets, None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    groups.append(stack[at:])
                    del stack[at:]
            elif target not in index:
                index[target] = low[target] = len(index)
                stack.append(target)
                work.append((target, iter(sorted(graph[target]))))
            elif target in stack:
                low[node] = min(low[node], index[target])
    return [", ".join(sorted(group)) for group in groups if len(group) > 1]


def measures() -> dict[str, list[str]]:
    """Measure -> what it counts, each item named."""
    trees = sources()
    return {
        "circles": [*circles(imports(trees)), *circles(page_imports())],
        f"functions over {LONG_LINES} lines": long_functions(trees),
        f"functions with over {MANY_ARGUMENTS} arguments": many_arguments(trees),
        f"functions with over {COMPLEX} paths": complex_functions(trees),
        f"functions with over {TANGLED} paths": complex_functions(trees, TANGLED),
        "class names in two files": classes_twice(trees),
        "waivers (type: ignore, noqa)": waivers(),
        "folders with over 18 files": full_folders(18),
    }


# What each may be at most today, only ever made smaller; and where it should end.
LIMITS = {
    "circles": 0,
    f"functions over {LONG_LINES} lines": 0,
    f"functions with over {MANY_ARGUMENTS} arguments": 3,
    f"functions with over {COMPLEX} paths": 20,
    f"functions with over {TANGLED} paths": 0,
    "class names in two files": 5,
    "waivers (type: ignore, noqa)": 12,
    "folders with over 18 files": 0,
}
AIMS = {
    "circles": 0,
    f"functions over {LONG_LINES} lines": 0,
    f"functions with over {MANY_ARGUMENTS} arguments": 3,
    f"functions with over {COMPLEX} paths": 20,
    f"functions with over {TANGLED} paths": 0,
    "class names in two files": 5,
    "waivers (type: ignore, noqa)": 15,
    "folders with over 18 files": 0,
}


def main(arguments: Iterable[str]) -> int:
    wanted = list(arguments)
    found = measures()
    if wanted[:1] == ["--list"]:
        for name, items in found.items():
            if len(wanted) < 2 or wanted[1] in name:
                print(f"{name}:", *items, sep="\n  ")
        return 0
    for name, items in found.items():
        print(f"{name:36} {len(items):4}   at most {LIMITS[name]:3}   aim {AIMS[name]}")
    return int(any(len(items) > LIMITS[name] for name, items in found.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
