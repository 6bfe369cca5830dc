"""The examples of docs/catching-mail.md, in their order, on the program that it tells of.

Each block of `sh` is run; what stands behind it as `json` is what it prints, but for ids.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.test_examples import ROOT, TIME_LIMIT_SECONDS

from tests.cli.program import Program  # isort: skip

PAGE = ROOT / "docs/catching-mail.md"
BLOCK = re.compile(r"```sh\n(?P<code>.*?)```(?:\n+```json\n(?P<output>.*?)```)?", re.DOTALL)
ID = re.compile(r'"[A-Za-z0-9_-]{22}"')


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_the_examples(tmp_path: Path) -> None:
    blocks = list(BLOCK.finditer(PAGE.read_text(encoding="utf-8")))
    assert len(blocks) >= 8
    arguments = ("catch", "--chaos", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
    with Program(*arguments) as program:
        program.ready()
        address = program.ready()
        for block in blocks:
            # An answer that is no 200 is an error.
            code = block["code"].replace("http://127.0.0.1:8025", address)
            done = subprocess.run(
                ["sh", "-ec", code.replace("curl -s ", "curl -sSf ")],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT_SECONDS,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, ""), code
            if block["output"] is not None:
                expected = json.loads(ID.sub('"ID"', block["output"]))
                assert json.loads(ID.sub('"ID"', done.stdout)) == expected
        assert program.stop() == (0, [])
