//! An environment laid over the file.

use hoist_ecs::{Entry, Kind, Node};

/// Takes `environments` out of the file.
pub(crate) fn take_environments(root: &mut Node) -> Vec<Entry> {
    let Kind::Object(entries) = &mut root.kind else {
        return Vec::new();
    };
    let Some(at) = entries.iter().position(|entry| entry.key == "environments") else {
        return Vec::new();
    };
    match entries.remove(at).value.kind {
        Kind::Object(environments) => environments,
        _ => Vec::new(),
    }
}

/// Lays `over` over `base`: mappings are merged key by key, anything else takes the place of what was there, and `null` removes it.
/// Every part keeps its position in the text.
pub(crate) fn lay(base: &mut Node, over: &Node) {
    if matches!(over.kind, Kind::Null) {
        return;
    }
    let (Kind::Object(entries), Kind::Object(changes)) = (&mut base.kind, &over.kind) else {
        *base = over.clone();
        return;
    };
    for change in changes {
        let at = entries.iter().position(|entry| entry.key == change.key);
        match (at, &change.value.kind) {
            (Some(at), Kind::Null) => {
                entries.remove(at);
            }
            (None, Kind::Null) => {}
            (Some(at), _) => {
                lay(&mut entries[at].value, &change.value);
                entries[at].key_span = change.key_span;
            }
            (None, _) => entries.push(change.clone()),
        }
    }
}
