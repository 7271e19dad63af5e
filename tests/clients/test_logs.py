"""CloudWatch Logs: filter patterns, and events as they come."""

import subprocess
import threading
import time
import unittest

from base import Case, client


class Logs(Case):
    def setUp(self):
        super().setUp()
        self.logs = client("logs")
        self.group = f"/{self.name('group')}"
        self.logs.create_log_group(logGroupName=self.group)
        self.logs.create_log_stream(logGroupName=self.group, logStreamName="s")
        self.addCleanup(self.logs.delete_log_group, logGroupName=self.group)
        self.arn = f"arn:aws:logs:{self.logs.meta.region_name}:000000000000:log-group:{self.group}"

    def put(self, *messages):
        now = int(time.time() * 1000)
        self.logs.put_log_events(logGroupName=self.group, logStreamName="s", logEvents=[{"timestamp": now, "message": it} for it in messages])

    def test_filter_patterns_of_every_kind(self):
        lines = [
            '{"level": "ERROR", "status": 503, "user": {"name": "Anna"}}',
            '{"level": "INFO", "status": 200}',
            '127.0.0.1 - anna [10/Oct/2026:13:55:36 -0700] "GET /a.png HTTP/1.0" 404 1534',
            "ERROR: disk full",
        ]
        self.put(*lines)
        for pattern, wanted in [
            ("ERROR", [0, 3]), ("ERROR -status", [3]), ("?INFO ?disk", [1, 3]), ('"disk full"', [3]),
            ('{ $.level = "ERROR" && $.status >= 500 }', [0]), ("{ $.user.name NOT EXISTS }", [1]), ("{ $.status = 2* || $.level = ERR* }", [0, 1]),
            ("[ip, id, user, time, request = \"*.png*\", status = 4*, bytes]", [2]), ("%ERROR.+[0-9]{3}%", [0]),
        ]:
            with self.subTest(pattern):
                found = self.logs.filter_log_events(logGroupName=self.group, filterPattern=pattern)["events"]
                self.assertEqual([it["message"] for it in found], [lines[at] for at in wanted])
        self.refused("InvalidParameterException", "Invalid filter pattern", self.logs.filter_log_events, logGroupName=self.group, filterPattern="{ $.a }")

    def test_a_live_tail_shows_what_comes_and_passes(self):
        answer = self.logs.start_live_tail(logGroupIdentifiers=[self.arn], logEventFilterPattern="{ $.n > 1 }")
        stream = iter(answer["responseStream"])
        began = next(stream)["sessionStart"]
        self.assertEqual((began["logGroupIdentifiers"], began["logEventFilterPattern"]), ([self.arn], "{ $.n > 1 }"))
        self.put('{"n": 1}', '{"n": 2}', '{"n": 3}')
        found = []
        while len(found) < 2:
            update = next(stream)["sessionUpdate"]
            self.assertFalse(update["sessionMetadata"]["sampled"])
            found += update["sessionResults"]
        self.assertEqual([(it["message"], it["logStreamName"]) for it in found], [('{"n": 2}', "s"), ('{"n": 3}', "s")])
        answer["responseStream"].close()
        self.refused("ResourceNotFoundException", "The specified log group does not exist.", self.logs.start_live_tail, logGroupIdentifiers=[self.arn + "x"])

    def test_the_aws_cli_tails_live(self):
        tail = subprocess.Popen(
            ["aws", "logs", "start-live-tail", "--log-group-identifiers", self.arn],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        try:
            # What is put before the session begins is not shown: say it until it is heard.
            heard = []
            reader = threading.Thread(target=lambda: heard.extend(line for line in tail.stdout if "hello" in line), daemon=True)
            reader.start()
            self.until("the CLI hearing it", lambda: heard or self.put("hello"), 30)
        finally:
            tail.terminate()
            tail.wait()
            tail.stdout.close()


if __name__ == "__main__":
    unittest.main()
