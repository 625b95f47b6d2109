"""The BullMQ queues: adding jobs, working on them, and their event stream."""
