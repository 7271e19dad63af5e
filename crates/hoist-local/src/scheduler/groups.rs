//! Groups of schedules, and their tags.

use serde_json::{Value, json};

use super::handle::{conflict, missing, paged};
use super::model::{GROUP, Group};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::Ctx;

/// The group of that name.
pub fn find(ctx: &Ctx, region: &str, name: &str) -> Result<Group, ApiError> {
    if name == GROUP {
        return Ok(Group {
            name: GROUP.to_owned(),
            arn: ctx.arn("scheduler", region, "schedule-group/default"),
            tags: Vec::new(),
            created: 0,
        });
    }
    let found = ctx.scheduler.groups.get(region, name)?;
    found.ok_or_else(|| missing(format!("Schedule group {name} does not exist.")))
}

fn shown(group: &Group) -> Value {
    let at = clock::epoch_seconds(group.created);
    json!({"Arn": group.arn, "Name": group.name, "State": "ACTIVE", "CreationDate": at, "LastModificationDate": at})
}

pub fn create(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = call.str("Name").unwrap_or_default();
    if find(ctx, &call.region, name).is_ok() {
        return Err(conflict(format!("Schedule group {name} already exists.")));
    }
    let group = Group {
        name: name.to_owned(),
        arn: ctx.arn("scheduler", &call.region, &format!("schedule-group/{name}")),
        tags: call.list("Tags").to_vec(),
        created: clock::now(),
    };
    ctx.scheduler.groups.put(&call.region, name, &group)?;
    Ok(json!({"ScheduleGroupArn": group.arn}))
}

pub fn get(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = call.str("Name").unwrap_or_default();
    Ok(shown(&find(ctx, &call.region, name)?))
}

pub fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let name = call.str("Name").unwrap_or_default();
    if name == GROUP {
        return Err(super::handle::invalid(
            "You can't delete the default schedule group.",
        ));
    }
    find(ctx, &call.region, name)?;
    // Its schedules go with it.
    for (key, schedule) in ctx.scheduler.schedules.list(&call.region)? {
        if schedule.group == name {
            ctx.scheduler.schedules.delete(&call.region, &key)?;
        }
    }
    ctx.scheduler.groups.delete(&call.region, name)?;
    Ok(json!({}))
}

pub fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let prefix = call.str("NamePrefix").unwrap_or_default();
    let mut names = vec![GROUP.to_owned()];
    let own = ctx.scheduler.groups.list(&call.region)?;
    names.extend(own.into_iter().map(|(name, _)| name));
    names.sort();
    let mut found = Vec::new();
    for name in names.iter().filter(|name| name.starts_with(prefix)) {
        found.push(shown(&find(ctx, &call.region, name)?));
    }
    paged(call, found, "ScheduleGroups")
}

/// The group of an ARN; schedules have no tags.
fn tagged(ctx: &Ctx, call: &Call) -> Result<Group, ApiError> {
    let arn = call.str("ResourceArn").unwrap_or_default();
    let name = arn
        .rsplit_once(":schedule-group/")
        .map_or(arn, |(_, name)| name);
    find(ctx, &call.region, name)
}

pub fn tag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut group = tagged(ctx, call)?;
    for tag in call.list("Tags") {
        group.tags.retain(|old| old["Key"] != tag["Key"]);
        group.tags.push(tag.clone());
    }
    ctx.scheduler
        .groups
        .put(&call.region, &group.name, &group)?;
    Ok(json!({}))
}

pub fn untag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut group = tagged(ctx, call)?;
    let keys = call.strings("TagKeys");
    group
        .tags
        .retain(|tag| !keys.iter().any(|key| tag["Key"] == *key));
    ctx.scheduler
        .groups
        .put(&call.region, &group.name, &group)?;
    Ok(json!({}))
}

pub fn tags(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    Ok(json!({"Tags": tagged(ctx, call)?.tags}))
}
