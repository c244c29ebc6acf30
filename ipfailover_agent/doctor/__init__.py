"""``doctor``: what keeps this node from serving, collected, judged and shown."""
