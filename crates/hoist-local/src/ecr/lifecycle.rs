//! Lifecycle policies: which images expire.
//!
//! Source: "Automate the cleanup of images by using lifecycle policies" in the Amazon ECR User Guide. The real service expires an image
//! within 24 hours; here policies are applied every hour, and when `/_hoist/lifecycle` is posted to.

use std::collections::{BTreeMap, BTreeSet};

use hoist_oci::Digest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::words::{invalid, page, repository_name};
use crate::api::{ApiError, Call};
use crate::clock::{self, Millis};
use crate::ctx::ACCOUNT;
use crate::registry::{ImageRecord, Refusal, Registry, matches_pattern};

const DAY: Millis = 24 * 60 * 60 * 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    rule_priority: u32,
    #[serde(default, rename = "description")]
    _description: Option<String>,
    selection: Selection,
    action: Action,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selection {
    tag_status: TagStatus,
    #[serde(default)]
    tag_prefix_list: Vec<String>,
    #[serde(default)]
    tag_pattern_list: Vec<String>,
    count_type: CountType,
    #[serde(default)]
    count_unit: Option<String>,
    count_number: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TagStatus {
    Tagged,
    Untagged,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum CountType {
    ImageCountMoreThan,
    SinceImagePushed,
}

/// An image that a rule has chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Expired {
    pub digest: Digest,
    pub tags: Vec<String>,
    pub pushed: Millis,
    /// The priority of the rule.
    pub rule: u32,
}

fn read(text: &str) -> Result<Policy, String> {
    let mut policy: Policy = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if policy.rules.is_empty() {
        return Err("a policy has at least one rule".to_owned());
    }
    policy.rules.sort_by_key(|rule| rule.rule_priority);
    let last = policy.rules.len() - 1;
    for (at, rule) in policy.rules.iter().enumerate() {
        let selection = &rule.selection;
        let tagged = selection.tag_status == TagStatus::Tagged;
        let named = !selection.tag_prefix_list.is_empty() || !selection.tag_pattern_list.is_empty();
        let by_age = selection.count_type == CountType::SinceImagePushed;
        let problem = if rule.rule_priority == 0 {
            "rulePriority is at least 1"
        } else if at > 0 && policy.rules[at - 1].rule_priority == rule.rule_priority {
            "rulePriority values are unique"
        } else if tagged != named {
            "tagPrefixList or tagPatternList is there if, and only if, tagStatus is tagged"
        } else if selection.tag_status == TagStatus::Any && at != last {
            "a rule with tagStatus any has the highest rulePriority"
        } else if by_age != (selection.count_unit.as_deref() == Some("days")) {
            "countUnit is days if, and only if, countType is sinceImagePushed"
        } else if selection.count_number < 1 {
            "countNumber is at least 1"
        } else if rule.action.kind != "expire" {
            "the type of an action is expire"
        } else {
            continue;
        };
        return Err(problem.to_owned());
    }
    Ok(policy)
}

/// Refuses a text that is no lifecycle policy.
pub fn check(text: &str) -> Result<(), ApiError> {
    read(text).map(drop).map_err(|problem| {
        invalid(
            "LifecyclePolicyText",
            &format!("Lifecycle policy validation failure: {problem}"),
        )
    })
}

/// What a policy would expire now. An image belongs to the first rule whose tags it has, and to no other; what a kept index refers
/// to stays.
fn choose(
    policy: &Policy,
    images: &[ImageRecord],
    tags: &[(String, Digest)],
    now: Millis,
) -> Vec<Expired> {
    let mut tags_of: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for (tag, digest) in tags {
        tags_of.entry(*digest).or_default().push(tag.clone());
    }
    let of = |image: &ImageRecord| tags_of.get(&image.digest).cloned().unwrap_or_default();
    let mut left: Vec<&ImageRecord> = images.iter().collect();
    left.sort_by_key(|image| std::cmp::Reverse(image.pushed));
    let mut chosen = Vec::new();
    for rule in &policy.rules {
        let selection = &rule.selection;
        let fits = |image: &ImageRecord| {
            let tags = of(image);
            let has = |test: &dyn Fn(&str) -> bool| tags.iter().any(|tag| test(tag));
            match selection.tag_status {
                TagStatus::Any => true,
                TagStatus::Untagged => tags.is_empty(),
                TagStatus::Tagged => {
                    let prefixes = &selection.tag_prefix_list;
                    let patterns = &selection.tag_pattern_list;
                    prefixes
                        .iter()
                        .all(|it| has(&|tag| tag.starts_with(it.as_str())))
                        && patterns
                            .iter()
                            .all(|it| has(&|tag| matches_pattern(it, tag)))
                }
            }
        };
        let (mine, others): (Vec<&ImageRecord>, Vec<&ImageRecord>) =
            left.into_iter().partition(|image| fits(image));
        left = others;
        for (at, image) in mine.into_iter().enumerate() {
            let goes = match selection.count_type {
                CountType::ImageCountMoreThan => {
                    i64::try_from(at).unwrap_or(i64::MAX) >= selection.count_number
                }
                CountType::SinceImagePushed => {
                    now - image.pushed >= selection.count_number.saturating_mul(DAY)
                }
            };
            if goes {
                chosen.push(Expired {
                    digest: image.digest,
                    tags: of(image),
                    pushed: image.pushed,
                    rule: rule.rule_priority,
                });
            }
        }
    }
    let going: BTreeSet<Digest> = chosen.iter().map(|it| it.digest).collect();
    let kept: BTreeSet<Digest> = images
        .iter()
        .filter(|image| !going.contains(&image.digest))
        .flat_map(|image| image.refers_to.iter().copied())
        .collect();
    chosen.retain(|it| !kept.contains(&it.digest));
    chosen
}

fn evaluate(
    registry: &Registry,
    region: &str,
    name: &str,
    text: &str,
) -> Result<Vec<Expired>, Refusal> {
    let Ok(policy) = read(text) else {
        // A policy of an earlier version that took any text.
        return Ok(Vec::new());
    };
    let (images, tags) = (registry.images(region, name)?, registry.tags(region, name)?);
    Ok(choose(&policy, &images, &tags, clock::now()))
}

/// Expires what the policies of all repositories say, and returns how many images went.
///
/// # Errors
/// When the state cannot be read or written.
pub fn apply(registry: &Registry) -> Result<usize, Refusal> {
    let mut count = 0;
    for (region, repository) in registry.all_repositories()? {
        let Some(text) = &repository.lifecycle else {
            continue;
        };
        for image in evaluate(registry, &region, &repository.name, text)? {
            tracing::info!(repository = repository.name, digest = %image.digest, rule = image.rule, "an image expires");
            registry.delete_image(&region, &repository.name, Some(&image.digest), None)?;
            count += 1;
        }
    }
    Ok(count)
}

/// StartLifecyclePolicyPreview: keeps the text that is to be tried.
pub fn start_preview(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    let repository = registry.repository(&call.region, name)?;
    let text = match call.str("lifecyclePolicyText") {
        Some(text) => text.to_owned(),
        None => repository.lifecycle.ok_or_else(|| missing(name))?,
    };
    check(&text)?;
    registry.change_repository(&call.region, name, |repository| {
        repository.preview = Some(text.clone())
    })?;
    Ok(json!({
        "registryId": ACCOUNT,
        "repositoryName": name,
        "lifecyclePolicyText": text,
        "status": "IN_PROGRESS",
    }))
}

/// GetLifecyclePolicyPreview: what the text that is tried would expire now.
pub fn preview(registry: &Registry, call: &Call) -> Result<Value, ApiError> {
    let name = repository_name(call)?;
    let text = registry
        .repository(&call.region, name)?
        .preview
        .ok_or_else(|| {
            ApiError::new(
                "LifecyclePolicyPreviewNotFoundException",
                format!(
                    "Lifecycle policy preview does not exist for the repository with name '{name}' in the registry with id '{ACCOUNT}'"
                ),
            )
        })?;
    let found = evaluate(registry, &call.region, name, &text)?;
    let total = found.len();
    let results = found
        .into_iter()
        .map(|image| {
            json!({
                "imageTags": image.tags,
                "imageDigest": image.digest,
                "imagePushedAt": clock::epoch_seconds(image.pushed),
                "action": {"type": "EXPIRE"},
                "appliedRulePriority": image.rule,
            })
        })
        .collect();
    let mut answer = page(call, "previewResults", results)?;
    answer["registryId"] = ACCOUNT.into();
    answer["repositoryName"] = name.into();
    answer["lifecyclePolicyText"] = text.into();
    answer["status"] = "COMPLETE".into();
    answer["summary"] = json!({"expiringImageTotalCount": total});
    Ok(answer)
}

fn missing(name: &str) -> ApiError {
    ApiError::new(
        "LifecyclePolicyNotFoundException",
        format!(
            "Lifecycle policy does not exist for the repository with name '{name}' in the registry with id '{ACCOUNT}'"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, age: Millis) -> ImageRecord {
        ImageRecord {
            digest: Digest::of(name.as_bytes()),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            artifact_type: None,
            manifest_size: 1,
            size: 1,
            pushed: 100 * DAY - age * DAY,
            refers_to: Vec::new(),
            subject: None,
        }
    }

    fn chosen(rules: Value, images: &[ImageRecord], tags: &[(&str, &str)]) -> Vec<(Digest, u32)> {
        let policy = read(&json!({ "rules": rules }).to_string()).unwrap();
        let tags: Vec<(String, Digest)> = tags
            .iter()
            .map(|(tag, name)| ((*tag).to_owned(), Digest::of(name.as_bytes())))
            .collect();
        let found = choose(&policy, images, &tags, 100 * DAY);
        found.into_iter().map(|it| (it.digest, it.rule)).collect()
    }

    fn rule(priority: u32, selection: Value) -> Value {
        json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
    }

    #[test]
    fn the_oldest_go_and_the_first_rule_that_fits_decides() {
        let images = [image("a", 9), image("b", 5), image("c", 1), image("d", 30)];
        let tags = [("prod-1", "a"), ("prod-2", "b"), ("beta-1", "c")];
        let by_count = |prefix: &str, count: u32| json!({"tagStatus": "tagged", "tagPrefixList": [prefix], "countType": "imageCountMoreThan", "countNumber": count});
        let of = |name: &str| Digest::of(name.as_bytes());
        assert_eq!(
            chosen(json!([rule(1, by_count("prod", 1))]), &images, &tags),
            [(of("a"), 1)]
        );
        let any = json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1});
        assert_eq!(
            chosen(
                json!([rule(1, by_count("prod", 2)), rule(2, any)]),
                &images,
                &tags
            ),
            [(of("d"), 2)],
            "those of the first rule are no business of the second"
        );
        let old = json!({"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14});
        assert_eq!(
            chosen(json!([rule(3, old)]), &images, &tags),
            [(of("d"), 3)]
        );
        let pattern = json!({"tagStatus": "tagged", "tagPatternList": ["*-1"], "countType": "imageCountMoreThan", "countNumber": 1});
        assert_eq!(
            chosen(json!([rule(1, pattern)]), &images, &tags),
            [(of("a"), 1)]
        );
    }

    #[test]
    fn what_a_kept_index_refers_to_stays() {
        let mut index = image("index", 1);
        index.refers_to = vec![Digest::of(b"part")];
        let images = [index, image("part", 50)];
        let old = json!({"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14});
        assert_eq!(
            chosen(json!([rule(1, old)]), &images, &[("v1", "index")]),
            []
        );
    }

    #[test]
    fn a_policy_that_is_none_is_told_why() {
        let good = json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1});
        for (rules, why) in [
            (json!([]), "at least one rule"),
            (json!([rule(0, good.clone())]), "at least 1"),
            (
                json!([rule(1, good.clone()), rule(1, good.clone())]),
                "highest rulePriority",
            ),
            (
                json!([rule(
                    1,
                    json!({"tagStatus": "tagged", "countType": "imageCountMoreThan", "countNumber": 1})
                )]),
                "tagPrefixList",
            ),
            (
                json!([rule(
                    1,
                    json!({"tagStatus": "any", "countType": "sinceImagePushed", "countNumber": 1})
                )]),
                "countUnit",
            ),
        ] {
            let error = check(&json!({ "rules": rules }).to_string()).unwrap_err();
            assert!(error.message.contains(why), "{}", error.message);
        }
    }
}
