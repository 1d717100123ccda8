"""Brings what the native recorder saw of TensorFlow into the trace grammar."""
