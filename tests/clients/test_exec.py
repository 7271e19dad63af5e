"""ExecuteCommand: a shell in a container over the data channel, spoken to as session-manager-plugin speaks."""

import base64
import hashlib
import json
import os
import socket
import struct
import urllib.parse
import uuid

from base import Case, busybox

OUTPUT, SIZE, HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE, EXIT_CODE = 1, 3, 5, 6, 7, 12


class Channel:
    """A data channel: WebSocket frames that carry agent messages."""

    def __init__(self, session):
        url = urllib.parse.urlparse(session["streamUrl"])
        self.socket = socket.create_connection((url.hostname, url.port), timeout=30)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.status = self.stream.readline().split()[1]
        headers = {}
        while (line := self.stream.readline().strip()):
            name, value = line.split(b": ", 1)
            headers[name.lower()] = value
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
        assert headers[b"sec-websocket-accept"] == accept
        self.sequence = 0
        self.frame(1, json.dumps({"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), "TokenValue": session["tokenValue"]}).encode())

    def close(self):
        self.stream.close()
        self.socket.close()

    def frame(self, opcode, payload):
        mask = os.urandom(4)
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(payload))
        self.socket.sendall(bytes([0x80 | opcode]) + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)))

    def send(self, payload_type, payload, kind="input_stream_data"):
        header = struct.pack(">I32sIQqQ", 116, kind.ljust(32).encode(), 1, 0, self.sequence, 0)
        message = header + os.urandom(16) + hashlib.sha256(payload).digest() + struct.pack(">II", payload_type, len(payload)) + payload
        self.sequence += 1
        self.frame(2, message)

    def receive(self):
        """The next message of the agent: kind, payload type, payload; None at the end."""
        head = self.stream.read(2)
        if len(head) < 2 or head[0] & 15 == 8:
            return None
        length = head[1]
        if length == 126:
            length, = struct.unpack(">H", self.stream.read(2))
        message = self.stream.read(length)
        size, kind = struct.unpack(">I32s", message[:36])
        payload_type, = struct.unpack(">I", message[112:116])
        payload = message[size + 4:]
        assert hashlib.sha256(payload).digest() == message[80:112]
        return kind.decode().strip(), payload_type, payload

    def until(self, payload_type):
        """What is printed until a payload of that type, and its content."""
        printed = b""
        while (message := self.receive()) is not None:
            kind, found, payload = message
            if kind == "output_stream_data" and found == payload_type:
                return printed, payload
            if kind == "output_stream_data" and found == OUTPUT:
                printed += payload
            if kind == "channel_closed":
                return printed, json.loads(payload)
        return printed, None

    def shake_hands(self):
        _, request = self.until(HANDSHAKE_REQUEST)
        actions = json.loads(request)["RequestedClientActions"]
        done = [{"ActionType": it["ActionType"], "ActionStatus": 1} for it in actions]
        self.send(HANDSHAKE_RESPONSE, json.dumps({"ClientVersion": "1.2.0.0", "ProcessedClientActions": done}).encode())
        self.until(HANDSHAKE_COMPLETE)


class Execute(Case):
    def test_a_shell_in_a_container_takes_input_and_size_and_tells_its_exit_code(self):
        cluster = self.cluster()
        container = {"image": busybox(), "command": ["sleep", "600"], "environment": [{"name": "WHERE", "value": "inside"}]}
        family = self.register(container=container)["family"]
        run = {"cluster": cluster, "taskDefinition": family, "launchType": "FARGATE", "networkConfiguration": self.network()}
        plain = self.ecs.run_task(**run)["tasks"][0]["taskArn"]
        task = self.ecs.run_task(**run, enableExecuteCommand=True)["tasks"][0]["taskArn"]

        def described(arn):
            return self.ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"][0]
        for arn in [plain, task]:
            self.until("a running task", lambda: described(arn)["lastStatus"] == "RUNNING")
        agent = described(task)["containers"][0]["managedAgents"][0]
        self.assertEqual((agent["name"], agent["lastStatus"]), ("ExecuteCommandAgent", "RUNNING"))
        with self.assertRaises(self.ecs.exceptions.InvalidParameterException) as caught:
            self.ecs.execute_command(cluster=cluster, task=plain, interactive=True, command="sh")
        self.assertIn("execute command was not enabled", str(caught.exception))

        answer = self.ecs.execute_command(cluster=cluster, task=task, container="app", interactive=True, command="/bin/sh")
        self.assertEqual((answer["containerName"], answer["taskArn"]), ("app", task))
        wrong = Channel({**answer["session"], "tokenValue": "none"})
        self.assertIsNone(wrong.receive())
        wrong.close()
        channel = Channel(answer["session"])
        self.addCleanup(channel.close)
        channel.shake_hands()
        channel.send(SIZE, json.dumps({"cols": 132, "rows": 43}).encode())
        channel.send(OUTPUT, b"echo $WHERE-$((40 + 2)); exit 7\n")
        printed, code = channel.until(EXIT_CODE)
        self.assertIn(b"inside-42\r\n", printed)
        self.assertEqual(code, b"7")
        _, closed = channel.until(-1)
        self.assertEqual((closed["MessageType"], closed["SessionId"]), ("channel_closed", answer["session"]["sessionId"]))
        again = Channel(answer["session"])
        self.assertIsNone(again.receive())
        again.close()

        session = self.ecs.execute_command(cluster=cluster, task=task, interactive=True, command="no-such-program")["session"]
        channel = Channel(session)
        self.addCleanup(channel.close)
        channel.shake_hands()
        printed, closed = channel.until(-1)
        # An engine says so on the terminal.
        self.assertIn("no-such-program", closed["Output"] + printed.decode())
