"""Variables from files and directories, with a ConfigMap's swaps done for real."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ipfailover_agent.config import sources
from ipfailover_agent.errors import Problem, SettingsError
from tests.support.waiting import wait_until

ADDRESSES = "OPENSHIFT_HA_VIRTUAL_IPS"


def is_contract(name: str) -> bool:
    return name.startswith("OPENSHIFT_HA_")


def write(directory: Path, content: bytes | str) -> str:
    path = directory / "variables.env"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def refused(path: str) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        sources.read_source(path)
    return caught.value.problems


def mount_config_map(path: Path, generation: str, data: dict[str, str]) -> None:
    """Do what the kubelet does: a new directory, a new link, renamed over the old one."""
    path.mkdir(exist_ok=True)
    (path / generation).mkdir()
    for name, value in data.items():
        (path / generation / name).write_text(value)
        if not (path / name).is_symlink():
            (path / name).symlink_to(f"..data/{name}")
    (path / "..data_tmp").symlink_to(generation)
    previous = (path / "..data").resolve() if (path / "..data").exists() else None
    (path / "..data_tmp").rename(path / "..data")
    if previous is not None:
        for each in previous.iterdir():
            each.unlink()
        previous.rmdir()


# --- a file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("  A=1", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A==b=c", {"A": "=b=c"}),
        ("A= b c ", {"A": " b c "}),
        ("A=1 # no comment", {"A": "1 # no comment"}),
        ('A=it\'s "so"', {"A": 'it\'s "so"'}),
        ("A='1 2'", {"A": "1 2"}),
        ("A='a\\b\"c' ", {"A": 'a\\b"c'}),
        ('A="1 2"', {"A": "1 2"}),
        ('A="a\\"b\\\\c\\n$X"', {"A": 'a"b\\c\\n$X'}),
        ("A=''", {"A": ""}),
        ("A=1\r", {"A": "1"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=1\nA=2", {"A": "2"}),
        ("# A=1\n\n   \n\t# B=2\nC=3\n", {"C": "3"}),
        ("\ufeffA=1", {"A": "1"}),
        ("a.b-c=1", {"a.b-c": "1"}),
        ("export=1", {"export": "1"}),
        ("A=é", {"A": "é"}),
        ("", {}),
    ],
)
def test_a_file_of_assignments_is_read_as_documented(
    tmp_path: Path, line: str, expected: dict[str, str]
) -> None:
    """Unquoted values as docker reads them, quoted ones without their quotes."""
    assert expected == sources.read_source(write(tmp_path, line))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("A", "neither an assignment nor a comment"),
        ("A =1", "neither an assignment nor a comment"),
        ("=1", "neither an assignment nor a comment"),
        ("1A=1", "neither an assignment nor a comment"),
        ("A: 1", "neither an assignment nor a comment"),
        ("export A", "neither an assignment nor a comment"),
        ("A='1", "quote does not end"),
        ('A="1', "quote does not end"),
        ('A="1\\"', "quote does not end"),
        ("A='1' 2", "quote does not end"),
        ("A='1'2", "quote does not end"),
        ('A="1" # comment', "quote does not end"),
    ],
)
def test_any_other_line_is_refused_with_file_and_number(
    tmp_path: Path, line: str, reason: str
) -> None:
    """The content is not repeated: it may be a secret that went astray."""
    path = write(tmp_path, f"# first\nB=2\n{line}\nC=3\n")
    (problem,) = refused(path)
    assert reason in problem.reason
    assert (problem.variable, problem.element) == ("IPFAILOVER_CONFIG", f"{path}:3")


def test_all_bad_lines_are_reported_together(tmp_path: Path) -> None:
    """An operator mends a file once."""
    path = write(tmp_path, "A\nB=1\nC\n")
    assert [f"{path}:1", f"{path}:3"] == [each.element for each in refused(path)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"A=\xff\n", "byte 2 is not UTF-8"), (b"A=" + b"x" * (1 << 20), "larger than 1 MiB")],
    ids=["not UTF-8", "too large"],
)
def test_a_file_that_is_no_text_of_variables_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    """The error names the file and the reason."""
    path = write(tmp_path, content)
    with pytest.raises(SettingsError, match=f"IPFAILOVER_CONFIG: '{path}': .*{reason}"):
        sources.read_source(path)


def test_a_source_that_is_missing_is_named(tmp_path: Path) -> None:
    """The variable that points there, the path and the reason."""
    path = f"{tmp_path}/missing"
    message = f"IPFAILOVER_CONFIG: '{path}': cannot be read: No such file or directory"
    assert [message] == list(map(str, refused(path)))


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Opening it for reading would wait for a writer."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SettingsError, match="not a regular file"):
        sources.read_source(str(tmp_path / "fifo"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=60) | st.text("A=\"'\\ #\n\rx").map(str.encode))
@example(b'A="\\')
@example(b"A=\x00")
def test_no_content_makes_the_reader_fail_otherwise_than_documented(
    tmp_path: Path, content: bytes
) -> None:
    """It returns variables or raises SettingsError."""
    try:
        found = sources.read_source(write(tmp_path, content))
    except SettingsError:
        return
    assert all(name and isinstance(value, str) for name, value in found.items())


# --- a directory --------------------------------------------------------------------------------


def test_a_mounted_config_map_is_read(tmp_path: Path) -> None:
    """One variable per file, final newlines off, nothing of Kubernetes' own names."""
    data = {ADDRESSES: "10.9.0.5,\n10.9.0.6\n\n", "EMPTY": "", "BLANK": " x \r\n"}
    mount_config_map(tmp_path / "map", "..2026_1", data)
    expected = {ADDRESSES: "10.9.0.5,\n10.9.0.6", "EMPTY": "", "BLANK": " x "}
    assert expected == sources.read_source(str(tmp_path / "map"))


def test_a_plain_directory_is_read_without_dot_files_and_directories(tmp_path: Path) -> None:
    """What an editor or a version control system leaves is no variable."""
    for name in (".hidden", ".A.swp", "A"):
        (tmp_path / name).write_text("1")
    (tmp_path / "B").mkdir()
    (tmp_path / "B" / "C").write_text("1")
    assert sources.read_source(str(tmp_path)) == {"A": "1"}


def test_files_that_cannot_be_variables_are_named_and_not_read(tmp_path: Path) -> None:
    """A script in the same ConfigMap is no reason to refuse anything."""
    (tmp_path / "A").write_text("1")
    (tmp_path / "my-check.sh").write_bytes(b"\xff" * (1 << 21))
    found = sources.read_source(str(tmp_path))
    assert found == {"A": "1", "my-check.sh": ""}
    assert sources.merge({}, found, is_contract=is_contract) == ({}, ("A", "my-check.sh"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"10.9.0.5\xff", "byte 8 is not UTF-8"), (b"x" * ((1 << 20) + 1), "larger than 1 MiB")],
    ids=["not UTF-8", "too large"],
)
def test_a_value_that_is_no_text_is_refused_by_name(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    """All of them together."""
    for name in ("A", "B"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "C").write_text("fine")
    found = refused(str(tmp_path))
    assert all(reason in each.reason for each in found)
    assert [f"{tmp_path}/A", f"{tmp_path}/B"] == [each.element for each in found]


def test_entries_that_are_neither_file_nor_directory_are_refused_by_name(tmp_path: Path) -> None:
    """A dangling link and a FIFO are mistakes, not variables."""
    (tmp_path / "A").symlink_to("nowhere")
    os.mkfifo(tmp_path / "B")
    reasons = ("No such file or directory", "it is not a regular file")
    expected = [f"cannot be read: {each}" for each in reasons]
    assert expected == [each.reason for each in refused(str(tmp_path))]


def test_values_of_two_generations_are_never_mixed(tmp_path: Path) -> None:
    """While a ConfigMap is swapped all the time, every reading is of one generation."""
    path = tmp_path / "map"
    names = [f"NAME_{number}" for number in range(10)]
    mount_config_map(path, "..0", dict.fromkeys(names, "0"))
    is_done = threading.Event()

    def swap() -> None:
        generation = 1
        while not is_done.is_set():
            mount_config_map(path, f"..{generation}", dict.fromkeys(names, str(generation)))
            generation += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        generations: set[str] = set()
        deadline = time.monotonic() + 20
        while len(generations) < 20 and time.monotonic() < deadline:
            try:
                found = sources.read_source(str(path))
            except SettingsError as error:
                assert "keeps changing" in str(error)  # noqa: PT017 - allowed, not expected
                continue
            assert set(names) == set(found)
            assert len(set(found.values())) == 1, found
            generations.update(found.values())
    finally:
        is_done.set()
        thread.join()
    assert len(generations) == 20


# --- merging ------------------------------------------------------------------------------------


def test_the_source_overrides_the_environment_for_contract_variables_only() -> None:
    """A ConfigMap sets addresses, not PATH; what it ignored is named."""
    environment = {"PATH": "/bin", ADDRESSES: "10.9.0.5", "OPENSHIFT_HA_CONFIG_NAME": "a"}
    source = {ADDRESSES: "10.9.0.6", "PATH": "/evil", "LD_PRELOAD": "x", "OPENSHIFT_HA_X": "y"}
    merged, ignored = sources.merge(environment, source, is_contract=is_contract)
    assert merged == {**environment, ADDRESSES: "10.9.0.6", "OPENSHIFT_HA_X": "y"}
    assert ignored == ("LD_PRELOAD", "PATH")


def test_an_empty_value_overrides_whatever_the_environment_says() -> None:
    """An operator takes a variable back by emptying its file."""
    environment = {ADDRESSES: "10.9.0.5"}
    source = {ADDRESSES: "", "OPENSHIFT_HA_PRIORITY": ""}
    assert sources.merge(environment, source, is_contract=is_contract) == (source, ())
    assert environment == {ADDRESSES: "10.9.0.5"}


# --- watching -----------------------------------------------------------------------------------


def test_a_fingerprint_changes_with_the_source_and_only_then(tmp_path: Path) -> None:
    """A file: missing, made, looked at, written anew with the same size, replaced."""
    path = tmp_path / "file"
    seen = [sources.fingerprint(str(path))]
    path.write_text("A=1")
    seen.append(sources.fingerprint(str(path)))
    path.read_text()
    assert seen[-1] == sources.fingerprint(str(path))
    path.write_text("A=2")
    os.utime(path, ns=(1, 1))
    seen.append(sources.fingerprint(str(path)))
    (tmp_path / "new").write_text("A=3")
    (tmp_path / "new").rename(path)
    seen.append(sources.fingerprint(str(path)))
    path.chmod(0o400)  # what was refused for want of permission can be read now
    seen.append(sources.fingerprint(str(path)))
    assert len(seen) == len(set(seen))


def test_an_edit_in_place_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    """As ``rsync --inplace --times`` may leave it: the same inode, size and modification time."""
    path = tmp_path / "file"
    path.write_text("A=1")
    before, first = path.stat(), sources.fingerprint(str(path))

    def edit() -> bool:  # until the kernel's clock for file times has moved on
        with path.open("r+") as file:
            file.write("A=2")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return path.stat().st_ctime_ns != before.st_ctime_ns

    wait_until(edit, 2, "another time of change")
    after = path.stat()
    for kept in ("st_ino", "st_size", "st_mtime_ns"):
        assert getattr(before, kept) == getattr(after, kept)
    assert first != sources.fingerprint(str(path))


def test_links_in_a_circle_are_a_missing_source(tmp_path: Path) -> None:
    """Looked at without an end, and without an error."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert "missing" == sources.fingerprint(str(tmp_path / "one"))


def test_a_file_that_becomes_a_directory_is_a_change(tmp_path: Path) -> None:
    """And what lies in it is looked at from then on."""
    path = tmp_path / "source"
    path.write_text("A=1")
    seen = {sources.fingerprint(str(path))}
    path.unlink()
    path.mkdir()
    seen.add(sources.fingerprint(str(path)))
    (path / "A").write_text("1")
    seen.add(sources.fingerprint(str(path)))
    assert 3 == len(seen)


def test_a_fingerprint_changes_with_a_config_map(tmp_path: Path) -> None:
    """A swap changes it, and so does a file of a plain directory."""
    path = tmp_path / "map"
    mount_config_map(path, "..1", {"A": "1"})
    first = sources.fingerprint(str(path))
    assert first == sources.fingerprint(str(path))
    mount_config_map(path, "..2", {"A": "1"})
    assert first != sources.fingerprint(str(path))
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "A").write_text("1")
    first = sources.fingerprint(str(plain))
    (plain / "A").write_text("22")
    assert first != sources.fingerprint(str(plain))


# --- /etc/sysconfig/keepalived ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('KEEPALIVED_OPTIONS="-D -S 0"\n', "-D -S 0"),
        ("KEEPALIVED_OPTIONS='-D'  # a comment\n", "-D"),
        ("KEEPALIVED_OPTIONS=-D\n", "-D"),
        ("export KEEPALIVED_OPTIONS=-D; echo x\n", "-D"),
        ("KEEPALIVED_OPTIONS=\n", ""),
        ('KEEPALIVED_OPTIONS=""\n', ""),
        ("KEEPALIVED_OPTIONS= -D\n", ""),
        ('KEEPALIVED_OPTIONS="-D \\\n -S 0"\n', "-D  -S 0"),
        ("KEEPALIVED_OPTIONS=-D\nKEEPALIVED_OPTIONS=-S\n", "-S"),
        ("# KEEPALIVED_OPTIONS=-D\n", None),
        ("MY_KEEPALIVED_OPTIONS=-D\nOTHER=$(reboot)\n", None),
        ("KEEPALIVED_OPTIONS='$x'\n", "$x"),
        ("", None),
    ],
)
def test_options_are_parsed_as_a_shell_would_read_them(
    tmp_path: Path, text: str, expected: str | None
) -> None:
    """Quotes, comments, continuation lines, the last assignment."""
    assert expected == sources.read_sysconfig_options(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('KEEPALIVED_OPTIONS="-D $(touch {mark})"', "needs a shell"),
        ("KEEPALIVED_OPTIONS=`touch {mark}`", "needs a shell"),
        ('KEEPALIVED_OPTIONS="$OTHER"', "needs a shell"),
        ('KEEPALIVED_OPTIONS="-D', "quote does not end"),
        ("KEEPALIVED_OPTIONS=\udcff", "not UTF-8"),
    ],
)
def test_options_that_need_a_shell_are_refused_and_never_executed(
    tmp_path: Path, text: str, reason: str
) -> None:
    """The error names the variable and the file."""
    mark = tmp_path / "mark"
    path = write(tmp_path, text.replace("{mark}", str(mark)).encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=f"KEEPALIVED_OPTIONS: '{path}': .*{reason}"):
        sources.read_sysconfig_options(path)
    assert not mark.exists()


def test_no_sysconfig_file_is_no_options(tmp_path: Path) -> None:
    """Debian has none."""
    assert sources.read_sysconfig_options(str(tmp_path / "missing")) is None
