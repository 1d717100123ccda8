"""What a trace is: stages, identities, records, table schemas and their invariants. Standard library only, Python 3.8+."""
