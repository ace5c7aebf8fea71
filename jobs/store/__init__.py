"""Every statement of the project, over SQLite and PostgreSQL; each file is one idea."""
