//! Secrets and parameters.

use hoist_aws::{Service, read};
use hoist_ecs::{Referent, references};
use serde_json::json;

use super::{Check, Look, Outcome, Scene, Subject, error};
use crate::parallel::Boxed;

/// Names that one GetParameters call takes.
const A_CALL: usize = 10;

/// The check.
pub const CHECK: Check = Check {
    id: "secrets",
    sentence: "Secrets and parameters exist",
    real_only: false,
    look: Look::Each(look),
};

fn look<'a>(scene: &'a Scene<'a>, subject: &'a Subject) -> Boxed<'a, Outcome> {
    Box::pin(async {
        let mut found = Vec::new();
        let mut parameters: Vec<String> = Vec::new();
        for reference in references(&subject.definition) {
            if reference.referent != Referent::Secret {
                continue;
            }
            let value = &reference.value;
            // arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-RANDOM:KEY:STAGE:VERSION
            if value.contains(":secretsmanager:") {
                let arn: Vec<&str> = value.splitn(8, ':').take(7).collect();
                let request = json!({ "SecretId": arn.join(":") });
                match scene
                    .aws
                    .json(Service::SecretsManager, "DescribeSecret", request)
                    .await
                {
                    Ok(secret) if secret["DeletedDate"].is_null() => {}
                    Ok(_) => found.push(error(
                        format!("the secret {} is being deleted", arn[6]),
                        "restore it, or name another one",
                    )),
                    Err(failed) if failed.code() == Some("ResourceNotFoundException") => {
                        found.push(error(
                            format!("the secret {} does not exist", arn[6]),
                            "create it, or correct `valueFrom`: the ARN ends with six random letters",
                        ));
                    }
                    Err(failed) => return Err(failed),
                }
                continue;
            }
            let name = match value.split_once(":parameter") {
                Some((_, name)) => name.to_owned(),
                None => value.clone(),
            };
            if !parameters.contains(&name) {
                parameters.push(name);
            }
        }
        for some in parameters.chunks(A_CALL) {
            // Without decryption: only that they are there matters, and their values are nobody's business here.
            let request = json!({ "Names": some, "WithDecryption": false });
            let answer = scene
                .aws
                .json(Service::Ssm, "GetParameters", request)
                .await?;
            for name in read::list(&answer, "InvalidParameters").filter_map(|name| name.as_str()) {
                found.push(error(
                    format!(
                        "the parameter {name} does not exist in {}",
                        scene.aws.region()
                    ),
                    "create it, or correct `valueFrom`: a name begins with `/` if it has levels",
                ));
            }
        }
        Ok(found)
    })
}
