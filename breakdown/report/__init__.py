"""Findings in, bytes out: figures, one-file HTML, Perfetto, console. Never computes."""
