"""The switch between the nodes: a bridge in a namespace of its own that can lose frames."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from tests.lab.kit.namespaces import NetworkNamespace

#: As seen by the node: ``out`` loses what it sends, ``in`` what is sent to it.
Direction = Literal["both", "in", "out"]


#: 224.0.0.18 and ff02::12 on Ethernet (RFC 1112 section 6.4, RFC 2464 section 7).
_GROUPS = ("01:00:5e:00:00:12", "33:33:00:00:00:12")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Frames that the switch drops; an empty port means any port.

    ``claimed``: only those that say whose this address is, by ARP or neighbour advertisement.
    ``only_group``: those to VRRP's multicast groups, as a switch that forgot who is in them.
    """

    source: str = ""
    target: str = ""
    only_vrrp: bool = False
    claimed: str = ""
    only_group: bool = False

    @property
    def rule(self) -> str:
        """Return the nftables rule (bridge family)."""
        words = [f'iifname "{self.source}"'] if self.source else []
        words += [f'oifname "{self.target}"'] if self.target else []
        words += ["meta l4proto 112"] if self.only_vrrp else []
        words += [_claim(self.claimed)] if self.claimed else []
        words += [f"ether daddr {{ {', '.join(_GROUPS)} }}"] if self.only_group else []
        return " ".join([*words, "drop"])


class Switch:
    """One bridge; every host is on the port that bears its name."""

    def __init__(self, network: NetworkNamespace) -> None:
        self.network = network
        self._losses: dict[Loss, None] = {}

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Return what is dropped at present."""
        return tuple(self._losses)

    def lose(self, *losses: Loss) -> None:
        """Drop these frames from now on."""
        self._losses.update(dict.fromkeys(losses))
        self._apply()

    def restore(self, *losses: Loss) -> None:
        """Forward these frames again."""
        for each in losses:
            self._losses.pop(each, None)
        self._apply()

    def restore_all(self) -> None:
        """Forward everything again."""
        self._losses.clear()
        self._apply()

    def cut(self, port: str, direction: Direction = "both") -> None:
        """Lose every frame of a port; its link stays up."""
        self.lose(*_port_losses(port, direction))

    def join(self, port: str, direction: Direction = "both") -> None:
        """Undo ``cut``."""
        self.restore(*_port_losses(port, direction))

    def drop_vrrp(self, source: str = "", target: str = "") -> None:
        """Lose VRRP from one port to another; an empty name means every port."""
        self.lose(Loss(source=source, target=target, only_vrrp=True))

    def pass_vrrp(self, source: str = "", target: str = "") -> None:
        """Undo ``drop_vrrp`` with the same names."""
        self.restore(Loss(source=source, target=target, only_vrrp=True))

    def secure(self, port: str, *addresses: str) -> None:
        """Let the port's node claim these addresses no more, as port security does."""
        self.lose(*(Loss(source=port, claimed=each) for each in addresses))

    def unsecure(self, port: str, *addresses: str) -> None:
        """Undo ``secure``."""
        self.restore(*(Loss(source=port, claimed=each) for each in addresses))

    def drop_multicast(self) -> None:
        """Lose VRRP's multicast, and nothing else: ARP and unicast pass."""
        self.lose(Loss(only_group=True))

    def set_link(self, port: str, *, up: bool) -> None:
        """Take the cable out or put it in: the host sees its carrier go or come."""
        self.network.ip([f"link set {port} {'up' if up else 'down'}"])

    def _apply(self) -> None:
        rules = "\n".join(each.rule for each in self._losses)
        # One transaction: there is no moment without the rules that stay.
        self.network.run(
            ["nft", "-f", "-"],
            text=(
                "table bridge lab\n"
                "delete table bridge lab\n"
                "table bridge lab {\n"
                "chain forward {\n"
                "type filter hook forward priority 0; policy accept;\n"
                f"{rules}\n"
                "}\n}\n"
            ),
        )


def _claim(address: str) -> str:
    found = ip_address(address)
    if found.version == 4:
        return f"arp saddr ip {found}"
    return f"icmpv6 type nd-neighbor-advert @th,64,128 0x{int(found):032x}"


def _port_losses(port: str, direction: Direction) -> tuple[Loss, ...]:
    sent, received = Loss(source=port), Loss(target=port)
    return {"both": (sent, received), "out": (sent,), "in": (received,)}[direction]
