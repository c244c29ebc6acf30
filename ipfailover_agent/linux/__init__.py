"""The machine: files, processes, netlink, /proc. Nothing here decides."""
