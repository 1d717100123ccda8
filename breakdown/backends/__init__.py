"""One training interface over several frameworks; a framework is imported only in its own file, lazily."""
