"""What networks speak: packets, filters, firewalls."""
