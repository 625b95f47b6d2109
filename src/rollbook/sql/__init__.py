"""Every query of the system, one file per noun; ``backends.database.queries`` reads them."""
