//! Credentials.

use super::{Check, Look, Outcome, Scene, error};
use crate::parallel::Boxed;

/// The check.
pub const CHECK: Check = Check {
    id: "credentials",
    sentence: "There are credentials, and AWS takes them",
    real_only: false,
    look: Look::All(look),
};

fn look<'a>(scene: &'a Scene<'a>) -> Boxed<'a, Outcome> {
    Box::pin(async {
        Ok(match scene.aws.account().await {
            Ok(_) => Vec::new(),
            Err(failed) => vec![error(
                format!("AWS does not know who calls: {failed}"),
                failed.hint().unwrap_or_else(|| {
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a --profile, or sign in".to_owned()
                }),
            )],
        })
    })
}
