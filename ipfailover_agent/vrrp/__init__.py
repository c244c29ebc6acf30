"""VRRP on the wire: adverts, frames, the socket filter, timers."""
