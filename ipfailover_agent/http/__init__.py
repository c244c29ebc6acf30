"""The HTTP thread: probes, metrics, the page, /status."""
