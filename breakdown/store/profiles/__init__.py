"""Reads profiles that TensorFlow wrote by itself, and brings them into the trace grammar."""
