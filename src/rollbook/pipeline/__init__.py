"""The stages of a file: read, normalise, validate, match, verify, merge and report."""
