"""Imports point down: read from the source, and seen in a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"
ROOT = SRC / "pillarbox"

# From the top: what stands on one line are strangers to one another.
LAYERS = (
    ("__main__", "cli", "pytest_plugin", "testing"),
    ("catcher", "dump", "relay", "mailman"),
    ("asyncio", "smtpd"),
    (
        *("handler", "envelope", "config", "listen", "certificate", "login", "log", "counters"),
        *("metrics", "scram", "scram_client", "channel_binding", "dialogue", "lists", "lmtp"),
    ),
    ("protocol",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# On the same line, and all the same acquainted.
ACQUAINTED = {
    # cli and pytest_plugin put things together, and begin with what testing has.
    ("__main__", "cli"),
    ("pytest_plugin", "testing"),
    ("cli", "testing"),
    # Mailman gets its mail from the relay's spool.
    ("mailman", "relay"),
    # The values may meet.
    *((one, other) for one in LAYERS[3] for other in LAYERS[3]),
}

# What `protocol/` may have of the standard library: nothing that opens, waits, logs or starts.
PROTOCOL_MAY_IMPORT = {
    *("__future__", "abc", "base64", "binascii", "collections", "contextlib", "dataclasses"),
    *("enum", "functools", "hashlib", "hmac", "io", "ipaddress", "itertools", "re", "string"),
    *("types", "typing", "unicodedata"),
}
# `io` has open() beside the newline decoder; nobody calls it.
FORBIDDEN_NAMES = {"open", "print", "input"}

NOT_LOADED = ("socket", "asyncio", "email", "logging", "threading", "ssl", "select", "selectors")


def part(module: str) -> str:
    """Give the part of the house that a module of ours belongs to; empty for the door itself."""
    names = module.split(".")
    if names[0] == "smtpd":
        return "smtpd"
    return names[1] if len(names) > 1 else ""


def source_files() -> list[Path]:
    return sorted([*ROOT.rglob("*.py"), *SRC.glob("smtpd.py")])


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Give each import, and whether it is there for the type checker alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = module_name(file).split(".")
    if file.stem != "__init__":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in for_types
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, node.module or ""]).strip(".")
            for alias in node.names:
                is_module = (SRC / Path(*module.split("."), alias.name)).exists() or (
                    SRC / Path(*module.split("."), f"{alias.name}.py")
                ).exists()
                yield f"{module}.{alias.name}" if is_module else module, id(node) in for_types


ALL = [pytest.param(file, id=module_name(file)) for file in source_files()]


@pytest.mark.parametrize("file", ALL)
def test_imports_point_down(file: Path) -> None:
    here = part(module_name(file))
    if not here:
        return  # pillarbox/__init__.py names what it exports, and loads nothing of it
    assert here in LEVEL, f"{here} has no place in the picture yet: give it one in LAYERS"
    for module, for_types in imports(file):
        there = part(module) if module.split(".")[0] in ("pillarbox", "smtpd") else ""
        if not there or there == here:
            continue
        is_down = LEVEL[here] < LEVEL[there]
        assert is_down or (here, there) in ACQUAINTED, (
            f"{module_name(file)} imports {module}{' for types' if for_types else ''}"
        )


@pytest.mark.parametrize("file", [file for file in ALL if "protocol" in str(file.id)])
def test_the_protocol_does_no_io(file: Path) -> None:
    for module, for_types in imports(file):
        top = module.split(".")[0]
        assert for_types or top == "pillarbox" or top in PROTOCOL_MAY_IMPORT, module
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.Global), ast.unparse(
            node
        )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_NAMES, ast.unparse(node)


def loaded_by(statement: str) -> set[str]:
    """Run a statement in a fresh interpreter; give the modules that it loads."""
    code = f"import sys; sys.path.insert(0, {str(SRC)!r}); {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


PROTOCOL_MODULES = [
    module_name(file) for file in source_files() if part(module_name(file)) == "protocol"
]


@pytest.mark.parametrize("module", ["pillarbox.protocol.server", " , ".join(PROTOCOL_MODULES)])
def test_the_protocol_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}").isdisjoint(NOT_LOADED)


def test_the_door_loads_nothing_before_it_is_asked() -> None:
    loaded = loaded_by("import pillarbox")
    assert {name for name in loaded if name.startswith("pillarbox.")} == set()
    assert loaded.isdisjoint(NOT_LOADED)
