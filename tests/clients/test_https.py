"""Listeners in TLS, groups that clients stay with, and targets that start slowly."""

import collections
import http.client
import http.server
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest

from base import Case, client


class Target(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{self.server.name} {self.headers.get('X-Forwarded-Proto')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Https(Case):
    def setUp(self):
        super().setUp()
        self.elb, self.acm = client("elbv2"), client("acm")
        made = self.elb.create_load_balancer(Name=self.name("lb")[:32], Subnets=self.subnets())["LoadBalancers"][0]
        self.balancer, self.host = made["LoadBalancerArn"], made["DNSName"]
        self.addCleanup(self.elb.delete_load_balancer, LoadBalancerArn=self.balancer)
        self.servers = []

    def target(self, name):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
        server.name = name
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server.server_port

    def group(self, *ports):
        vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        arn = self.elb.create_target_group(
            Name=self.name("tg")[:32], Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip", HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": "127.0.0.1", "Port": port} for port in ports])
        return arn

    def healthy(self, group, count):
        states = lambda: [it["TargetHealth"]["State"] for it in self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]]
        self.until("healthy targets", lambda: states().count("healthy") == count)

    def listener(self, protocol, port, action, **more):
        made = self.elb.create_listener(LoadBalancerArn=self.balancer, Protocol=protocol, Port=port, DefaultActions=[action], **more)["Listeners"][0]
        self.addCleanup(self.elb.delete_listener, ListenerArn=made["ListenerArn"])
        return made

    def shown(self, port, name):
        """The names in the certificate that a client is shown who asks for `name`, and whether it is signed by the one in `trusted`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((self.host, port)) as plain, context.wrap_socket(plain, server_hostname=name) as secure:
            pem = ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True))
        return pem.strip()

    def test_a_listener_shows_the_certificate_of_the_name_that_is_asked_for(self):
        first = self.acm.request_certificate(DomainName="shop.test", SubjectAlternativeNames=["www.shop.test"], ValidationMethod="DNS")["CertificateArn"]
        described = self.acm.describe_certificate(CertificateArn=first)["Certificate"]
        self.assertEqual((described["Status"], described["SubjectAlternativeNames"]), ("ISSUED", ["shop.test", "www.shop.test"]))
        self.acm.get_waiter("certificate_validated").wait(CertificateArn=first)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.check_call(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other.test", "-addext", "subjectAltName=DNS:*.other.test",
                 "-keyout", f"{folder}/key", "-out", f"{folder}/cert"], stderr=subprocess.DEVNULL,
            )
            key, own = open(f"{folder}/key", "rb"), open(f"{folder}/cert", "rb")
            with key, own:
                second = self.acm.import_certificate(Certificate=own.read(), PrivateKey=key.read())["CertificateArn"]
        action = {"Type": "forward", "TargetGroupArn": self.group(self.target("a"))}
        self.refused("ValidationError", "A certificate must be specified for HTTPS listeners", self.elb.create_listener, LoadBalancerArn=self.balancer, Protocol="HTTPS", Port=8443, DefaultActions=[action])
        made = self.listener("HTTPS", 8443, action, Certificates=[{"CertificateArn": first}])
        self.assertEqual((made["Certificates"], made["SslPolicy"]), ([{"CertificateArn": first}], "ELBSecurityPolicy-2016-08"))
        self.elb.add_listener_certificates(ListenerArn=made["ListenerArn"], Certificates=[{"CertificateArn": second}])
        certificates = self.elb.describe_listener_certificates(ListenerArn=made["ListenerArn"])["Certificates"]
        self.assertEqual([(it["CertificateArn"], it["IsDefault"]) for it in certificates], [(first, True), (second, False)])
        pem = {arn: self.acm.get_certificate(CertificateArn=arn)["Certificate"].strip() for arn in [first, second]}
        port = made["Port"]
        self.assertEqual([self.shown(port, name) for name in ["shop.test", "x.other.test", "unknown.test"]], [pem[first], pem[second], pem[first]])

        # A client that trusts the certificate gets an answer.
        self.healthy(action["TargetGroupArn"], 1)
        context = ssl.create_default_context(cadata=pem[first])
        with socket.create_connection((self.host, port)) as plain, context.wrap_socket(plain, server_hostname="www.shop.test") as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: www.shop.test\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: secure.recv(4096), b""))
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"a https"), answer)
        self.assertEqual(self.acm.describe_certificate(CertificateArn=second)["Certificate"]["InUseBy"], [self.balancer])
        self.refused("ResourceInUseException", f"Certificate {second} in account 000000000000 is in use.", self.acm.delete_certificate, CertificateArn=second)
        self.elb.remove_listener_certificates(ListenerArn=made["ListenerArn"], Certificates=[{"CertificateArn": second}])
        self.acm.delete_certificate(CertificateArn=second)
        self.assertNotIn(second, [it["CertificateArn"] for it in self.acm.list_certificates()["CertificateSummaryList"]])

    def test_rules_of_an_https_listener_are_followed(self):
        arn = self.acm.request_certificate(DomainName="rules.test", ValidationMethod="DNS")["CertificateArn"]
        fixed = lambda text: {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "ContentType": "text/plain", "MessageBody": text}}
        made = self.listener("HTTPS", 8444, fixed("default"), Certificates=[{"CertificateArn": arn}])
        self.elb.create_rule(
            ListenerArn=made["ListenerArn"], Priority=1, Conditions=[{"Field": "path-pattern", "Values": ["/a*"]}], Actions=[fixed("rule")],
        )
        context = ssl.create_default_context(cadata=self.acm.get_certificate(CertificateArn=arn)["Certificate"])

        def read(path):
            with socket.create_connection((self.host, made["Port"])) as plain, context.wrap_socket(plain, server_hostname="rules.test") as secure:
                secure.sendall(f"GET {path} HTTP/1.1\r\nHost: rules.test\r\nConnection: close\r\n\r\n".encode())
                return b"".join(iter(lambda: secure.recv(4096), b"")).rsplit(b"\r\n\r\n", 1)[1]
        self.assertEqual([read("/about"), read("/other")], [b"rule", b"default"])

    def ask(self, port, cookie=None):
        connection = http.client.HTTPConnection(self.host, port)
        connection.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        said = answer.read().decode().split()[0]
        cookies = {line.split("=")[0]: line.split(";")[0] for line in answer.headers.get_all("Set-Cookie") or []}
        connection.close()
        return said, cookies

    def test_a_client_stays_with_one_of_several_weighted_groups(self):
        groups = [self.group(self.target(name)) for name in "ab"]
        made = self.listener("HTTP", 8080, {"Type": "forward", "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": arn, "Weight": 1} for arn in groups],
            "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 60},
        }})
        for group in groups:
            self.healthy(group, 1)
        for _ in range(3):
            said, cookies = self.ask(made["Port"])
            self.assertEqual(sorted(cookies), ["AWSALBTG", "AWSALBTGCORS"])
            self.assertEqual({self.ask(made["Port"], cookies["AWSALBTG"])[0] for _ in range(8)}, {said})

    def test_a_target_that_comes_later_starts_slowly(self):
        group = self.group(self.target("old"))
        self.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[{"Key": "slow_start.duration_seconds", "Value": "900"}])
        made = self.listener("HTTP", 8081, {"Type": "forward", "TargetGroupArn": group})
        self.healthy(group, 1)
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": self.target("new")}])
        self.healthy(group, 2)
        said = collections.Counter(self.ask(made["Port"])[0] for _ in range(60))
        # Half of them are its turns; within the first 90 s it takes a tenth of these at most.
        self.assertLess(said["new"], 20, said)


class Network(Case):
    def test_a_tls_listener_ends_tls_and_checks_its_targets_by_tcp(self):
        elb, acm = client("elbv2"), client("acm")
        made = elb.create_load_balancer(Name=self.name("nlb")[:32], Type="network", Subnets=self.subnets())["LoadBalancers"][0]
        balancer, host = made["LoadBalancerArn"], made["DNSName"]
        self.addCleanup(elb.delete_load_balancer, LoadBalancerArn=balancer)
        echo = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(echo.close)

        def serve():
            while True:
                try:
                    stream, _ = echo.accept()
                except OSError:
                    return
                with stream:
                    while data := stream.recv(1024):
                        stream.sendall(data.upper())
        threading.Thread(target=serve, daemon=True).start()
        vpc, port = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"], echo.getsockname()[1]
        group = elb.create_target_group(
            Name=self.name("tg")[:32], Protocol="TCP", Port=80, VpcId=vpc, TargetType="ip", HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
        )["TargetGroups"][0]
        self.assertEqual((group["HealthCheckProtocol"], "Matcher" in group, "HealthCheckPath" in group), ("TCP", False, False))
        group = group["TargetGroupArn"]
        dead = socket.create_server(("127.0.0.1", 0))
        closed = dead.getsockname()[1]
        dead.close()
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": it} for it in (port, closed)])
        action = {"Type": "forward", "TargetGroupArn": group}
        wanted = {"LoadBalancerArn": balancer, "Protocol": "TLS", "Port": 8883, "DefaultActions": [action]}
        self.refused("ValidationError", "A certificate must be specified for TLS listeners", elb.create_listener, **wanted)
        arn = acm.request_certificate(DomainName="mqtt.test")["CertificateArn"]
        listener = elb.create_listener(**wanted, Certificates=[{"CertificateArn": arn}], AlpnPolicy=["HTTP2Preferred"])["Listeners"][0]
        self.assertEqual((listener["Protocol"], listener["AlpnPolicy"], listener["SslPolicy"]), ("TLS", ["HTTP2Preferred"], "ELBSecurityPolicy-2016-08"))
        states = lambda: {it["Target"]["Port"]: it["TargetHealth"]["State"] for it in elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]}
        self.until("health by TCP", lambda: states() == {port: "healthy", closed: "unhealthy"})

        def said(offered):
            context = ssl.create_default_context(cadata=acm.get_certificate(CertificateArn=arn)["Certificate"])
            context.set_alpn_protocols(offered)
            with socket.create_connection((host, 8883)) as plain, context.wrap_socket(plain, server_hostname="mqtt.test") as secure:
                secure.sendall(b"hello")
                return secure.selected_alpn_protocol(), secure.recv(1024)
        self.assertEqual(said(["http/1.1", "h2"]), ("h2", b"HELLO"))
        changed = elb.modify_listener(ListenerArn=listener["ListenerArn"], AlpnPolicy=["None"])["Listeners"][0]
        self.assertEqual(changed["AlpnPolicy"], ["None"])
        self.assertEqual(said(["http/1.1", "h2"]), (None, b"HELLO"), "the next connection, with no gap before it")
        self.assertEqual(elb.describe_listener_attributes(ListenerArn=listener["ListenerArn"])["Attributes"], [])


class Targets(Case):
    """Targets that speak TLS, and those that take datagrams."""

    def setUp(self):
        super().setUp()
        self.elb = client("elbv2")
        self.vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]

    def balancer(self, kind):
        made = self.elb.create_load_balancer(Name=self.name("lb")[:32], Type=kind, Subnets=self.subnets())["LoadBalancers"][0]
        self.addCleanup(self.elb.delete_load_balancer, LoadBalancerArn=made["LoadBalancerArn"])
        return made["LoadBalancerArn"], made["DNSName"]

    def forward(self, protocol, port, **more):
        """An action that leads to a new group with one target."""
        arn = self.elb.create_target_group(
            Name=self.name("tg")[:32], Protocol=protocol, Port=80, VpcId=self.vpc, TargetType="ip", HealthCheckIntervalSeconds=5,
            HealthCheckTimeoutSeconds=2, **more,
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": "127.0.0.1", "Port": port}])
        return {"Type": "forward", "TargetGroupArn": arn}

    def healthy(self, action):
        shown = lambda: self.elb.describe_target_health(TargetGroupArn=action["TargetGroupArn"])["TargetHealthDescriptions"][0]
        self.until("a healthy target", lambda: shown()["TargetHealth"]["State"] == "healthy")

    def test_targets_of_https_and_tls_groups_are_spoken_to_in_tls(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
        server.name = "secure"
        with tempfile.TemporaryDirectory() as folder:
            subprocess.check_call(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=own.test", "-keyout", f"{folder}/key", "-out", f"{folder}/cert"],
                stderr=subprocess.DEVNULL,
            )
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{folder}/cert", f"{folder}/key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

        application, host = self.balancer("application")
        action = self.forward("HTTPS", server.server_port)
        shown = self.elb.describe_target_groups(TargetGroupArns=[action["TargetGroupArn"]])["TargetGroups"][0]
        self.assertEqual((shown["Protocol"], shown["HealthCheckProtocol"]), ("HTTPS", "HTTPS"))
        port = self.elb.create_listener(LoadBalancerArn=application, Protocol="HTTP", Port=80, DefaultActions=[action])["Listeners"][0]["Port"]
        self.healthy(action)
        for _ in range(3):
            connection = http.client.HTTPConnection(host, port)
            connection.request("GET", "/")
            self.assertEqual(connection.getresponse().read(), b"secure http")
            connection.close()

        network, host = self.balancer("network")
        action = self.forward("TLS", server.server_port)
        self.refused(
            "IncompatibleProtocols", "The protocol 'TCP' of the listener and the protocol 'TLS' of the target group are not compatible",
            self.elb.create_listener, LoadBalancerArn=network, Protocol="TCP", Port=443, DefaultActions=[action],
        )
        certificate = client("acm").request_certificate(DomainName="front.test")["CertificateArn"]
        port = self.elb.create_listener(
            LoadBalancerArn=network, Protocol="TLS", Port=443, DefaultActions=[action], Certificates=[{"CertificateArn": certificate}],
        )["Listeners"][0]["Port"]
        self.healthy(action)
        context = ssl.create_default_context(cadata=client("acm").get_certificate(CertificateArn=certificate)["Certificate"])
        with socket.create_connection((host, port)) as plain, context.wrap_socket(plain, server_hostname="front.test") as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: front.test\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: secure.recv(4096), b""))
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)

    def test_datagrams_reach_a_target_and_come_back(self):
        there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        there.bind(("127.0.0.1", 0))
        port = there.getsockname()[1]
        # Health is asked by TCP.
        checked = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(checked.close)

        def serve():
            while True:
                data, sender = there.recvfrom(65536)
                if data == b"end":
                    return there.close()
                there.sendto(data.upper(), sender)
        threading.Thread(target=serve, daemon=True).start()
        network, host = self.balancer("network")
        action = self.forward("TCP_UDP", port, HealthCheckPort=str(checked.getsockname()[1]))
        listener = self.elb.create_listener(LoadBalancerArn=network, Protocol="UDP", Port=5353, DefaultActions=[action])["Listeners"][0]
        self.healthy(action)

        def said(text):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
                ours.settimeout(10)
                ours.connect((host, listener["Port"]))
                for part in (text, b"more"):
                    ours.send(part)
                    yield ours.recv(65536)
        self.assertEqual(list(said(b"hello")), [b"HELLO", b"MORE"])
        self.assertEqual(list(said(b"x" * 60000)), [b"X" * 60000, b"MORE"])
        changed = self.elb.modify_listener(ListenerArn=listener["ListenerArn"], Protocol="TCP_UDP")["Listeners"][0]
        self.assertEqual((changed["Protocol"], changed["Port"]), ("TCP_UDP", listener["Port"]))
        self.assertEqual(list(said(b"again")), [b"AGAIN", b"MORE"])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
            ours.sendto(b"end", ("127.0.0.1", port))


if __name__ == "__main__":
    unittest.main()
