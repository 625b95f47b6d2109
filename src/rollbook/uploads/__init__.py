"""The life of an upload outside the pipeline: receive, look up, control, undo, retain."""
