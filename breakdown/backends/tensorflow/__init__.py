"""TensorFlow 2: its own processes in an environment of their own, and what is loaded into them to record."""
