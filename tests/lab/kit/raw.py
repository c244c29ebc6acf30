"""Configurations for keepalived alone, to test the lab and to compare the agent with."""

from __future__ import annotations

from collections.abc import Iterable

from tests.lab.kit.node import Node


def keepalived_config(
    *addresses: str, priority: int, virtual_router_id: int = 51, name: str = "raw", extra: str = ""
) -> str:
    """Return a configuration with one instance that serves ``addresses`` of one family.

    ``extra`` is put into the instance as it is.
    """
    length = 128 if ":" in addresses[0] else 32
    listed = "\n".join(f"    {address}/{length} dev eth0" for address in addresses)
    return (
        "global_defs {\n"
        # Otherwise it asks for its host's name: a dead name server costs it 10 s and more.
        "  router_id lab\n"
        "  smtp_helo_name lab\n"
        "  notification_email_from lab@lab\n"
        "  script_user root\n"
        "  enable_script_security\n"
        "  max_auto_priority -1\n"
        "}\n"
        f"vrrp_instance {name} {{\n"
        "  interface eth0\n"
        f"  virtual_router_id {virtual_router_id}\n"
        f"  priority {priority}\n"
        "  advert_int 1\n"
        f"  virtual_ipaddress {{\n{listed}\n  }}\n"
        f"  {extra}\n"
        "}\n"
    )


def joined(configs: Iterable[str]) -> str:
    """Return one configuration with the instances of several."""
    first, *others = configs
    return first + "".join(each[each.index("vrrp_instance") :] for each in others)


def unicast(own: str, peers: Iterable[str]) -> str:
    """Return what makes an instance send to these peers alone, as ``extra``."""
    listed = "\n".join(f"    {each}" for each in peers)
    return f"unicast_src_ip {own}\n  unicast_peer {{\n{listed}\n  }}"


#: What makes an instance follow the check of ``with_port_check``, as ``extra``.
TRACKED = "track_script {\n    chk\n  }"


def with_port_check(config: str, node: Node, port: int, seconds: str) -> str:
    """Return a configuration with the shell image's check of a node's port, every so often."""
    check = (
        "vrrp_script chk {\n"
        f"  script \"/bin/bash -c '</dev/tcp/{node.ip}/{port}'\"\n"
        f"  interval {seconds}\n"
        "}\n"
    )
    return config.replace("vrrp_instance", f"{check}vrrp_instance", 1)
