"""To be imported first: nobody looks for garbage until the tests are collected.

What the imports make stays, and each look goes through all of it: half a second of a processor in
each process of the tests. ``pytest_collection`` in tests/conftest.py ends it.
"""

import gc

gc.disable()
