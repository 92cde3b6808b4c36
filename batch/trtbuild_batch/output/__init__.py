"""The output directory: the job's description, journals, and Parquet parts."""
