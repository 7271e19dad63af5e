"""A buildkitd at an address: passes connections on to the BuildKit inside a Docker Engine, which speaks the same protocol after an upgrade.

builder.py ENGINE_SOCKET SOCKET            listens on a socket
builder.py ENGINE_SOCKET PORT FOLDER       listens on a port of 127.0.0.1; mutual TLS by ca.pem, server.pem and server-key.pem of FOLDER
"""

import socket
import ssl
import sys
import threading

UPGRADE = b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


def pour(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client, engine, tls):
    try:
        if tls:
            client = tls.wrap_socket(client, server_side=True)
        daemon = socket.socket(socket.AF_UNIX)
        daemon.connect(engine)
        daemon.sendall(UPGRADE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += daemon.recv(1) or b"\r\n\r\n"
    except OSError:
        client.close()
        return
    if b" 101 " not in head:
        client.close()
        return
    threading.Thread(target=pour, args=(daemon, client), daemon=True).start()
    pour(client, daemon)


engine, place = sys.argv[1:3]
tls = None
if len(sys.argv) > 3:
    folder = sys.argv[3]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(f"{folder}/server.pem", f"{folder}/server-key.pem")
    tls.load_verify_locations(f"{folder}/ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.set_alpn_protocols(["h2"])
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(place)))
else:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
listener.listen(64)
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection, engine, tls), daemon=True).start()
