"""What a deployed Metaflow UI shows of the runs that are there."""
