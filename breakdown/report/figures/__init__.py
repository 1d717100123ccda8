"""One module a figure; each takes a finding and gives a matplotlib `Figure`, with no global state."""
