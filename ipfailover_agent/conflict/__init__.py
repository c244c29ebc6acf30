"""Two holders of an address: which one yields, by adverts, claims and keepalived's counters."""
