"""Commands in variables: what only a shell understands is refused, or told of."""

from __future__ import annotations

import pytest

from ipfailover_agent.config.settings import parse
from ipfailover_agent.errors import Problem, SettingsError

ADDRESSES = {"OPENSHIFT_HA_VIRTUAL_IPS": "192.0.2.10"}

each_variable = pytest.mark.parametrize(
    "variable", ["OPENSHIFT_HA_CHECK_SCRIPT", "OPENSHIFT_HA_NOTIFY_SCRIPT"]
)


def problems(variable: str, command: str) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        parse(ADDRESSES | {variable: command})
    return caught.value.problems


def warnings(command: str) -> tuple[str, ...]:
    name = "OPENSHIFT_HA_CHECK_SCRIPT"
    return tuple(
        each.removeprefix(f"{name}: ") for each in parse(ADDRESSES | {name: command}).warnings
    )


@each_variable
@pytest.mark.parametrize(
    ("command", "operators"),
    [
        ("/bin/true && /bin/false", "&&"),
        ("/bin/true&&/bin/false", "&&"),
        ("/usr/bin/pgrep haproxy || exit 1", "||"),
        ("/usr/bin/pgrep haproxy||exit 1", "||"),
        ("/usr/bin/curl -s http://127.0.0.1/ | grep -q up", "|"),
        ("/bin/a|/bin/b", "|"),
        ("/bin/a; /bin/b", ";"),
        ("/bin/a;/bin/b", ";"),
        ("/bin/a &", "&"),
        ("/bin/a > /dev/null", ">"),
        ("/bin/a >/dev/null 2>&1", "> >&"),
        ("/bin/a>>/var/log/a", ">>"),
        ("/bin/a < /etc/hosts", "<"),
        ("/bin/a <<<word", "<<<"),
        ("/bin/a $(/bin/b)", "( )"),
        ("(/bin/a)", "( )"),
        ("/bin/a # always", "# always"),
        ("/usr/bin/curl http://127.0.0.1/?a=1&b=2", "&"),
        ("/bin/sh -c '/bin/a' && /bin/b", "&&"),
        ("A=1 /bin/a && /bin/b", "&&"),
    ],
)
def test_an_operator_of_the_shell_is_refused(variable: str, command: str, operators: str) -> None:
    """It would be an argument of the program: always true, or always false."""
    shown = operators.partition(" ")[0] if operators.startswith("#") else operators
    (problem,) = problems(variable, command)
    assert variable == problem.variable
    assert command == problem.element
    assert (
        f"no shell reads this, so the program would get {shown} as an argument" == problem.reason
    )
    assert problem.instead.startswith("write /bin/sh -c '")
    assert problem.instead.endswith(f", or quote {shown} if the program is to have it")


def test_what_to_write_instead_can_be_written() -> None:
    """The refusal shows a command that is accepted."""
    (problem,) = problems("OPENSHIFT_HA_CHECK_SCRIPT", "/bin/true && /bin/false")
    instead = problem.instead.removeprefix("write ").partition(", or quote")[0]
    assert "/bin/sh -c '/bin/true && /bin/false'" == instead
    assert () == warnings(instead)


@each_variable
@pytest.mark.parametrize(
    ("command", "word", "instead"),
    [
        ("A=1 /bin/x", "A=1", "/usr/bin/env A=1 /bin/x"),
        ("PATH=/opt/bin:/bin x", "PATH=/opt/bin:/bin", "/usr/bin/env PATH=/opt/bin:/bin x"),
        ("! /bin/x", "!", "/bin/sh -c '! /bin/x'"),
        ("exec /bin/x", "exec", "/bin/sh -c 'exec /bin/x'"),
    ],
)
def test_what_only_a_shell_can_run_is_refused(
    variable: str, command: str, word: str, instead: str
) -> None:
    """An assignment in front, and the shell's own words, are no programs."""
    reason = f"no shell reads this, and {word!r} is no program"
    expected = Problem(variable, command, reason, f"write {instead}")
    assert (expected,) == problems(variable, command)


@pytest.mark.parametrize(
    "command",
    [
        "/bin/sh -c '/bin/true && /bin/false > /dev/null 2>&1; exit $?'",
        '/bin/sh -c "/bin/true && test -e $FILE"',
        "/usr/bin/timeout 1 /bin/bash -euc 'test -e ~/*'",
        "/usr/bin/curl 'http://127.0.0.1/?a=1&b=2'",
        "/usr/bin/curl http://127.0.0.1/?a=1",
        r"/usr/bin/grep -q a\|b /etc/hosts",
        "/usr/bin/grep -q 'up$' \"/etc/hosts\"",
        "/usr/bin/grep -q up$ /etc/hosts",
        "/usr/bin/env A=1 /bin/x",
        "/bin/echo A=1 a#b",
        "/usr/bin/[ -e /etc/hosts ]",
        r"/bin/echo \$HOME '$HOME' '*' \~ '`x`' '' '#'",
        "/bin/sh -c 'test -e \"$0\"' /etc/hosts",
        r'/bin/echo "a \" b" "\\"',
    ],
)
def test_what_is_quoted_stays_an_argument(command: str) -> None:
    """Nothing is said about a command that means the same with a shell and without."""
    assert () == warnings(command)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("/bin/check $PORT", "$PORT"),
        ("/bin/check ${PORT}", "${PORT"),
        ('/bin/check "$PORT"', "$PORT"),
        ("/bin/check $1 $1", "$1"),
        ('/bin/check "$(hostname)"', "$(hostname"),
        ("/bin/check `hostname`", "`"),
        ("/bin/ls /run/*.pid", "/run/*.pid"),
        ("/bin/ls /run/a?", "/run/a?"),
        ("/bin/ls /run/[ab]", "/run/[ab]"),
        ("/bin/ls ~/run", "~/run"),
    ],
)
def test_what_a_shell_would_replace_is_told_of(command: str, shown: str) -> None:
    """keepalived ran commands without a shell as well, so it is no error."""
    expected = (
        f"no shell reads this, so the program gets {shown} as written; write /bin/sh -c '...' if "
        "a shell is to replace it, or quote it if not"
    )
    assert (expected,) == warnings(command)


def test_a_backslash_that_a_shell_would_take_away_is_told_of() -> None:
    """In double quotes a backslash goes away before a quote or a backslash only."""
    expected = "a backslash before $ or ` stays in double quotes; write single quotes, without it"
    assert (expected,) == warnings(r'/bin/sh -c "echo \$HOME"')


def test_a_shell_that_gets_its_command_in_pieces_is_told_of() -> None:
    """``sh -c`` runs one word: without quotes a test of a file is a test of nothing."""
    expected = (
        "of this the shell runs 'test' alone; put all that it is to run into one pair of quotes"
    )
    assert (expected,) == warnings("/bin/sh -c test -e /etc/hosts")


def test_a_shell_without_a_command_has_nothing_to_say() -> None:
    """A script that a shell reads from a file is an argument like any other."""
    assert () == warnings("/bin/sh -e /opt/check.sh")
