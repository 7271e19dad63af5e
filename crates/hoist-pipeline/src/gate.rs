//! What must hold before a deployment counts as done: the image's scan before it, a smoke test and alarms after it.

use std::path::Path;
use std::time::{Duration, Instant};

use hoist_aws::{Client, Service, read};
use hoist_project::{GatesConfig, ScanConfig};
use serde_json::json;

use crate::cancel::Cancel;
use crate::event::{Events, Step};
use crate::failure::{Failure, Kind};
use crate::hook::Hook;
use crate::image::Published;
use crate::refusal::{has_code, refused};

/// How long a scan is waited for.
const SCAN_LIMIT: Duration = Duration::from_secs(180);
/// Time between two looks at a scan or an alarm.
const PAUSE: Duration = Duration::from_secs(3);

/// Severities of findings, the worst first, and what they are worse than.
const SEVERITIES: [(&str, ScanConfig); 4] = [
    ("CRITICAL", ScanConfig::High),
    ("HIGH", ScanConfig::Medium),
    ("MEDIUM", ScanConfig::Low),
    ("LOW", ScanConfig::None),
];

/// Ends the run where the image's scan has a worse finding than what is let through.
///
/// # Errors
/// `Check` with the counts; AWS refused the call; cancellation.
pub async fn scan(
    aws: &Client,
    repository: &str,
    image: &Published,
    gates: &GatesConfig,
    cancel: &Cancel,
    events: &Events,
) -> Result<(), Failure> {
    let Some(allowed) = gates.scan else {
        return Ok(());
    };
    let step = events.start(Step::Test, "the image's scan");
    let began = Instant::now();
    let request = json!({ "repositoryName": repository, "imageId": { "imageDigest": image.digest.to_string() } });
    let findings = loop {
        let asked = async {
            Ok(aws
                .json(Service::Ecr, "DescribeImageScanFindings", request.clone())
                .await)
        };
        match cancel.or(asked).await? {
            Ok(answer) if answer["imageScanStatus"]["status"] == "COMPLETE" => break answer,
            Ok(answer) if matches!(answer["imageScanStatus"]["status"].as_str(), Some("IN_PROGRESS" | "PENDING") | None) => {}
            Ok(answer) => {
                let status = &answer["imageScanStatus"];
                return Err(Failure::new(
                    Kind::Check,
                    format!("the image could not be scanned: {} {}", read::text(status, "status"), read::text(status, "description")),
                )
                .hint("`gates: { scan }` in hoist.yaml asks for a scan"));
            }
            // A scan that has not begun yet: scan-on-push takes a moment.
            Err(error) if has_code(&error, "ScanNotFoundException") && began.elapsed() < SCAN_LIMIT / 6 => {}
            Err(error) => return Err(refused("failed to read the image's scan", &error)
                .hint("turn on `scanOnPush` of the repository, or remove `gates: { scan }` from hoist.yaml")),
        }
        if began.elapsed() > SCAN_LIMIT {
            return Err(Failure::new(
                Kind::Check,
                "the image's scan did not end in time",
            ));
        }
        let wait = async {
            tokio::time::sleep(PAUSE).await;
            Ok(())
        };
        cancel.or(wait).await?;
    };
    let counts = &findings["imageScanFindings"]["findingSeverityCounts"];
    let worse: Vec<String> = SEVERITIES
        .iter()
        .filter(|(_, above)| *above >= allowed)
        .filter_map(|(name, _)| {
            let count = read::number(counts, name).filter(|count| *count > 0)?;
            Some(format!("{count} {name}"))
        })
        .collect();
    if worse.is_empty() {
        step.finish("nothing worse than what is let through");
        return Ok(());
    }
    Err(Failure::new(
        Kind::Check,
        format!("the image's scan found {}", worse.join(", ")),
    )
    .hint("nothing was deployed; `aws ecr describe-image-scan-findings` lists them"))
}

/// Runs the smoke test and watches the alarms, when the new revision of `service` serves at `url`.
///
/// # Errors
/// `NotRolledBack`, which the caller makes better by going back; cancellation.
pub async fn serving(
    aws: &Client,
    folder: &Path,
    service: &str,
    url: Option<&str>,
    gates: &GatesConfig,
    cancel: &Cancel,
    events: &Events,
) -> Result<(), Failure> {
    if let Some(command) = &gates.command {
        let step = events.start(Step::Verify, format!("smoke test `{command}`"));
        let hook = Hook {
            what: "smoke test",
            kind: Kind::NotRolledBack,
            step: Step::Verify,
            variables: &[
                ("HOIST_URL", url.unwrap_or_default()),
                ("HOIST_SERVICE", service),
            ],
        };
        hook.run(command, folder, cancel, events)
            .await
            .map_err(|mut failure| {
                // In a release, of which service.
                if failure.kind == Kind::NotRolledBack {
                    failure.message = format!("{service}: {}", failure.message);
                }
                failure
            })?;
        step.finish("the smoke test passed");
    }
    if gates.alarms.is_empty() {
        return Ok(());
    }
    let step = events.start(Step::Verify, format!("alarms {}", gates.alarms.join(", ")));
    let (began, limit) = (Instant::now(), Duration::from_secs(u64::from(gates.watch)));
    loop {
        let request = json!({ "AlarmNames": gates.alarms });
        let asked = async {
            aws.query(Service::CloudWatch, "DescribeAlarms", &request)
                .await
                .map_err(|error| refused("failed to look at the alarms", &error))
        };
        let answer = cancel.or(asked).await?;
        let ringing: Vec<&str> = read::list(&answer, "MetricAlarms")
            .chain(read::list(&answer, "CompositeAlarms"))
            .filter(|alarm| alarm["StateValue"] == "ALARM")
            .map(|alarm| read::text(alarm, "AlarmName"))
            .collect();
        if !ringing.is_empty() {
            return Err(Failure::new(
                Kind::NotRolledBack,
                format!("{service}: the alarm {} rings", ringing.join(", ")),
            ));
        }
        if began.elapsed() >= limit {
            step.finish("no alarm rings");
            return Ok(());
        }
        let wait = async {
            tokio::time::sleep(PAUSE.min(limit - began.elapsed().min(limit))).await;
            Ok(())
        };
        cancel.or(wait).await?;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cancel::cancellation;
    use crate::testing::Endpoint;

    async fn scanned(allowed: ScanConfig, counts: Value) -> Result<(), Failure> {
        let endpoint = Endpoint::answering(move |_, _, nth| {
            let status = if nth == 0 { "COMPLETE" } else { "FAILED" };
            (200, json!({ "imageScanStatus": { "status": status }, "imageScanFindings": { "findingSeverityCounts": counts } }))
        })
        .await;
        let gates = GatesConfig {
            scan: Some(allowed),
            ..GatesConfig::default()
        };
        let image = Published {
            reference: String::new(),
            tag: String::new(),
            digest: hoist_oci::Digest::of(b"x"),
            reused: false,
        };
        let (_canceller, cancel) = cancellation();
        scan(
            &endpoint.client,
            "shop",
            &image,
            &gates,
            &cancel,
            &Events::new(Vec::new()),
        )
        .await
    }

    #[tokio::test]
    async fn only_worse_findings_than_those_let_through_end_the_run() {
        let counts = json!({ "HIGH": 2, "LOW": 7, "INFORMATIONAL": 9 });
        assert!(scanned(ScanConfig::High, counts.clone()).await.is_ok());
        let found = scanned(ScanConfig::Medium, counts.clone())
            .await
            .unwrap_err();
        assert_eq!(
            (found.kind, found.message.as_str()),
            (Kind::Check, "the image's scan found 2 HIGH")
        );
        let found = scanned(ScanConfig::None, counts).await.unwrap_err();
        assert_eq!(found.message, "the image's scan found 2 HIGH, 7 LOW");
        assert!(scanned(ScanConfig::None, json!({})).await.is_ok());
    }

    #[tokio::test]
    async fn a_failing_smoke_test_and_a_ringing_alarm_are_told() {
        let state = |state: &'static str| {
            move |_: &str, _: &Value, _: usize| {
                (
                    200,
                    json!({ "MetricAlarms": [{ "AlarmName": "5xx", "StateValue": state }] }),
                )
            }
        };
        let (_canceller, cancel) = cancellation();
        let events = Events::new(Vec::new());
        let gates = |command: &str| GatesConfig {
            command: Some(hoist_project::Command::Shell(command.to_owned())),
            alarms: vec!["5xx".to_owned()],
            ..GatesConfig::default()
        };
        let quiet = Endpoint::answering(state("OK")).await;
        let ringing = Endpoint::answering(state("ALARM")).await;
        let url = Some("http://a/");
        let good = gates("test \"$HOIST_URL\" = http://a/ && test \"$HOIST_SERVICE\" = shop");
        let folder = Path::new("/");
        assert!(
            serving(&quiet.client, folder, "shop", url, &good, &cancel, &events)
                .await
                .is_ok()
        );
        let failed = serving(
            &quiet.client,
            folder,
            "shop",
            url,
            &gates("echo broken; exit 1"),
            &cancel,
            &events,
        )
        .await
        .unwrap_err();
        assert!(
            failed.kind == Kind::NotRolledBack
                && failed
                    .message
                    .starts_with("shop: the smoke test `echo broken")
                && failed
                    .detail
                    .is_some_and(|detail| detail.contains("broken"))
        );
        let failed = serving(
            &ringing.client,
            folder,
            "shop",
            url,
            &good,
            &cancel,
            &events,
        )
        .await
        .unwrap_err();
        assert_eq!(failed.message, "shop: the alarm 5xx rings");
    }
}
