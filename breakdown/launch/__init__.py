"""Where processes run. A launcher makes a printable plan, then starts it. Imports no backend."""
