"""VRRP's timers in seconds, by RFC 3768 section 6.1 and RFC 5798 section 6.1 (version 3).

A master advertises every advertisement interval. A BACKUP takes over after the master-down
interval without an advert, and after the skew time once an advert of priority 0 has come. The
higher the priority, the shorter the skew time. Version 2 counts it in 256ths of a second, version
3 in 256ths of the master's interval. keepalived computes them likewise (2.2.7, VRRP_TIMER_SKEW
and VRRP_MS_DOWN_TIMER).
"""

from __future__ import annotations

from typing import Final

MISSED_ADVERTS: Final = 3  # until a master counts as gone

_PRIORITIES: Final = 256
_SECONDS_VERSION: Final = 2


def skew_time(priority: int, version: int, advert_interval: float) -> float:
    """Return Skew_Time for a priority from 0 to 255; the longest is that of priority 0."""
    scale = 1.0 if version == _SECONDS_VERSION else advert_interval
    return (_PRIORITIES - priority) / _PRIORITIES * scale


def master_down_interval(priority: int, version: int, advert_interval: float) -> float:
    """Return Master_Down_Interval, likewise."""
    return MISSED_ADVERTS * advert_interval + skew_time(priority, version, advert_interval)
