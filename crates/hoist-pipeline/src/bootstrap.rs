//! What a new account needs before the first deployment: looked up, said, and made if wanted.
//!
//! Every step looks before it makes, so that a second run makes nothing. Everything made is tagged `hoist:app`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use hoist_aws::{AwsError, Client};
use hoist_project::Project;
use serde::Serialize;

use crate::failure::Failure;
use crate::refusal::refused;
use crate::work::{self, Work};

mod account;
mod github;
mod network;

pub use github::{Trust, repository_of};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Whether what is absent is made, and not only said.
    pub make: bool,
    /// Who may deploy from GitHub Actions; nobody, if not given.
    pub trust: Option<Trust>,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It was there.
    There,
    /// It is absent, and would be made.
    Absent,
    /// It was absent, and is made.
    Made,
    /// It is absent, and only somebody else can make it.
    Lacking,
}

/// One thing that a deployment needs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// What it is, such as `the cluster default`.
    pub what: String,
    /// Whether it is there.
    pub state: State,
    /// What it is for, or what is to be known of it.
    pub why: String,
}

/// All that a deployment needs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrapped {
    /// Application.
    pub app: String,
    /// Account.
    pub account: String,
    /// Region.
    pub region: String,
    /// What there is, was made, or is missing, in the order in which it is made.
    pub items: Vec<Item>,
    /// Role with which GitHub Actions deploys.
    pub role: Option<String>,
    /// The lines of a workflow that use it.
    pub workflow: Option<String>,
}

impl Bootstrapped {
    /// Things that are still to be made.
    pub fn absent(&self) -> usize {
        self.items
            .iter()
            .filter(|item| item.state == State::Absent)
            .count()
    }

    /// Things that only somebody else can make.
    pub fn lacking(&self) -> usize {
        self.items
            .iter()
            .filter(|item| item.state == State::Lacking)
            .count()
    }
}

/// Looks up what the project needs, and makes what is absent if it is asked to.
///
/// # Errors
/// AWS refused a call.
pub fn bootstrap<'a>(
    aws: &'a Client,
    project: &'a Project,
    wish: &'a Wish,
) -> Pin<Box<dyn Future<Output = Result<Bootstrapped, Failure>> + Send + 'a>> {
    Box::pin(async move {
        let account = aws
            .account()
            .await
            .map_err(|error| refused("failed to ask who calls", &error))?;
        let works = work::works(project, aws.region(), &[])?;
        let mut ledger = Ledger {
            aws,
            project,
            account,
            make: wish.make,
            items: Vec::new(),
        };
        ledger.account(&works).await?;
        ledger.network(&works).await?;
        let role = match &wish.trust {
            Some(trust) => Some(ledger.github(&works, trust).await?),
            None => None,
        };
        Ok(Bootstrapped {
            app: project.app.clone(),
            region: aws.region().to_owned(),
            account: ledger.account,
            items: ledger.items,
            workflow: role.as_ref().map(|role| {
                format!(
                    "permissions: {{ id-token: write, contents: read }}\n# ...\n      - run: hoist deploy --role {role} --region {}",
                    aws.region()
                )
            }),
            role,
        })
    })
}

/// What was found and made so far.
struct Ledger<'a> {
    aws: &'a Client,
    project: &'a Project,
    account: String,
    make: bool,
    items: Vec<Item>,
}

impl Ledger<'_> {
    fn add(&mut self, what: impl Into<String>, state: State, why: impl Into<String>) {
        self.items.push(Item {
            what: what.into(),
            state,
            why: why.into(),
        });
    }

    /// Notes something that is `there` or not. Returns whether it is to be made now.
    fn wants(&mut self, there: bool, what: impl Into<String>, why: impl Into<String>) -> bool {
        let state = match (there, self.make) {
            (true, _) => State::There,
            (false, true) => State::Made,
            (false, false) => State::Absent,
        };
        self.add(what, state, why);
        state == State::Made
    }

    fn app(&self) -> &str {
        &self.project.app
    }

    fn arn(&self, service: &str, region: &str, resource: &str) -> String {
        format!(
            "arn:{}:{service}:{region}:{}:{resource}",
            partition(self.aws.region()),
            self.account
        )
    }
}

/// `aws`, or the partition of the regions of China and of the US government.
fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// Makes failures of a step.
fn failing(what: impl Into<String>) -> impl Fn(AwsError) -> Failure {
    let what = format!("failed to prepare {}", what.into());
    move |error| refused(what.clone(), &error)
}

/// The values of a definition member in all works, each once.
fn each_once(works: &[Work], of: impl Fn(&Work) -> Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = works
        .iter()
        .flat_map(of)
        .filter(|one| !one.is_empty())
        .collect();
    all.sort();
    all.dedup();
    all
}

impl fmt::Display for Bootstrapped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} in account {}, {}",
            self.app, self.account, self.region
        )?;
        for item in &self.items {
            let word = match item.state {
                State::There => "is there",
                State::Absent => "to make",
                State::Made => "made",
                State::Lacking => "MISSING",
            };
            write!(out, "  {word:<8}  {}", item.what)?;
            match item.why.as_str() {
                "" => writeln!(out)?,
                why => writeln!(out, ": {why}")?,
            }
        }
        if self.absent() > 0 {
            writeln!(
                out,
                "\n{} to make; `hoist bootstrap --yes` makes them",
                self.absent()
            )?;
        } else if self.lacking() == 0 {
            writeln!(out, "\neverything is there: `hoist deploy` can begin")?;
        }
        if let Some(workflow) = &self.workflow {
            writeln!(out, "\nin the workflow:\n{workflow}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_made_is_counted_and_what_only_others_can_make_stands_out() {
        let item = |what: &str, state| Item {
            what: what.to_owned(),
            state,
            why: String::new(),
        };
        let mut done = Bootstrapped {
            app: "shop".into(),
            account: "1".into(),
            region: "eu-central-1".into(),
            items: vec![
                item("the cluster default", State::There),
                item("the repository shop", State::Absent),
                item("the secret x", State::Lacking),
            ],
            role: None,
            workflow: None,
        };
        let text = done.to_string();
        assert!(text.contains("  to make   the repository shop\n"), "{text}");
        assert!(text.contains("  MISSING   the secret x\n"), "{text}");
        assert!(
            text.contains("1 to make; `hoist bootstrap --yes`"),
            "{text}"
        );
        done.items.truncate(1);
        assert!(done.to_string().contains("everything is there"));
    }
}
