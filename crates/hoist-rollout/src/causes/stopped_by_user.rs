//! Somebody stopped the tasks.

use super::{Cause, Finding};
use crate::diagnosis::Facts;

pub(super) const CAUSE: Cause = Cause {
    id: "stopped-by-user",
    sentence: "somebody stopped the tasks",
    finds,
};

fn finds(facts: &Facts<'_>) -> Option<Finding> {
    facts
        .stop_code("UserInitiated")
        .map(|_| ())
        .or_else(|| facts.said(&["Task stopped by user"]).map(|_| ()))?;
    Finding::new(
        "somebody stopped the tasks of the new revision by hand",
        "ask who (CloudTrail: StopTask); deploy again",
    )
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::case::Case;

    #[test]
    fn a_stop_code() {
        assert_eq!(
            Case::new()
                .stopped("UserInitiated", "Task stopped by user", Some(143), "")
                .diagnose()
                .id,
            "stopped-by-user"
        );
    }
}
