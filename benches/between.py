"""A proxy between a program and the embedded AWS that counts the calls, and may let each take longer."""

import http.client
import http.server
import threading
import time
import urllib.parse


class Between:
    """Listens on a free loopback port; `calls` are (seconds since the epoch, operation), in order."""

    def __init__(self, endpoint, latency=0.0):
        self.calls = []
        self.lock = threading.Lock()
        self.moved = threading.Event()
        target = urllib.parse.urlsplit(endpoint).netloc
        between = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            upstream = None

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                operation = self.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1]
                if not operation:
                    form = urllib.parse.parse_qs(body.decode("latin-1"))
                    operation = form.get("Action", ["?"])[0]
                with between.lock:
                    between.calls.append((time.time(), operation))
                time.sleep(latency)
                if self.upstream is None:
                    self.upstream = http.client.HTTPConnection(target)
                self.upstream.request("POST", self.path, body, dict(self.headers))
                answer = self.upstream.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                if operation in ("UpdateService", "CreateService"):
                    between.moved.set()

            def do_GET(self):
                self.send_error(404)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def forget(self):
        with self.lock:
            self.calls.clear()
        self.moved.clear()

    def since(self, begun, ended):
        """How often each operation was called between two moments."""
        counts = {}
        with self.lock:
            for at, operation in self.calls:
                if begun < at <= ended:
                    counts[operation] = counts.get(operation, 0) + 1
        return counts
