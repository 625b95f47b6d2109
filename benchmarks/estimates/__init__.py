"""How well the expected starts of waiting uploads are met."""
