"""Several relays and workers behind a balancer, on one PostgreSQL and one Redis, over TLS."""
