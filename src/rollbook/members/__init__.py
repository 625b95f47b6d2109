"""Members: the index by which they are found, search, and what is known of one of them."""
