"""Synthetic office files whose maker knows the truth of each row, and a run over them."""
