"""OpenAI's Responses API in background mode, under `/openai/v1` (protocol §10)."""
