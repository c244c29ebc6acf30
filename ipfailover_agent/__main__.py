"""``python -m ipfailover_agent``."""

from ipfailover_agent.entry import main

main()
