"""The electoral commission's voter roll: asking it about members, within its budget.

``answers`` knows what an answer means, ``client`` asks, ``budget`` counts the requests of all
workers, ``record`` keeps questions and answers in PostgreSQL, ``queue`` and ``worker`` see to it
that every question is asked, ``outlook`` says how far that is and how long it takes. ``stand_in``
is a roll for tests and demonstrations. Nobody is asked about unless the organisation has given the
roll's address and its account (docs/how-to/voter-roll.md).
"""
