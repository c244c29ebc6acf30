"""``python -m ipfailover_agent``."""

from ipfailover_agent.cli import main

main()
