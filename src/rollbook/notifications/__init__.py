"""Notifications of the end of uploads, by e-mail and webhook.

``outbox`` records a notification in the transaction that ends the upload. ``worker`` claims due
ones and delivers them, at least once and each time under the same id. A notification holds counts,
ids and a link, and no personal data.
"""
