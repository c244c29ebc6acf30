"""Keeps virtual IP addresses alive on a set of nodes by supervising keepalived."""

__version__ = "0.1.0"
