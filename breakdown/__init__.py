"""Why is parameter-server training slower than one machine? Every nanosecond of a step, accounted for."""

__version__ = "0.1.0"
