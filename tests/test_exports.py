"""What is public is exported, exists, says what it is, and is the same wherever it is named."""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import re
import sys
import types
import typing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import pillarbox

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def public_modules() -> list[str]:
    """List them: all but the commands, which are for people, and what begins with `_`."""
    names = [module_name(file) for file in sorted((SRC / "pillarbox").rglob("*.py"))]
    return [name for name in names if "._" not in name and f"{name}.".find("pillarbox.cli.") < 0]


def load(name: str) -> Any:
    """Import a module, if what it needs is installed."""
    try:
        return import_module(name)
    except ImportError as error:
        if (error.name or "").startswith("pillarbox"):
            raise
        return pytest.skip(f"{name} needs {error.name}")


MODULES = public_modules()


@pytest.mark.parametrize("name", MODULES)
def test_a_public_module_says_what_it_has(name: str) -> None:
    module = load(name)
    assert module.__doc__
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    is_package_mark = len(tree.body) == 1  # nothing but a docstring
    assert is_package_mark or hasattr(module, "__all__"), "no __all__"
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), f"{exported} does not exist"
        assert not exported.startswith("_"), exported


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_exported_twice(name: str) -> None:
    exported = list(getattr(load(name), "__all__", ()))
    assert len(exported) == len(set(exported))


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_has_a_docstring(name: str) -> None:
    module = load(name)
    for exported in getattr(module, "__all__", ()):
        value = getattr(module, exported)
        if isinstance(value, type) or inspect.isroutine(value):
            assert value.__doc__, f"{name}.{exported}"
            # What dataclasses write when nobody else did.
            assert not value.__doc__.startswith(f"{exported}("), f"{name}.{exported}"


@pytest.mark.parametrize("name", MODULES)
def test_every_method_has_a_docstring(name: str) -> None:
    module = load(name)
    for exported in getattr(module, "__all__", ()):
        value = getattr(module, exported)
        if not isinstance(value, type) or value.__module__ != name:
            continue
        for attribute, method in vars(value).items():
            function = method.fget if isinstance(method, property) else method
            function = getattr(function, "__func__", function)
            if attribute.startswith("_") or not isinstance(function, types.FunctionType):
                continue
            assert function.__doc__, f"{name}.{exported}.{attribute}"


# The door.


def test_the_door_is_what_it_lists() -> None:
    assert sorted(pillarbox.__all__) == list(pillarbox.__all__)
    assert set(pillarbox.__all__) == set(pillarbox._HOME)
    for name in pillarbox.__all__:
        assert getattr(pillarbox, name) is not None


@pytest.mark.parametrize("name", pillarbox.__all__)
def test_a_name_is_the_same_at_the_door_and_at_home(name: str) -> None:
    home = import_module(pillarbox._HOME[name])
    assert name in home.__all__
    assert getattr(pillarbox, name) is getattr(home, name)


def test_the_type_checker_sees_the_same_names() -> None:
    tree = ast.parse((SRC / "pillarbox/__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {
        alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == set(pillarbox.__all__)


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Sever'"):
        pillarbox.Sever  # noqa: B018  # a typing error


def test_the_version() -> None:
    assert pillarbox.__version__.count(".") == 2


def documented() -> set[str]:
    """Find the names that the guides have in code."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    code = "".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
    return set(re.findall(r"\w+", code))


# Names that wait for their guide: take each out with the page that explains it.
UNDOCUMENTED = {"ConfigError", "Handler", "Path", "Server", "streaming"}


def test_the_door_is_documented() -> None:
    assert set(pillarbox.__all__) - documented() <= UNDOCUMENTED


def keyword_only(value: object) -> list[str]:
    """Find parameters beyond the second that may be given by position."""
    if isinstance(value, enum.EnumMeta) or dataclasses.is_dataclass(value):
        return []
    try:
        parameters = list(inspect.signature(typing.cast("Any", value)).parameters.values())
    except (TypeError, ValueError):
        return []
    return [
        parameter.name
        for parameter in parameters[2:]
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]


# `serve(handler, host, port)` and ThreadServer are called by everybody, and read well so.
BY_POSITION = {"serve": ["port"], "ThreadServer": ["port"]}


@pytest.mark.parametrize("name", pillarbox.__all__)
def test_beyond_the_first_two_arguments_by_keyword(name: str) -> None:
    value = getattr(pillarbox, name)
    if isinstance(value, type) and issubclass(value, Exception | typing.Protocol):
        return
    assert keyword_only(value) == BY_POSITION.get(name, [])


def test_python_is_as_new_as_promised() -> None:
    assert sys.version_info >= (3, 11)
