"""What to run: the frozen experiment cell, matrix expansion, stable cell ids, validation. No torch."""
