"""One suite for the store, run over SQLite and PostgreSQL."""
