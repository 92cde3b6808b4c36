"""The stages: run a job, look at it, try its errors again, merge its parts."""
