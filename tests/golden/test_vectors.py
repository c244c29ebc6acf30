"""Every recorded vector, from its environment to the rendered file, beside the shell image's."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec import structs

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.settings import parse
from ipfailover_agent.config.templating import render
from ipfailover_agent.errors import HostNotReadyError, SettingsError
from tests.support import keepalived_conf
from tests.support.cases import PATHS
from tests.support.vectors import Vector, host_facts, load_vectors

# Its list holds the recorded node's own address, which the shell image did not notice: keepalived
# then has every instance in FAULT. The reading of the rest is what the vector is about.
OWN_ADDRESS = "vrid-254-vips-offset-0"
ELSEWHERE = host_facts({"ens3": ["192.168.56.10/24"]})


def reading(name: str) -> list[Vector]:
    return [each for each in load_vectors() if each.reading == name]


def rendered(vector: Vector) -> keepalived_conf.Statement:
    facts = ELSEWHERE if vector.name == OWN_ADDRESS else vector.facts
    return keepalived_conf.parse(render(plan(parse(vector.env), facts), PATHS).config.text)


def held(instance: keepalived_conf.Statement) -> set[str]:
    blocks = ("virtual_ipaddress", "virtual_ipaddress_excluded")
    words = [line[0] for block in blocks for line in instance.lines(block)]
    return {str(ip_address(word.partition("/")[0])) for word in words}


def test_every_vector_has_a_reading() -> None:
    """None is passed over: 61 in all."""
    counts = {name: len(reading(name)) for name in ("same", "refuse", "new")}
    assert (61, {"same", "refuse", "new"}) == (sum(counts.values()), set(counts))
    assert all(counts.values())


@pytest.mark.parametrize("vector", reading("same"), ids=str)
def test_what_the_shell_image_read_well_is_read_the_same(vector: Vector) -> None:
    """Same instances, in the same order, with the same wire form."""
    instances = rendered(vector).all("vrrp_instance")
    assert len(vector.old_image.instances) == len(instances)
    for old, new in zip(vector.old_image.instances, instances, strict=True):
        expected = {str(ip_address(address)) for address in old.addresses}
        assert ((old.name,), str(old.virtual_router_id), old.interface, expected) == (
            new.words[1:],
            new.value("virtual_router_id"),
            new.value("interface"),
            held(new),
        )
        is_ipv4 = ip_address(old.addresses[0]).version == 4
        password = new.one("authentication").value("auth_pass") if is_ipv4 else None
        # With IPv6 the shell image's password has no effect: version 3 knows none.
        assert (old.password if is_ipv4 else None) == password
        assert ("2" if is_ipv4 else "3", "1") == (new.value("version"), new.value("advert_int"))
        assert (old.unicast_peers or ()) == tuple(line[0] for line in new.lines("unicast_peer"))


@pytest.mark.parametrize("vector", reading("same"), ids=str)
def test_the_check_keeps_its_name_and_its_interval(vector: Vector) -> None:
    """People look for chk_NAME in the log, where keepalived runs the check."""
    own = {**vector.env, "OPENSHIFT_HA_CHECK_WATCH": "0"}
    checks = rendered(structs.replace(vector, env=own)).all("vrrp_script")
    old = vector.old_image.check
    assert old is not None
    assert [old.name] == [each.words[1] for each in checks]
    intervals = [line.split()[1] for line in old.lines if "interval" in line]
    assert intervals == [each.value("interval") for each in checks]


@pytest.mark.parametrize("vector", reading("refuse"), ids=str)
def test_what_the_shell_image_misread_is_refused(vector: Vector) -> None:
    """The error names the variable."""
    try:
        config = plan(parse(vector.env), vector.facts)
    except SettingsError as error:
        variables = {each.variable for each in error.problems}
    except HostNotReadyError as error:
        variables = {error.problem.variable}
    else:
        pytest.fail(f"accepted: {config.addresses}")
    assert {vector.variable} == variables


@pytest.mark.parametrize("vector", reading("new"), ids=str)
def test_what_the_shell_image_could_not_read_has_a_reading_of_its_own(vector: Vector) -> None:
    """Where old nodes got nothing out of it, ours is what anyone would expect."""
    instances = rendered(vector).all("vrrp_instance")
    assert [(number, set(addresses)) for number, addresses in vector.instances] == [
        (int(each.value("virtual_router_id")), held(each)) for each in instances
    ]
    interface = vector.interface or vector.old_image.interface
    assert {interface} == {each.value("interface") for each in instances}


def test_the_nodes_own_address_in_a_long_list_is_refused() -> None:
    """The recorded node of the one vector that is played on another."""
    (vector,) = [each for each in load_vectors() if each.name == OWN_ADDRESS]
    with pytest.raises(SettingsError) as caught:
        plan(parse(vector.env), vector.facts)
    assert ["192.168.55.10"] == [each.element for each in caught.value.problems]
