"""The scripted demo model: an OpenAI-compatible server with no LLM in it, which says so."""

from .script import SCRIPTS, Part, UnknownScript, parse_script
from .server import create_demo_model, serve

__all__ = ["SCRIPTS", "Part", "UnknownScript", "create_demo_model", "parse_script", "serve"]
