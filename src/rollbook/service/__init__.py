"""What every long-running process has: its opened parts, rounds, health and metrics port."""
