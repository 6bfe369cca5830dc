"""`MODULE:HANDLER` to a handler, or one line about why not.

As uvicorn has it: the module is looked for in the current folder first; what stands behind the
colon may be a handler, a class or function that makes one, or a function of a message, which is a
handler by itself.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any, cast

from pillarbox.cli.errors import Failure
from pillarbox.handler import AnyHandler, questions

__all__ = ["load_handler"]

log = logging.getLogger("pillarbox")

_TARGET = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<attribute>\w+(\.\w+)*)")


def load_handler(target: str) -> AnyHandler:
    """Import and make the handler that `MODULE:HANDLER` names.

    Raises:
        Failure: It says no such thing, or the user's code failed.
    """
    match = _TARGET.fullmatch(target)
    if match is None or match["module"].endswith(".py"):
        name = re.sub(r"\.py$", "", target.partition(":")[0]).replace("/", ".") or "myapp"
        raise Failure(f"{target!r} is no MODULE:HANDLER; write '{name}:handler' or the like")
    found = _attribute(_module(match["module"], target), match["attribute"], target)
    handler = _made(found, target)
    try:
        questions(handler)
    except TypeError as error:
        raise Failure(f"{target}: {error}") from None
    return handler


def _module(name: str, target: str) -> Any:
    folder = _current_folder()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        # Only if it is this module that is missing, and not one that it imports.
        if missing is None or not f"{name}.".startswith(f"{missing}."):
            raise _failed(error, f"importing {name}") from None
        raise Failure(
            f"{target}: there is no module {missing!r} here or installed; run it in the folder"
            f" that has {missing.replace('.', os.sep)}.py, or write another MODULE:HANDLER"
        ) from None


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        raise Failure("the current folder is gone; change to one that exists") from None


def _attribute(module: Any, dotted: str, target: str) -> Any:
    found = module
    for name in dotted.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            known = [name for name in dir(found) if not name.startswith("_")]
            close = get_close_matches(name, known, n=1)
            hint = f"is it {close[0]!r}?" if close else "define it there or name another"
            place = getattr(found, "__name__", type(found).__name__)
            raise Failure(f"{target}: {place} has no {name!r}; {hint}") from None
        except Exception as error:
            raise _failed(error, f"looking up {target}") from None
    return found


def _made(found: Any, target: str) -> AnyHandler:
    """Call what makes a handler; a handler is given back as it is."""
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        return cast("AnyHandler", found)
    required = _required(found)
    if required == 0:
        handler = _call(found, target)
        if inspect.iscoroutine(handler):
            handler.close()
            raise Failure(f"{target} is async and has no parameter; make it a plain function")
        return cast("AnyHandler", handler)
    if inspect.isclass(found):
        raise Failure(
            f"{target} is a class that wants arguments; write a function without parameters that"
            " makes the handler, and name that"
        )
    if required > 1:
        raise Failure(
            f"{target} is a function of {required} parameters; a handler has one, the message, and"
            " one that makes a handler has none"
        )
    return cast("AnyHandler", found)


def _required(function: Callable[..., Any]) -> int:
    """Count the arguments that a call has to give."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return 1  # written in C and silent about it; a function of a message, let us hope
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return sum(p.default is p.empty and p.kind not in optional for p in parameters)


def _call(factory: Callable[[], Any], target: str) -> Any:
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise _failed(error, f"calling {target}") from None


def _failed(error: BaseException, doing: str) -> Failure:
    """Say where the user's code failed; the traceback goes to those who ask for it."""
    log.debug("%s failed", doing, exc_info=error)
    if isinstance(error, SyntaxError) and error.filename:
        place, text = f"{error.filename}, line {error.lineno}", error.msg
    else:
        place, text = _place(error), str(error)
    return Failure(
        f"{doing} failed: {place.removeprefix(os.getcwd() + os.sep)}: {type(error).__name__}"
        f"{': ' if text else ''}{text}; --log-level debug shows the traceback"
    )


def _place(error: BaseException) -> str:
    """Give the last line of the user's own that led there, for it is the one to look at."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if frame.filename.startswith(os.getcwd() + os.sep):
            return f"{frame.filename}, line {frame.lineno}"
    return f"{frames[-1].filename}, line {frames[-1].lineno}"
