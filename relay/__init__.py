"""Who reads: HTTP, SSE, the page and the command line."""
