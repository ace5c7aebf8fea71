"""AG-UI, for `HttpAgent` as it is (protocol §10)."""
