"""Runs the tests of real tasks, many beside each other: on slow runtimes they mostly wait."""

import concurrent.futures
import os
import sys
import time
import unittest

from runtimes import RUNTIME

# Those that need what only a runtime does: everything that runs a container.
TOGETHER = [
    "test_runtimes", "test_tasks", "test_containers", "test_exec", "test_names",
    "test_secrets.Inside", "test_services", "test_s3.Objects.test_environment_files_lie_under_the_definition",
    "test_scaling.Scaling.test_target_tracking_follows_the_processor_time_of_containers",
]
# An engine takes its time, so these few of them stand for all there, unless HOIST_TEST_ALL is set. What each container gets is held
# against one table on every runtime (crates/hoist-runtime/tests/tasks/table.rs).
FEW = [
    "test_runtimes", "test_exec", "test_names", "test_secrets.Inside.test_a_task_learns_about_itself_and_calls_aws_as_its_role",
    "test_containers.Containers.test_volumes_are_shared_read_only_where_asked_and_taken_over_from_others",
    "test_containers.Containers.test_the_root_user_directory_limits_and_memory_file_systems_are_as_the_definition_says",
    "test_services.Services.test_a_service_behind_a_load_balancer_is_rolled_over_and_deleted",
    "test_tasks.Tasks.test_stop_sends_sigterm_and_a_program_that_minds_it_ends_well",
    "test_tasks.Tasks.test_more_memory_than_allowed_is_the_end",
]
# Those that kill the daemon, one after the other.
ALONE = ["test_services.Services.test_after_kill_nine_the_service_comes_back_and_no_container_is_left", "test_persistence.Killed"]


def each(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from each(test)
        else:
            yield test


def load(names):
    return list(each(unittest.defaultTestLoader.loadTestsFromNames(names)))


def run(test):
    """Runs one test; what it says if it fails."""
    began = time.monotonic()
    result = unittest.TestResult()
    test(result)
    wrong = [text for _, text in [*result.failures, *result.errors]]
    for case, reason in result.skipped:
        print(f"skipped {case.id()}: {reason}", file=sys.stderr)
    print(f"{'FAILED' if wrong else 'ok':6} {time.monotonic() - began:5.1f} s  {test.id()}", file=sys.stderr, flush=True)
    return [f"{test.id()}\n{text}" for text in wrong]


def main():
    alone = load(ALONE)
    ids = {test.id() for test in alone}
    names = FEW if RUNTIME == "docker" and not os.environ.get("HOIST_TEST_ALL") else TOGETHER
    together = [test for test in load(names) if test.id() not in ids]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        wrong = [text for texts in pool.map(run, together) for text in texts]
    wrong += [text for test in alone for text in run(test)]
    for text in wrong:
        print(f"\n{text}", file=sys.stderr)
    print(f"{len(together) + len(alone)} tests, {len(wrong)} failures", file=sys.stderr)
    assert together and alone
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
