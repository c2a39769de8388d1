"""Drops of CSV, JSON Lines and Parquet files below a folder."""
