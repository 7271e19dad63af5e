//! The target group of the short form: what of its settings hoist.yaml says otherwise, the change, and the way back.
//!
//! ECS checks the tasks that run by the same settings as the new ones. So they are changed at the moment of the deployment, and put back
//! where it fails: else a path that no revision answers would break the one that serves, and the way back to it could not end.

use std::sync::atomic::{AtomicBool, Ordering};

use hoist_aws::{AwsError, Client, Service, read};
use hoist_ecs::Change;
use serde_json::{Map, Value, json};

use crate::event::{Events, Step};
use crate::failure::Failure;
use crate::refusal::refused;

/// A target group whose settings are not those that hoist.yaml says.
#[derive(Debug)]
pub struct Retarget {
    arn: String,
    name: String,
    /// The settings that differ, as they are: members of ModifyTargetGroup, and attributes by their keys, which have dots.
    before: Map<String, Value>,
    /// The same, as they are wanted.
    after: Map<String, Value>,
    is_changed: AtomicBool,
}

/// A target group with its attributes as `Attributes`; `None` where there is no such group.
///
/// # Errors
/// AWS refused a call.
pub async fn look(aws: &Client, arn: &str) -> Result<Option<Value>, AwsError> {
    let mut groups = aws
        .query(
            Service::Elbv2,
            "DescribeTargetGroups",
            &json!({ "TargetGroupArns": [arn] }),
        )
        .await?;
    let mut attributes = aws
        .query(
            Service::Elbv2,
            "DescribeTargetGroupAttributes",
            &json!({ "TargetGroupArn": arn }),
        )
        .await?;
    let mut group = groups["TargetGroups"][0].take();
    if group.is_object() {
        group["Attributes"] = attributes["Attributes"].take();
    }
    Ok(Some(group).filter(Value::is_object))
}

/// The target group that `live` names first, and what of it differs from `wanted`; `None` where nothing does.
///
/// # Errors
/// AWS refused a call.
pub async fn differing(
    aws: &Client,
    live: &Value,
    wanted: &Value,
) -> Result<Option<Retarget>, AwsError> {
    let mut links = read::list(live, "loadBalancers");
    let Some(arn) = links.find_map(|link| link["targetGroupArn"].as_str()) else {
        return Ok(None);
    };
    let group = look(aws, arn).await?;
    Ok(group.and_then(|group| Retarget::of(&group, wanted)))
}

impl Retarget {
    /// What of `group` differs from `wanted`: members of CreateTargetGroup, with `Attributes`.
    pub fn of(group: &Value, wanted: &Value) -> Option<Retarget> {
        let (mut before, mut after) = (Map::new(), Map::new());
        let mut note = |name: &str, old: &Value, new: &Value| {
            // Answers in XML spell numbers and truth values as texts.
            if text(old) != text(new) {
                before.insert(name.to_owned(), plain(old));
                after.insert(name.to_owned(), plain(new));
            }
        };
        for (member, new) in wanted.as_object().into_iter().flatten() {
            if is_health_setting(member) {
                note(member, &part(&group[member], new), new);
            }
        }
        for attribute in read::list(wanted, "Attributes") {
            let key = read::text(attribute, "Key");
            let old = read::list(group, "Attributes").find(|old| old["Key"] == *key);
            note(
                key,
                old.map_or(&Value::Null, |old| &old["Value"]),
                &attribute["Value"],
            );
        }
        (!after.is_empty()).then(|| Retarget {
            arn: read::text(group, "TargetGroupArn").to_owned(),
            name: read::text(group, "TargetGroupName").to_owned(),
            before,
            after,
            is_changed: AtomicBool::new(false),
        })
    }

    /// What a run that was killed left changed, as its journal keeps it; see [`Retarget::noted`].
    pub fn left(noted: &Value) -> Option<Retarget> {
        Some(Retarget {
            arn: noted["arn"].as_str()?.to_owned(),
            name: read::text(noted, "name").to_owned(),
            before: noted["before"].as_object()?.clone(),
            after: noted["after"].as_object()?.clone(),
            is_changed: AtomicBool::new(true),
        })
    }

    /// What the journal keeps of it, so that another run can put it back.
    pub fn noted(&self) -> Value {
        json!({ "arn": self.arn, "name": self.name, "before": self.before, "after": self.after })
    }

    /// The differences.
    pub fn changes(&self) -> Vec<Change> {
        hoist_ecs::diff(
            &Value::Object(self.before.clone()),
            &Value::Object(self.after.clone()),
        )
    }

    /// The differences in one line.
    pub fn in_words(&self) -> String {
        let all = self.changes();
        let all: Vec<String> = all
            .iter()
            .map(|change| change.to_string().trim_start_matches("~ ").to_owned())
            .collect();
        all.join(", ")
    }

    /// On a real account the group is its owner's: what hoist leaves alone, and how to change it. It is not what
    /// `wanted` ("hoist.yaml says").
    pub fn left_alone(&self, wanted: &str) -> String {
        format!(
            "the target group {} is not what {wanted}, and stays as it is: {}",
            self.name,
            self.in_words()
        )
    }

    /// Whether what a task must answer changes, and not only how it leaves.
    pub fn is_about_health(&self) -> bool {
        self.after.keys().any(|name| !is_attribute(name))
    }

    /// Makes the settings those that hoist.yaml says.
    ///
    /// # Errors
    /// AWS refused a call.
    pub async fn change(&self, aws: &Client, events: &Events) -> Result<(), Failure> {
        let (name, words) = (&self.name, self.in_words());
        self.set(aws, &self.after).await.map_err(|error| {
            refused(format!("failed to change the target group {name}"), &error)
        })?;
        self.is_changed.store(true, Ordering::Relaxed);
        let message = format!("changed the target group {name}: {words}");
        if self.is_about_health() {
            events.warn(
                Step::Deploy,
                format!(
                    "{message}; the tasks that run are checked by it as well, so it is put back should this fail"
                ),
            );
        } else {
            events.note(Step::Deploy, message);
        }
        Ok(())
    }

    /// Makes the settings what they were, if they were changed. What cannot be put back is told: the way back may not end without.
    /// Returns whether they are what they were.
    pub async fn put_back(&self, aws: &Client, events: &Events) -> bool {
        if !self.is_changed.swap(false, Ordering::Relaxed) {
            return true;
        }
        let name = &self.name;
        let set = self.set(aws, &self.before).await;
        match &set {
            Ok(()) => events.note(
                Step::Deploy,
                format!("put the settings of the target group {name} back"),
            ),
            Err(error) => events.warn(
                Step::Deploy,
                format!(
                    "failed to put the settings of the target group {name} back ({}): {error}",
                    self.in_words()
                ),
            ),
        }
        set.is_ok()
    }

    async fn set(&self, aws: &Client, settings: &Map<String, Value>) -> Result<(), AwsError> {
        let (attributes, members): (Vec<_>, Vec<_>) = settings
            .iter()
            .filter(|(_, value)| !value.is_null())
            .partition(|(name, _)| is_attribute(name));
        if !members.is_empty() {
            let mut request = json!({ "TargetGroupArn": self.arn });
            for (member, value) in members {
                request[member] = value.clone();
            }
            aws.query(Service::Elbv2, "ModifyTargetGroup", &request)
                .await?;
        }
        if !attributes.is_empty() {
            let attributes: Vec<Value> = attributes
                .into_iter()
                .map(|(key, value)| json!({ "Key": key, "Value": value }))
                .collect();
            let request = json!({ "TargetGroupArn": self.arn, "Attributes": attributes });
            aws.query(Service::Elbv2, "ModifyTargetGroupAttributes", &request)
                .await?;
        }
        Ok(())
    }
}

/// Whether ModifyTargetGroup takes this member of CreateTargetGroup.
fn is_health_setting(member: &str) -> bool {
    member.starts_with("HealthCheck") || member.ends_with("ThresholdCount") || member == "Matcher"
}

fn is_attribute(name: &str) -> bool {
    name.contains('.')
}

/// The members of `live` that `wanted` has too.
fn part(live: &Value, wanted: &Value) -> Value {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .keys()
            .filter_map(|name| Some((name.clone(), live.get(name)?.clone())))
            .collect::<Map<_, _>>()
            .into(),
        (live, _) => live.clone(),
    }
}

/// A value as the query protocols spell it.
fn plain(value: &Value) -> Value {
    match value {
        Value::Null | Value::Object(_) => value.clone(),
        other => Value::String(text(other)),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Endpoint;

    fn group() -> Value {
        // As the XML is read: every number a text.
        json!({ "TargetGroupArn": "arn:tg", "TargetGroupName": "shop-web", "HealthCheckPath": "/healthz",
            "HealthCheckIntervalSeconds": "5", "Matcher": { "HttpCode": "200-399", "GrpcCode": "12" }, "Port": "8080",
            "Attributes": [{ "Key": "deregistration_delay.timeout_seconds", "Value": "5" }] })
    }

    fn wanted(path: &str, delay: &str) -> Value {
        json!({ "Name": "shop-web", "Port": 9090, "HealthCheckPath": path, "HealthCheckIntervalSeconds": 5,
            "Matcher": { "HttpCode": "200-399" },
            "Attributes": [{ "Key": "deregistration_delay.timeout_seconds", "Value": delay }] })
    }

    #[test]
    fn what_is_written_in_another_way_is_no_difference_and_what_cannot_be_changed_neither() {
        assert!(Retarget::of(&group(), &wanted("/healthz", "5")).is_none());
        let delay = Retarget::of(&group(), &wanted("/healthz", "30")).unwrap();
        assert!(!delay.is_about_health());
        assert_eq!(
            delay.in_words(),
            "deregistration_delay.timeout_seconds: 5 -> 30"
        );
        let both = Retarget::of(&group(), &wanted("/ready", "30")).unwrap();
        assert!(both.is_about_health());
        assert_eq!(both.changes().len(), 2);
    }

    #[tokio::test]
    async fn only_what_differs_is_changed_and_put_back_once() {
        let endpoint = Endpoint::answering(|_, _, _| (200, json!({}))).await;
        let events = Events::new(Vec::new());
        let both = Retarget::of(&group(), &wanted("/ready", "30")).unwrap();
        let aws = &endpoint.client;
        // Nothing was changed yet.
        both.put_back(aws, &events).await;
        both.change(aws, &events).await.unwrap();
        both.put_back(aws, &events).await;
        both.put_back(aws, &events).await;
        let paths: Vec<Value> = endpoint
            .asked("ModifyTargetGroup")
            .iter()
            .map(|asked| asked["HealthCheckPath"].clone())
            .collect();
        assert_eq!(paths, ["/ready", "/healthz"]);
        // As another run finds it in the journal.
        let left = Retarget::left(&both.noted()).unwrap();
        assert!(left.put_back(aws, &events).await);
        assert_eq!(endpoint.asked("ModifyTargetGroup").len(), 3);
        let asked = endpoint.asked("ModifyTargetGroupAttributes");
        assert_eq!(asked.len(), 3);
        assert_eq!(asked[1]["Attributes.member.1.Value"], "5");
        assert!(endpoint.asked("ModifyTargetGroup")[0]["HealthCheckIntervalSeconds"].is_null());
    }
}
