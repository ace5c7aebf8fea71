"""Clients from npm: only `make test-clients` runs them, with a Node of its own."""
