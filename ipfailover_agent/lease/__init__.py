"""Leases: kernel lifetimes by which an address ends with the agent."""
