//! When a failed call is sent again, and after how long.
//!
//! The rules follow the AWS SDK reference ("Retry behavior"), with one difference: a call that would make something twice (a revision, a
//! deployment, a task) is not repeated when the first one may have been carried out. The caller looks first.

use std::time::Duration;

use serde_json::Value;

use crate::{AwsError, Retries, Service, TransportKind};

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Give the error to the caller.
    Stop,
    /// Send again after this long.
    After(Duration),
}

/// How often a call has been sent so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tries {
    /// Attempts that failed otherwise than by throttling.
    pub failed: u32,
    /// Attempts that were throttled.
    pub throttled: u32,
}

/// How often a call is sent that is answered 500 without a code of AWS, or whose host name has no address: neither is likely to change.
const FEW_ATTEMPTS: u32 = 3;

/// Counts a failed attempt, and decides. `random` is in 0..1.
pub(crate) fn decide(
    retries: &Retries,
    tries: &mut Tries,
    error: &AwsError,
    repeatable: bool,
    asked: Option<Duration>,
    random: f64,
) -> Next {
    let throttled = error.is_throttling();
    // AWS writes a code into its own 500s; a bare one comes from an emulator that does not know the call, and stays.
    let unlikely = matches!(
        error,
        AwsError::Transport {
            kind: TransportKind::Resolve,
            ..
        }
    ) || error.is_without_code()
        && matches!(error, AwsError::Service { status: 500, .. });
    let (count, most, base) = if throttled {
        tries.throttled += 1;
        (
            tries.throttled,
            retries.max_throttled_attempts,
            retries.throttled_base,
        )
    } else {
        tries.failed += 1;
        (
            tries.failed,
            if unlikely {
                retries.max_attempts.min(FEW_ATTEMPTS)
            } else {
                retries.max_attempts
            },
            retries.base,
        )
    };
    let worth_it = throttled || (is_transient(error) && (repeatable || !may_have_happened(error)));
    if !worth_it
        || count >= most
        || tries.failed + tries.throttled
            >= retries.max_throttled_attempts.max(retries.max_attempts)
    {
        return Next::Stop;
    }
    let own = full_jitter(base, retries.cap, count, random);
    // An answer that asks for more than the cap is not obeyed beyond it: nobody waits an hour in a deploy.
    Next::After(asked.map_or(own, |asked| asked.min(retries.cap).max(own)))
}

/// A random part of base x 2^(count-1), at most cap.
fn full_jitter(base: Duration, cap: Duration, count: u32, random: f64) -> Duration {
    let ceiling = base.saturating_mul(1u32 << (count - 1).min(16)).min(cap);
    ceiling.mul_f64(random.clamp(0.0, 1.0))
}

/// Whether the same call may succeed a moment later.
pub(crate) fn is_transient(error: &AwsError) -> bool {
    match error {
        AwsError::Transport { .. } => true,
        AwsError::Service { status, code, .. } => {
            matches!(*status, 500 | 502 | 503 | 504)
                || matches!(
                    code.as_str(),
                    "RequestTimeout"
                        | "RequestTimeoutException"
                        | "InternalError"
                        | "InternalFailure"
                        | "ServiceUnavailable"
                        | "ServiceUnavailableException"
                        | "IDPCommunicationError"
                        | "ServerException"
                )
        }
        AwsError::Decode { .. } => true,
        AwsError::Credentials { .. } | AwsError::Config(_) => false,
    }
}

/// Whether the call may have been carried out although it failed.
pub(crate) fn may_have_happened(error: &AwsError) -> bool {
    match error {
        AwsError::Transport { kind, .. } => {
            matches!(kind, TransportKind::Timeout | TransportKind::Interrupted)
        }
        AwsError::Service { status, .. } => {
            *status >= 500 && *status != 503 && !error.is_throttling()
        }
        AwsError::Decode { .. } => true,
        AwsError::Credentials { .. } | AwsError::Config(_) => false,
    }
}

/// Whether carrying out the call twice is the same as carrying it out once.
pub(crate) fn is_repeatable(service: Service, operation: &str, params: &Value) -> bool {
    let has = |name: &str| params.get(name).is_some_and(|value| !value.is_null());
    match (service, operation) {
        // Every registration is a new revision.
        (Service::Ecs, "RegisterTaskDefinition") => false,
        (Service::Ecs, "RunTask" | "CreateTaskSet") => has("clientToken"),
        // It has no token, and the second one would be refused for the name of the first.
        (Service::Ecs, "CreateExpressGatewayService") => false,
        (Service::Ecs, "StartTask" | "ExecuteCommand") => false,
        // Every forced one is a new deployment, and one that was rolled back meanwhile would begin once more.
        (Service::Ecs, "UpdateService") => !has("forceNewDeployment") && !has("taskDefinition"),
        (Service::CodeDeploy, "CreateDeployment") => false,
        (Service::Ssm, "SendCommand" | "StartSession") => false,
        (Service::Logs, "PutLogEvents") => false,
        (Service::Ec2, action)
            if action.starts_with("Create")
                || action.starts_with("Allocate")
                || action == "RunInstances" =>
        {
            has("ClientToken")
        }
        // Everything else reads, sets a state, or is refused as a duplicate the second time.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(code: &str, status: u16) -> AwsError {
        AwsError::Service {
            service: Service::Ecs,
            operation: "X".into(),
            code: code.into(),
            message: String::new(),
            status,
            request_id: None,
        }
    }

    fn lost(kind: TransportKind) -> AwsError {
        AwsError::Transport {
            service: Service::Ecs,
            operation: "X".into(),
            endpoint: "http://x".into(),
            kind,
            source: "gone".into(),
        }
    }

    #[test]
    fn the_back_off_doubles_up_to_the_cap_and_is_random_below_it() {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(1));
        let longest: Vec<u128> = (1..=6)
            .map(|count| full_jitter(base, cap, count, 1.0).as_millis())
            .collect();
        assert_eq!(longest, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(full_jitter(base, cap, 40, 0.5), Duration::from_millis(500));
        assert_eq!(full_jitter(base, cap, 3, 0.0), Duration::ZERO);
    }

    #[test]
    fn attempts_are_bounded_and_throttling_has_its_own_bound() {
        let retries = Retries {
            max_attempts: 3,
            max_throttled_attempts: 5,
            ..Retries::default()
        };
        let sent = |error: &AwsError| {
            let mut tries = Tries::default();
            let mut sent = 1;
            while decide(&retries, &mut tries, error, true, None, 0.5) != Next::Stop {
                sent += 1;
            }
            sent
        };
        assert_eq!(sent(&refused("InternalError", 500)), 3);
        assert_eq!(sent(&refused("ThrottlingException", 400)), 5);
        assert_eq!(sent(&refused("ClientException", 400)), 1);
        assert_eq!(sent(&refused("HTTP 502", 502)), 3);
        assert_eq!(sent(&lost(TransportKind::Resolve)), 3);
        assert_eq!(sent(&lost(TransportKind::Connect)), 3);
    }

    #[test]
    fn what_is_unlikely_to_change_is_soon_given_up() {
        let retries = Retries {
            max_attempts: 10,
            ..Retries::default()
        };
        let error = refused("HTTP 500", 500);
        let mut tries = Tries::default();
        while decide(&retries, &mut tries, &error, true, None, 0.5) != Next::Stop {}
        assert_eq!(tries.failed, 3);
        assert!(
            error.is_unsupported_operation()
                && !refused("ServerException", 500).is_unsupported_operation()
        );
    }

    #[test]
    fn what_would_be_made_twice_is_not_repeated_once_it_may_have_happened() {
        let retries = Retries::default();
        let next = |error: &AwsError, repeatable| {
            decide(
                &retries,
                &mut Tries::default(),
                error,
                repeatable,
                None,
                1.0,
            )
        };
        for ambiguous in [
            lost(TransportKind::Interrupted),
            lost(TransportKind::Timeout),
            refused("ServerException", 500),
        ] {
            assert_eq!(next(&ambiguous, false), Next::Stop, "{ambiguous}");
            assert_ne!(next(&ambiguous, true), Next::Stop, "{ambiguous}");
        }
        for certain in [
            lost(TransportKind::Connect),
            refused("ThrottlingException", 400),
            refused("ServiceUnavailable", 503),
        ] {
            assert_ne!(next(&certain, false), Next::Stop, "{certain}");
        }
    }

    #[test]
    fn a_wait_that_the_service_asks_for_is_kept_up_to_the_cap() {
        let retries = Retries {
            cap: Duration::from_secs(4),
            ..Retries::default()
        };
        let after = |asked| {
            decide(
                &retries,
                &mut Tries::default(),
                &refused("SlowDown", 503),
                true,
                Some(asked),
                0.0,
            )
        };
        assert_eq!(
            after(Duration::from_secs(2)),
            Next::After(Duration::from_secs(2))
        );
        assert_eq!(
            after(Duration::from_secs(3600)),
            Next::After(Duration::from_secs(4))
        );
    }

    #[test]
    fn calls_that_make_something_new_are_known() {
        let is = |operation, params| is_repeatable(Service::Ecs, operation, &params);
        assert!(!is("RegisterTaskDefinition", json!({})));
        assert!(!is("RunTask", json!({})));
        assert!(!is("CreateExpressGatewayService", json!({})));
        assert!(is("RunTask", json!({"clientToken": "t"})));
        assert!(is("UpdateService", json!({"desiredCount": 3})));
        assert!(!is("UpdateService", json!({"taskDefinition": "web:3"})));
        assert!(!is("UpdateService", json!({"forceNewDeployment": true})));
        assert!(is("DescribeServices", json!({})));
    }
}
