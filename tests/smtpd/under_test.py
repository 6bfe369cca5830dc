"""The module under test: ours, or the standard library's to see that it fails where it should.

    python -m pytest tests/smtpd
    SMTPD_UNDER_TEST=stdlib python3.11 -m pytest tests/smtpd

Both are loaded by their place: on Python 3.11 the standard library's is the one that is found.
A test of a fault is marked `@mended(3)`, with the fault's number, and has to fail on the standard
library's module; all others have to pass on it, but for those of what it does not have.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

__all__ = ["IS_STDLIB", "SMTPD_FILE", "asynchat", "asyncore", "mended", "ours_only", "smtpd"]

SRC = Path(__file__).parent.parent.parent / "src"
IS_STDLIB = os.environ.get("SMTPD_UNDER_TEST") == "stdlib"
SMTPD_FILE = Path(sysconfig.get_path("stdlib")) / "smtpd.py" if IS_STDLIB else SRC / "smtpd.py"

if IS_STDLIB and not SMTPD_FILE.exists():
    pytest.exit(f"{SMTPD_FILE} does not exist: run these tests on Python 3.11", returncode=2)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("smtpd", SMTPD_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["smtpd"] = module
    with warnings.catch_warnings():
        if IS_STDLIB:
            warnings.simplefilter("ignore", DeprecationWarning)
        spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    import asynchat
    import asyncore
    import smtpd
else:
    smtpd = load()
    asynchat, asyncore = smtpd.asynchat, smtpd.asyncore


def mended(fault: int, *, raises: type[BaseException] | None = None) -> pytest.MarkDecorator:
    """Mark a test of a fault that the standard library's module has."""
    return pytest.mark.xfail(IS_STDLIB, reason=f"fault {fault}", raises=raises, strict=True)


ours_only = pytest.mark.skipif(IS_STDLIB, reason="the standard library's module has no such thing")
