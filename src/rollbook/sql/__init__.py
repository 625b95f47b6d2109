"""Every query of the system, one file per noun; ``database.queries`` reads them."""
