"""The recorder on the hot path. Standard library only, Python 3.8+: it is injected into other people's environments."""
