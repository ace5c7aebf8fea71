"""The AI SDK's UI message stream, for `useChat` as it is (protocol §10)."""
