"""The web application of the pod mc3: answers on the loopback of its pod only; nginx stands before it.

PROVIDER   whom to greet (default: world)
PORT       port to listen on (default: 5000)
"""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STARTED = time.time()


class Handler(BaseHTTPRequestHandler):
    server_version = "webapp"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.split("?", 1)[0]
        if path == "/":
            self.answer(200, "text/plain; charset=utf-8", f"Hello {os.environ.get('PROVIDER', 'world')}!\n")
        elif path == "/healthz":
            self.answer(200, "text/plain; charset=utf-8", "ok\n")
        elif path == "/info":
            facts = {
                "host": os.uname().nodename,
                "client": self.client_address[0],
                "uptimeSeconds": round(time.time() - STARTED, 1),
                "headers": dict(self.headers.items()),
            }
            self.answer(200, "application/json", json.dumps(facts, indent=2) + "\n")
        else:
            self.answer(404, "text/plain; charset=utf-8", "not found\n")

    do_HEAD = do_GET

    def answer(self, code: int, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True


def main() -> None:
    # As PID 1 this process has no default action for SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    port = int(os.environ.get("PORT", "5000"))
    server = Server(("127.0.0.1", port), Handler)
    print(f" * Running on http://127.0.0.1:{port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
