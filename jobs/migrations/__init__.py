"""Every change of the schema, in order; `jobs.database.migrate` runs them."""
