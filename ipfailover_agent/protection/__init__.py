"""What keeps an address from being on two nodes, or on none."""
