"""The fault matrix: every fault that can make two nodes hold an address, or none, for real."""
