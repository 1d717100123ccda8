"""Saved runs: folders, Parquet tables, format version and migration."""
