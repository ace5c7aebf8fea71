"""Other protocols' routes: each a stateless projection of the one log, for clients as they are."""
