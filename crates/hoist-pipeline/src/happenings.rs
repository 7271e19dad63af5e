//! What ECS says has happened to the services: their events, in order, and as they come.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use hoist_aws::Client;
use hoist_aws::read::ServiceView;
use hoist_project::Service;
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Failure;
use crate::select;

/// One event of a service.
#[derive(Debug, Serialize)]
pub struct Happening {
    /// When.
    pub at: Timestamp,
    /// Key of the service in hoist.yaml.
    pub service: String,
    /// In the words of ECS.
    pub message: String,
}

impl fmt::Display for Happening {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} {}",
            self.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            self.message
        )
    }
}

/// Tells the newest `limit` events of `services`, oldest first; then, if asked to follow, each new one as it comes, without end.
///
/// # Errors
/// A service does not exist, or AWS refused a call.
pub async fn happenings(
    aws: &Client,
    services: &[&Service],
    limit: usize,
    follow: Option<Duration>,
    tell: &mut (dyn FnMut(&Happening) + Send),
) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    let mut first = true;
    loop {
        let mut found = Vec::new();
        for service in services {
            let live = select::live(aws, service).await?;
            for event in ServiceView::of(&live).events() {
                let Some(at) = event.created() else { continue };
                if seen.insert((service.key.clone(), event.id().to_owned())) {
                    found.push(Happening {
                        at,
                        service: service.key.clone(),
                        message: event.message().to_owned(),
                    });
                }
            }
        }
        found.sort_by_key(|happening| happening.at);
        let skip = if first {
            found.len().saturating_sub(limit)
        } else {
            0
        };
        found[skip..].iter().for_each(&mut *tell);
        first = false;
        match follow {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Ok(()),
        }
    }
}
