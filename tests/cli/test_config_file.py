"""Where options come from: the command line, the environment, a file, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.probe import group
from tests.cli.program import error_in_process, run_in_process


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pillarbox.toml"


def _told(*arguments: str, env: dict[str, str] | None = None) -> dict[str, str]:
    lines = run_in_process(*arguments, group=group, env=env).splitlines()
    return dict(line.split(": ", 1) for line in lines)


def _error(*arguments: str, env: dict[str, str] | None = None) -> str:
    return error_in_process(*arguments, group=group, env=env)


# The environment


def test_environment_of_the_command_beats_the_general_one() -> None:
    env = {"PILLARBOX_PROBE_HOSTNAME": "probe.test", "PILLARBOX_HOSTNAME": "all.test"}
    assert _told(env=env)["hostname"] == "probe.test"


def test_general_environment() -> None:
    assert _told(env={"PILLARBOX_HOSTNAME": "all.test"})["hostname"] == "all.test"


def test_environment_of_another_command() -> None:
    assert _told(env={"PILLARBOX_SINK_MAX_RECIPIENTS": "7"})["limits"].split()[1] == "1000"


def test_empty_environment_is_none() -> None:
    env = {"PILLARBOX_PROBE_HOSTNAME": "", "PILLARBOX_HOSTNAME": "all.test"}
    assert _told(env=env)["hostname"] == "all.test"


def test_several_values_in_the_environment() -> None:
    told = _told(env={"PILLARBOX_LISTEN": " 127.0.0.1:25  [::1]:25\n", "PILLARBOX_FROM": "a b"})
    assert told["listen"] == "127.0.0.1:25 ::1:25"
    assert told["own"] == "False a b None"


def test_flag_in_the_environment() -> None:
    assert _told(env={"PILLARBOX_QUIET": "1"})["own"].startswith("True")
    assert _told(env={"PILLARBOX_QUIET": "no"})["own"].startswith("False")


def test_argument_beats_the_environment() -> None:
    env = {"PILLARBOX_PROBE_LISTEN": "127.0.0.1:26"}
    assert _told("--listen", "127.0.0.1:25", env=env)["listen"] == "127.0.0.1:25"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PILLARBOX_PROBE_LISTEN", "25"),
        ("PILLARBOX_LISTEN", "25"),
        ("PILLARBOX_MAX_RECIPIENTS", "many"),
        ("PILLARBOX_QUIET", "perhaps"),
    ],
)
def test_wrong_value_in_the_environment(name: str, value: str) -> None:
    assert _error(env={name: value}).startswith(f"{name}: ")


def test_blank_environment_is_no_address() -> None:
    assert "--listen is empty" in _error(env={"PILLARBOX_LISTEN": " "})


# The file


def test_file(file: Path) -> None:
    file.write_text(
        '[probe]\nlisten = ["127.0.0.1:25", "unix:/x"]\nhostname = "file.test"\nquiet = true\n'
        'max-message-bytes = 10\nmax_recipients = 20\nidle-timeout = 30\nfrom = "a"\n'
        "[broken]\nanything = 1\n"
    )
    told = _told("--config", str(file))
    assert told["listen"] == "127.0.0.1:25 /x:0"
    assert told["hostname"] == "file.test"
    assert told["limits"] == "10 20 1000 100 30.0"
    assert told["own"] == "True a None"


@pytest.mark.parametrize(
    "where",
    [
        ("--config", "{}"),
        ("--config={}",),
        ("--config", "{}", "probe"),
        ("--config={}", "probe"),
        ("probe", "--config", "{}"),
        ("probe", "--config={}"),
        ("--config", "/nowhere", "probe", "--config", "{}"),
    ],
    ids=" ".join,
)
def test_place_of_the_option(file: Path, where: tuple[str, ...]) -> None:
    file.write_text('[probe]\nhostname = "file.test"\n')
    told = _told(*(argument.format(file) for argument in where))
    assert told["hostname"] == "file.test"


def test_file_named_in_the_environment(file: Path) -> None:
    file.write_text('[probe]\nhostname = "file.test"\n')
    assert _told(env={"PILLARBOX_CONFIG": str(file)})["hostname"] == "file.test"


def test_environment_beats_the_file_and_the_argument_both(file: Path) -> None:
    file.write_text('[probe]\nhostname = "file.test"\nlisten = "127.0.0.1:1"\nworkers = 2\n')
    env = {"PILLARBOX_HOSTNAME": "env.test", "PILLARBOX_LISTEN": "127.0.0.1:2"}
    told = _told("--config", str(file), "--listen", "127.0.0.1:3", env=env)
    assert told["running"].startswith("2 ")
    assert told["hostname"] == "env.test"
    assert told["listen"] == "127.0.0.1:3"


def test_flag_of_the_file_is_taken_back(file: Path) -> None:
    file.write_text("[probe]\nquiet = true\n")
    told = _told("--config", str(file), env={"PILLARBOX_QUIET": "0"})
    assert told["own"].startswith("False")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[probe", "is not TOML"),
        ("hostname = ", "is not TOML"),
        ('hostname = "x.test"', "'hostname' stands outside a table; write it under"),
        ("probe = 1", "'probe' is a table: write [probe]"),
        ("[[probe]]", "'probe' is a table: write [probe]"),
        ("[porbe]", "[porbe] is no command; write 'probe'"),
        ("[cellar]", "[cellar] is no command; there are broken, probe"),
        ("[probe]\nlisen = 1", "[probe]: 'lisen' is no option; write 'listen'"),
        ("[probe]\nxyz = 1", "[probe]: 'xyz' is no option; there are "),
        ("[probe]\nconfig = 'x'", "[probe]: 'config' is no option"),
        ("[probe]\nworkers = '2'", '[probe] workers = "2" is of a wrong type; write workers = 100'),
        ("[probe]\nworkers = true", "[probe] workers = true is of a wrong type"),
        ("[probe]\nworkers = 1.5", "[probe] workers = 1.5 is of a wrong type"),
        ("[probe]\nidle-timeout = '9'", "is of a wrong type; write idle-timeout = 10.5"),
        ("[probe]\nquiet = 1", "[probe] quiet = 1 is of a wrong type; write quiet = true"),
        (
            "[probe]\nhostname = 1",
            '[probe] hostname = 1 is of a wrong type; write hostname = "..."',
        ),
        ("[probe]\nhostname = ['a']", "is of a wrong type"),
        ("[probe]\nlisten = 25", '[probe] listen = 25 is of a wrong type; write listen = ["..."'),
        ("[probe]\nlisten = [25]", "is of a wrong type"),
        ("[probe]\nlisten = []", "--listen is empty"),
        ("[probe]\nlisten = '25'", "[probe] listen: '25' has no host or no port"),
        ("[probe]\nworkers = 0", "[probe] workers: 0 is not in the range"),
        ("[probe]\nloop = 'x'", "[probe] loop: 'x' is not one of"),
        ("[probe]\nidle-timeout = nan", "[probe] idle-timeout: "),
        ("[probe]\nmax-recipients = 1\nmax_recipients = 2", "'max_recipients' stands there twice"),
    ],
)
@pytest.mark.parametrize("order", ["before", "after"])
def test_wrong_file(file: Path, text: str, error: str, order: str) -> None:
    file.write_text(text)
    option = ("--config", str(file))
    told = _error(*(("probe", *option) if order == "after" else (*option, "probe")))
    assert error in told
    assert str(file) in told or "--listen is empty" in told


def test_file_that_is_not_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe[probe]")
    assert "is not TOML" in _error("--config", str(file))


def test_file_that_is_not_there(file: Path) -> None:
    assert _error("--config", str(file)) == (
        f"--config {file}: No such file or directory; give the name of a TOML file"
    )


def test_option_without_a_file() -> None:
    assert "'--config' requires an argument" in _error("--config")
    assert "'--config' requires an argument" in _error("probe", "--config")


def test_folder_for_a_file(tmp_path: Path) -> None:
    assert "Is a directory" in _error("--config", str(tmp_path))


def test_help_in_spite_of_a_wrong_file() -> None:
    assert "Usage" in run_in_process("--config", "/nowhere", "--help", group=group)
