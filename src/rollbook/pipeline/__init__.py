"""The way of a file through the stages: read, normalise, validate, match, verify, merge, report."""
