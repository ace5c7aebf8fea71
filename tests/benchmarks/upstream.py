"""A chat-completions endpoint that costs little: `steady-<tokens>-<tokens a second>` as its model.

Run as a script with a port. Each token is `~word `, so that a reader can count them in any bytes.
"""

import asyncio
import json
import sys

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = "~word "


def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One event of the stream, as one chunk of the body."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    event = b"data: %s\n\n" % json.dumps({"id": "c", "choices": [choice]}).encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one connection's requests."""
    word, done = chunk({"content": TOKEN}), b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    loop = asyncio.get_running_loop()
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            _, tokens, rate = json.loads(await reader.readexactly(length))["model"].split("-")
            writer.write(HEAD)
            started, sent = loop.time(), 0
            while sent < int(tokens):
                due = int(tokens)
                if float(rate):
                    due = min(due, int((loop.time() - started) * float(rate)) + 1)
                writer.write(word * (due - sent))
                sent = due
                await writer.drain()
                if float(rate) and sent < due + 1:
                    await asyncio.sleep(max(0.0, started + sent / float(rate) - loop.time()))
            writer.write(chunk({}, "stop") + done)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(port: int) -> None:
    """Serves until it is killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
