"""The servers and stores outside the process: PostgreSQL, Redis, files, the virus scanner."""
