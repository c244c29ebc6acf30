"""Changes: from one configuration to the next."""
