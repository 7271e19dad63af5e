"""What a runtime cannot do is said at the start."""

import os
import subprocess
import unittest

from base import Case
from runtimes import MACHINE, RUNTIME, TABLE


class Runtimes(Case):
    def test_status_and_doctor_say_what_tasks_lack_and_nothing_else_is_lacking(self):
        program = os.environ["HOIST_PROGRAM"]
        status = subprocess.run([program, "local", "status"], check=True, capture_output=True, text=True)
        said = [line.removeprefix("tasks lack ") for line in (status.stdout + status.stderr).splitlines() if line.startswith("tasks lack ")]
        for start, whose in TABLE.values():
            found = [line for line in said if line.startswith(start)]
            self.assertEqual(len(found), RUNTIME in whose, (RUNTIME, start, said))
            said = [line for line in said if line not in found]
        self.assertEqual([line for line in said if not line.startswith(tuple(MACHINE))], [], RUNTIME)
        if os.path.basename(program) == "hoist-local":
            return
        doctor = subprocess.run([program, "doctor"], capture_output=True, text=True)
        for start, whose in TABLE.values():
            self.assertEqual(f"its tasks lack {start}" in doctor.stdout + doctor.stderr, RUNTIME in whose, doctor.stdout)


if __name__ == "__main__":
    unittest.main()
