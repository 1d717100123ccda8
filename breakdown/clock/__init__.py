"""Clocks, and what two of them differ by. Standard library only, Python 3.8+."""
