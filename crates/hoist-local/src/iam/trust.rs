//! Who may assume a role, by its trust policy. Conditions on audience and subject of a token are looked at; others are not.

use serde_json::Value;

use super::role::Role;
use crate::ctx::ACCOUNT;
use crate::elb::wild;

/// Who asks for a role.
#[derive(Debug, Clone)]
pub enum Caller<'a> {
    /// A principal of the account, by its ARN.
    Principal(&'a str),
    /// The bearer of a token.
    Token {
        issuer: &'a str,
        audience: &'a str,
        subject: &'a str,
    },
}

impl Role {
    /// Whether the trust policy lets `caller` assume the role.
    pub fn trusts(&self, caller: &Caller<'_>) -> bool {
        let Ok(document) = serde_json::from_str::<Value>(&self.trust) else {
            return false;
        };
        let statements = list(document.get("Statement"));
        let (mut allowed, mut denied) = (false, false);
        for statement in statements {
            if !applies(statement, caller) {
                continue;
            }
            match statement.get("Effect").and_then(Value::as_str) {
                Some("Allow") => allowed = true,
                Some("Deny") => denied = true,
                _ => {}
            }
        }
        allowed && !denied
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(items)) => items,
        Some(one) => std::slice::from_ref(one),
        None => &[],
    }
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    list(value).iter().filter_map(Value::as_str)
}

fn applies(statement: &Value, caller: &Caller<'_>) -> bool {
    let action = match caller {
        Caller::Principal(_) => "sts:AssumeRole",
        Caller::Token { .. } => "sts:AssumeRoleWithWebIdentity",
    };
    if !strings(statement.get("Action"))
        .any(|pattern| wild(&pattern.to_lowercase(), &action.to_lowercase()))
    {
        return false;
    }
    let principal = statement.get("Principal");
    match caller {
        Caller::Principal(arn) => {
            let everybody = principal.and_then(Value::as_str) == Some("*");
            let account = format!("arn:aws:iam::{ACCOUNT}:root");
            let named = |wanted: &str| {
                wanted == "*" || wanted == ACCOUNT || wanted == account || wanted == *arn
            };
            everybody || strings(principal.and_then(|p| p.get("AWS"))).any(named)
        }
        Caller::Token {
            issuer,
            audience,
            subject,
        } => {
            let host = issuer.trim_start_matches("https://").trim_end_matches('/');
            let provider = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{host}");
            strings(principal.and_then(|p| p.get("Federated"))).any(|wanted| wanted == provider)
                && conditions(statement, host, audience, subject)
        }
    }
}

fn conditions(statement: &Value, host: &str, audience: &str, subject: &str) -> bool {
    let Some(operators) = statement.get("Condition").and_then(Value::as_object) else {
        return true;
    };
    operators.iter().all(|(operator, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.into_iter().all(|(key, wanted)| {
            let actual = match key.strip_prefix(host) {
                Some(":aud") => audience,
                Some(":sub") => subject,
                _ => return true,
            };
            let mut wanted = strings(Some(wanted));
            match operator.as_str() {
                "StringEquals" | "ForAnyValue:StringEquals" => {
                    wanted.any(|wanted| wanted == actual)
                }
                "StringLike" | "ForAnyValue:StringLike" => {
                    wanted.any(|wanted| wild(wanted, actual))
                }
                "StringNotEquals" => !wanted.any(|wanted| wanted == actual),
                "StringNotLike" => !wanted.any(|wanted| wild(wanted, actual)),
                _ => true,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn role(statement: Value) -> Role {
        Role {
            name: "deploy".into(),
            path: "/".into(),
            id: "AROAX".into(),
            created: String::new(),
            trust: json!({"Version": "2012-10-17", "Statement": statement}).to_string(),
            description: None,
            max_session: 3600,
            boundary: None,
            tags: BTreeMap::new(),
            attached: Vec::new(),
            inline: BTreeMap::new(),
        }
    }

    const ROOT: Caller<'_> = Caller::Principal("arn:aws:iam::000000000000:root");

    #[test]
    fn the_account_may_assume_what_trusts_it_and_nothing_that_trusts_a_service() {
        let own = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}});
        assert!(role(own.clone()).trusts(&ROOT));
        let deny = json!({"Effect": "Deny", "Action": "sts:*", "Principal": "*"});
        assert!(!role(json!([own, deny])).trusts(&ROOT));
        let tasks = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}});
        assert!(!role(tasks).trusts(&ROOT));
    }

    #[test]
    fn a_token_needs_its_provider_audience_and_subject() {
        let trusting = role(json!([{
            "Effect": "Allow",
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": "arn:aws:iam::000000000000:oidc-provider/token.actions.githubusercontent.com"},
            "Condition": {
                "StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"},
                "StringLike": {"token.actions.githubusercontent.com:sub": ["repo:acme/shop:*", "repo:acme/other:*"]},
            },
        }]));
        let token = |issuer, audience, subject| Caller::Token {
            issuer,
            audience,
            subject,
        };
        let issuer = "https://token.actions.githubusercontent.com";
        assert!(trusting.trusts(&token(
            issuer,
            "sts.amazonaws.com",
            "repo:acme/shop:ref:refs/heads/main"
        )));
        assert!(!trusting.trusts(&token(
            issuer,
            "sts.amazonaws.com",
            "repo:evil/shop:ref:refs/heads/main"
        )));
        assert!(!trusting.trusts(&token(issuer, "other", "repo:acme/shop:x")));
        assert!(!trusting.trusts(&token(
            "https://gitlab.com",
            "sts.amazonaws.com",
            "repo:acme/shop:x"
        )));
        assert!(!trusting.trusts(&ROOT));
    }
}
