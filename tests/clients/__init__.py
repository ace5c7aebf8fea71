"""The official clients, unmodified, against the relay."""
