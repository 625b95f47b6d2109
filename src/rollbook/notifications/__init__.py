"""Telling people and systems that an upload has ended: by e-mail and by webhook.

``outbox`` is written in the transaction of the end; ``worker`` delivers through a queue of its own;
``reconciler`` brings that queue in line with the outbox. Delivered at least once, each time under
the same id. No personal data: counts, ids and a link.
"""
