"""Who may do what: accounts, sign-in, tokens and the audit trail."""
