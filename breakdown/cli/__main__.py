"""`python -m breakdown.cli`, for where the `breakdown` script is not on the path."""

from breakdown.cli.main import main

main()
