"""The page at `/`: says what the demo model is and is not, and lists its scripts."""

from html import escape

from .script import SCRIPTS

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1d2129; background: #fff; }
.note { background: #fff4d6; color: #3d2f00; border: 1px solid #d9a400; border-radius: 6px;
        padding: .75rem 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0;
         border-bottom: 1px solid #ddd; }
code { white-space: nowrap; }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #16181d; }
  a { color: #8ab4ff; } }
"""


def page() -> str:
    """The page, whole."""
    rows = "\n".join(
        f"<tr><td><code>{escape(part.form)}</code></td><td><code>{escape(part.example)}</code></td>"
        f"<td>{escape(part.does)}</td></tr>"
        for part in SCRIPTS
    )
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Scripted demo model: no LLM</title><style>{_STYLE}</style></head>
<body>
<h1>Scripted demo model</h1>
<p class="note"><strong>There is no language model here.</strong> This server speaks the
OpenAI-compatible chat-completions protocol and plays scripts: it fills in templates from what it
is sent, at a human pace. Nothing that it says was thought by anything. Use it to see the relay
work, and in tests.</p>
<p>Endpoints: <code>POST /v1/chat/completions</code>, <a href="/v1/models">/v1/models</a>,
<a href="/stats">/stats</a> (open answers, requests, clients that left),
<a href="/requests">/requests</a>, <a href="/healthz">/healthz</a>. Any API key is accepted.</p>
<p>The bodies of the last 50 requests are kept in memory and shown to anybody who asks at
<a href="/requests">/requests</a>; headers, so keys too, are not. Send nothing private.</p>
<h2>Scripts</h2>
<p>The model's name is the script: <code>demo</code>, followed by parts in any order, each joined by
<code>-</code> or <code>+</code>, as in <code>demo-fast+truncated-after-20</code>.</p>
<table>
<thead><tr><th>Part</th><th>Example</th><th>What happens</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""
