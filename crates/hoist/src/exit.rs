//! Exit codes of `hoist`. They are part of its interface: a code never changes its meaning and is never reused.

use hoist_pipeline::Kind;

/// Done.
pub const OK: u8 = 0;
/// An unexpected failure: a bug, or a fault of the machine.
pub const UNEXPECTED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// hoist.yaml or a definition is wrong.
pub const CONFIGURATION: u8 = 3;
/// Credentials are missing or expired, or a permission is missing.
pub const CREDENTIALS: u8 = 4;
/// The image could not be built.
pub const BUILD: u8 = 10;
/// The image's tests failed.
pub const TEST: u8 = 11;
/// The image could not be pushed.
pub const PUSH: u8 = 12;
/// AWS refused a request.
pub const REJECTED: u8 = 13;
/// A check found what would fail.
pub const CHECK: u8 = 14;
/// The deployment failed, and the previous revision serves all production traffic again.
pub const ROLLED_BACK: u8 = 20;
/// The deployment failed, and it was not rolled back.
pub const NOT_ROLLED_BACK: u8 = 21;
/// Our deployment was started, then replaced by another.
pub const SUPERSEDED: u8 = 22;
/// The time ran out while the deployment was still progressing.
pub const TIMED_OUT: u8 = 23;
/// Deployed, but the URL does not answer as expected.
pub const NO_ANSWER: u8 = 24;
/// A task that was waited for failed.
pub const TASK_FAILED: u8 = 25;
/// Another deployment of this service is in flight, and ours was not started.
pub const IN_FLIGHT: u8 = 26;
/// `plan --detailed-exitcode` found changes.
pub const PLAN_CHANGES: u8 = 30;
/// Cancelled by SIGINT.
pub const INTERRUPTED: u8 = 130;
/// Cancelled by SIGTERM.
pub const TERMINATED: u8 = 143;

/// The code and the name of each end of a run.
pub fn of(kind: Kind) -> (u8, &'static str) {
    match kind {
        Kind::Unexpected => (UNEXPECTED, "unexpected failure"),
        Kind::Configuration => (CONFIGURATION, "configuration"),
        Kind::Credentials => (CREDENTIALS, "credentials"),
        Kind::Build => (BUILD, "build failed"),
        Kind::Test => (TEST, "test failed"),
        Kind::Push => (PUSH, "push failed"),
        Kind::Rejected => (REJECTED, "rejected by AWS"),
        Kind::Check => (CHECK, "check failed"),
        Kind::RolledBack => (ROLLED_BACK, "failed and rolled back"),
        Kind::NotRolledBack => (NOT_ROLLED_BACK, "failed and not rolled back"),
        Kind::Superseded => (SUPERSEDED, "superseded"),
        Kind::TimedOut => (TIMED_OUT, "timed out"),
        Kind::NoAnswer => (NO_ANSWER, "no answer"),
        Kind::TaskFailed => (TASK_FAILED, "task failed"),
        Kind::InFlight => (IN_FLIGHT, "another deployment is in flight"),
        Kind::Interrupted => (INTERRUPTED, "cancelled"),
        Kind::Terminated => (TERMINATED, "cancelled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_a_code_of_its_own() {
        let kinds = [
            Kind::Unexpected,
            Kind::Configuration,
            Kind::Credentials,
            Kind::Build,
            Kind::Test,
            Kind::Push,
            Kind::Rejected,
            Kind::Check,
            Kind::RolledBack,
            Kind::NotRolledBack,
            Kind::Superseded,
            Kind::TimedOut,
            Kind::NoAnswer,
            Kind::TaskFailed,
            Kind::InFlight,
            Kind::Interrupted,
            Kind::Terminated,
        ];
        let codes: std::collections::BTreeSet<u8> = kinds.iter().map(|kind| of(*kind).0).collect();
        assert_eq!(codes.len(), kinds.len());
        assert!(!codes.contains(&OK) && !codes.contains(&USAGE));
    }
}
