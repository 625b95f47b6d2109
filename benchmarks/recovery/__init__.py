"""How long an upload waits for its next attempt after its worker was killed."""
