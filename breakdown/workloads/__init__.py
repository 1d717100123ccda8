"""Models and synthetic data with known bytes and FLOPs: neural networks, matrix factorisation, graphical models."""
