"""What a run tells its user: the QC picture, the JSON report, and how the output files are written together."""
