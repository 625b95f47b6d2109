"""The worker process: its attempts, their slots and child processes."""
