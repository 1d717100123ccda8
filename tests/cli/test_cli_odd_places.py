"""Every command where its output cannot be shown or written: one message with its own remedy, and never a traceback."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from breakdown.cli.main import COMMANDS, cli
from breakdown.store.profiles.protobuf import new

EXPERIMENT = """
defaults: {workload_options: {features: 8, hidden: 8, layers: 1}, batch_size: 2, steps: 4, warmup_steps: 1}
include: [{backend: single}]
"""
TIMEOUT_S = 110
"""Of one command. A run with its report takes a minute where the machine is busy with others."""

BREAKDOWN = [sys.executable, "-m", "breakdown.cli"]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def told(found: Result) -> str:
    """The one message. Nothing else may be said, and click must have got to no exception but the exit."""
    assert isinstance(found.exception, SystemExit), found.exception
    assert found.stdout == ""
    assert found.stderr.startswith("breakdown: ")
    return found.stderr.removeprefix("breakdown: ").rstrip("\n")


def profile(folder: Path) -> Path:
    """RunMetadata of two steps."""
    folder.mkdir()
    for step in range(2):
        start_us, label = 10**15 + step * 1000, "MatMul = MatMul()"
        node = new(
            "NodeExecStats", node_name="MatMul", timeline_label=label, all_start_micros=start_us, all_end_rel_micros=10
        )
        device = new("DeviceStepStats", device="/job:worker/replica:0/task:0/device:CPU:0", node_stats=[node])
        content = new("RunMetadata", step_stats=new("StepStats", dev_stats=[device]))
        (folder / f"{step}.pb").write_bytes(content.SerializeToString())
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment, its result, a profile, and paths that lead nowhere."""
    folder = tmp_path_factory.mktemp("situations")
    (folder / "trial.yaml").write_text(EXPERIMENT)
    profile(folder / "profile")
    (folder / "file").write_text("not a folder")
    (folder / "loop").symlink_to("loop")
    (folder / "locked").mkdir(mode=0o500)
    done = call("run", folder / "trial.yaml", "--output", folder / "result")
    assert done.exit_code == 0, done.output
    return folder


def cell(place: Path) -> Path:
    (found,) = (place / "result").glob("single-*")
    return found


def writing(command: str, place: Path, output: str) -> list[str]:
    """The arguments that have a command write there. Those without --output are given the result's place."""
    here = str(place)
    return {
        "run": ["run", f"{here}/trial.yaml", "--output", output],
        "plan": ["plan", f"{here}/trial.yaml", "--output", output],
        "trace": ["trace", "mxnet", "--output", output, "--", "true"],
        "import": ["import", f"{here}/profile", "--output", output],
        "export": ["export", str(cell(place)), "--format", "perfetto", "--output", output],
        "report": ["report", output],
        "collect": ["collect", output],
        "explain": ["explain", output],
    }[command]


MAKERS = ("run", "plan", "trace", "import", "export")
"""Commands that make what --output names."""

FILE = "Not a directory. A part of this path is a file, not a folder: choose another path."
LOOP = "Too many levels of symbolic links. Symbolic links in this path lead in a circle: choose another path."
LONG = "File name too long. Choose a shorter name."
NO_RIGHT = "Permission denied. Have the right to write there given to you, or choose another place."
READ_ONLY = "Read-only file system. It lies on a file system that is mounted read-only: choose another place."
NOWHERE = {
    "{place}/file/out": FILE,
    "{place}/file/deep/out": FILE,
    "/dev/null/out": FILE,
    "{place}/loop": LOOP,
    "{place}/loop/out": LOOP,
    "{place}/" + 300 * "n": LONG,
    "{place}/new/" + 300 * "n": LONG,
}


@pytest.mark.parametrize("path", NOWHERE)
@pytest.mark.parametrize("command", MAKERS)
def test_an_output_that_cannot_be(command: str, path: str, place: Path) -> None:
    output = path.format(place=place)
    before = sorted(place.iterdir())
    found = call(*writing(command, place, output))
    assert found.exit_code == (1 if command == "export" else 2)
    assert told(found) == f"cannot write {output}: {NOWHERE[path]}"
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize("command", ["run", "plan", "trace", "import"])
def test_an_output_that_is_a_file(command: str, place: Path) -> None:
    for output in ("/dev/null", str(place / "file")):
        found = call(*writing(command, place, output))
        assert found.exit_code == 2
        assert told(found) == f"{output} is a file. Choose another --output."


@pytest.mark.parametrize("path", NOWHERE)
@pytest.mark.parametrize("command", ["report", "collect", "explain"])
def test_a_result_that_cannot_be(command: str, path: str, place: Path) -> None:
    found = call(*writing(command, place, path.format(place=place)))
    assert found.exit_code in (1, 2)
    assert told(found)


@pytest.mark.parametrize("path", NOWHERE)
def test_environments_that_cannot_be_made(path: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAKDOWN_ENVS", path.format(place=place))
    found = call("env", "create", "mxnet")
    assert found.exit_code == 1
    message = told(found)
    assert message.startswith(f"cannot write {path.format(place=place)}")
    assert message.endswith("Environments may lie elsewhere: export BREAKDOWN_ENVS=FOLDER")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_working_directory_that_is_gone(
    command: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    others = {"compare": ["compare", "a", "b"], "env": ["env", "create", "mxnet"], "doctor": ["doctor"]}
    found = call(*(others.get(command) or writing(command, place, "out")))
    assert found.exit_code == 2
    assert told(found) == "The working directory is gone: change to a folder that is there."


def test_an_export_to_a_device_writes_to_it(place: Path) -> None:
    found = call(*writing("export", place, "/dev/full"))
    assert found.exit_code == 1
    assert told(found) == (
        "cannot write /dev/full: No space left on device. The file is as it was. Free some space, or choose another disk."
    )
    assert call(*writing("export", place, "/dev/null")).exit_code == 0
    assert Path("/dev/null").is_char_device()


def without_roots_rights(arguments: Sequence[str]) -> list[str]:
    """Rights count for root too, once it may not overrule them."""
    bounded = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    return [*bounded, *BREAKDOWN, *arguments]


@pytest.mark.parametrize("command", MAKERS)
def test_an_output_in_a_folder_that_may_not_be_written_to(command: str, place: Path) -> None:
    output = place / "locked" / "out"
    arguments = without_roots_rights(writing(command, place, str(output)))
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout) == (1 if command == "export" else 2, "")
    assert done.stderr == f"breakdown: cannot write {output}: {NO_RIGHT}\n"


@pytest.fixture
def read_only(tmp_path: Path, place: Path) -> Iterator[Path]:
    """A file system that is mounted read-only, with the result on it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "mounted"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        shutil.copytree(place / "result", folder / "result")
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_file_system_that_is_mounted_read_only(place: Path, read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (*MAKERS, "report", "collect"):
        output = read_only / ("out" if command in MAKERS else "result")
        found = call(*writing(command, place, str(output)))
        assert found.exit_code == (1 if command == "export" else 2)
        assert told(found) == f"cannot write {output}: {READ_ONLY}"
    monkeypatch.setenv("BREAKDOWN_ENVS", str(read_only / "envs"))
    assert told(call("env", "create", "mxnet")).startswith(f"cannot write {read_only / 'envs'}: {READ_ONLY}")
    for arguments in (["explain"], ["compare", str(read_only / "result")]):
        assert call(*arguments, read_only / "result").exit_code == 0


@pytest.mark.parametrize("command", ["report", "collect"])
def test_a_result_that_may_not_be_written_to(command: str, place: Path) -> None:
    result = place / "result"
    result.chmod(0o500)
    try:
        arguments = without_roots_rights(writing(command, place, str(result)))
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    finally:
        result.chmod(0o700)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"breakdown: cannot write {result}: {NO_RIGHT}\n"


def test_paths_that_are_not_utf_8(place: Path) -> None:
    """What is written is read again; a report of it can be made, and is UTF-8."""
    odd = os.fsdecode(os.fsencode(place) + b"/odd-\xff-")
    profile(Path(f"{odd}profile"))
    for arguments in (
        ["run", f"{place}/trial.yaml", "--output", f"{odd}run"],
        ["plan", f"{place}/trial.yaml", "--output", f"{odd}plan"],
        ["import", f"{odd}profile", "--output", f"{odd}import"],
        ["explain", f"{odd}import"],
        ["report", f"{odd}run"],
        ["collect", f"{odd}run"],
        ["compare", f"{odd}run", f"{odd}import"],
        ["export", str(Path(f"{odd}run") / cell(place).name), "--format", "perfetto", "--output", f"{odd}export"],
        ["run", f"{place}/trial.yaml", "--output", f"{odd}run", "--resume"],
    ):
        done = subprocess.run([*BREAKDOWN, *arguments], capture_output=True, timeout=TIMEOUT_S, check=False)
        assert (done.returncode, done.stderr) == (0, b""), arguments
    for page in (Path(f"{odd}run"), Path(f"{odd}import")):
        assert "</html>" in (page / "report.html").read_text("utf-8")
    assert os.fsencode(f"wrote {odd}export\n") == subprocess.run(
        [*BREAKDOWN, "export", os.fsencode(f"{odd}import"), "--format", "perfetto", "--output", os.fsencode(f"{odd}export")],
        capture_output=True, timeout=TIMEOUT_S, check=True,
    ).stdout  # fmt: skip


def shell(command: str, redirection: str, **env: str) -> tuple[int, str, str]:
    script = f"set -o pipefail; {shlex.join(BREAKDOWN)} {command} {redirection}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, timeout=TIMEOUT_S, check=False, env={**os.environ, **env},
        encoding="utf-8", errors="surrogateescape",
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", ["--help", "explain result", "plan trial.yaml", "report result"])
def test_an_output_that_takes_no_more(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is done all the same. A reader that has seen enough is no fault, and is told by the exit code alone."""
    monkeypatch.chdir(place)
    full = "cannot write to standard output: No space left on device. Free some space, or choose another disk."
    assert shell(command, ">/dev/full") == (1, "", f"breakdown: {full}\n")
    (place / "result" / "report.html").unlink(missing_ok=True)
    assert shell(command, "| true") == (1, "", "")
    assert not command.startswith("report") or (place / "result" / "report.html").is_file()
    assert shell(command, ">&-") == (0, "", "")
    assert shell(command, "<&- >&- 2>&-") == (0, "", "")


def test_a_run_is_not_ended_by_a_reader_that_goes(place: Path, tmp_path: Path) -> None:
    assert shell(f"run {place}/trial.yaml --output {tmp_path}/result", "| true") == (1, "", "")
    assert "</html>" in (tmp_path / "result" / "report.html").read_text("utf-8")


def test_an_error_that_cannot_be_shown_still_has_its_exit_code(place: Path) -> None:
    for redirection in ("2>/dev/full", "2>&-", "2>&1 | true", ">&- 2>&-"):
        assert shell("explain nowhere", redirection) == (2, "", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding(encoding: str, place: Path) -> None:
    code, out, err = shell(f"explain {place}/result", "", PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert "samples/s" in out
    assert "?" not in out.replace("why?", "")


@pytest.mark.parametrize("command", ["collect result", "compare result result", "export result --format perfetto"])
def test_the_other_commands_print_as_these_do(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    code, out, err = shell(command, "", PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "")
    assert out.isascii()
    assert shell(command, ">/dev/full")[0] == 1


def test_a_system_without_a_locale(place: Path, tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    code, out, err = shell(f"run {place}/trial.yaml --output {tmp_path}/é", "", **plain)
    assert (code, err) == (0, "")
    assert out.isascii() or f"wrote {tmp_path}/é/report.html\n" in out
    assert "</html>" in (tmp_path / "é" / "report.html").read_text("utf-8")


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no-such"])
def test_a_backend_of_matplotlib_that_is_not_here(backend: str, place: Path) -> None:
    code, _, err = shell(f"report {place}/result", "", MPLBACKEND=backend)
    assert (code, err) == (0, "")
