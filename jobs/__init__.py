"""Who remembers and runs: the database, the log, the queue and the worker."""
