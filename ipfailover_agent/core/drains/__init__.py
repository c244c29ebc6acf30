"""Drains: instances that are kept from serving on request."""
