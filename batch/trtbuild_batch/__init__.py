"""``trtbuild batch``: a served model answers every row of a table, once each.

Reads Parquet, CSV and JSON Lines, writes Parquet, and goes on where a crash left it.
"""
