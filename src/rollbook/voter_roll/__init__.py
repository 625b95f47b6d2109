"""Questions to the electoral commission's voter roll about members, within its budget.

``answers`` reads an answer, ``client`` asks, ``budget`` counts the requests of all workers,
``record`` stores questions and answers, ``worker`` works on due questions and reports, ``outlook``
says how long the rest takes, and ``reconciler`` corrects what a crash left. ``stand_in`` is a
simulated roll for tests and demonstrations. The roll is asked only if the organisation has set its
address and account (docs/how-to/voter-roll.md).
"""
