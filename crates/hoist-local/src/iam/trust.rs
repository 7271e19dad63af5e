//! Who may assume a role, by its trust policy. Conditions on what a token claims are looked at; of those on a principal of the
//! account none is.

use serde_json::Value;

use super::providers::{bare, provider_arn};
use super::role::Role;
use crate::ctx::ACCOUNT;
use crate::elb::wild;

/// Who asks for a role.
#[derive(Debug, Clone)]
pub enum Caller<'a> {
    /// A principal of the account, by its ARN.
    Principal(&'a str),
    /// A service of AWS, such as `scheduler.amazonaws.com`.
    Service(&'a str),
    /// The bearer of a token.
    Token {
        issuer: &'a str,
        audience: &'a str,
        claims: &'a Value,
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
        Caller::Principal(_) | Caller::Service(_) => "sts:AssumeRole",
        Caller::Token { .. } => "sts:AssumeRoleWithWebIdentity",
    };
    if !strings(statement.get("Action"))
        .any(|pattern| wild(&pattern.to_lowercase(), &action.to_lowercase()))
    {
        return false;
    }
    let principal = statement.get("Principal");
    match caller {
        Caller::Service(name) => {
            strings(principal.and_then(|p| p.get("Service"))).any(|wanted| wanted == *name)
        }
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
            claims,
        } => {
            let provider = provider_arn(issuer);
            strings(principal.and_then(|p| p.get("Federated"))).any(|wanted| wanted == provider)
                && conditions(statement, bare(issuer), audience, claims)
        }
    }
}

/// Whether every condition holds of the token: `HOST:aud` is the audience that the provider knows, `HOST:NAME` a claim.
///
/// A key that the token does not have fails a positive comparison and passes a negative one, and an operator that is not about
/// strings never holds (IAM user guide, "IAM JSON policy elements: Condition operators").
fn conditions(statement: &Value, host: &str, audience: &str, claims: &Value) -> bool {
    let Some(operators) = statement.get("Condition").and_then(Value::as_object) else {
        return true;
    };
    operators.iter().all(|(operator, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.into_iter().all(|(key, wanted)| {
            let name = key
                .strip_prefix(host)
                .and_then(|rest| rest.strip_prefix(':'));
            let actual: Vec<&str> = match name {
                Some("aud") => vec![audience],
                Some(name) => strings(claims.get(name)).collect(),
                None => Vec::new(),
            };
            holds(operator, &actual, wanted)
        })
    })
}

fn holds(operator: &str, actual: &[&str], wanted: &Value) -> bool {
    let operator = operator.strip_prefix("ForAnyValue:").unwrap_or(operator);
    let (operator, optional) = match operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    if optional && actual.is_empty() {
        return true;
    }
    let any = |same: fn(&str, &str) -> bool| {
        actual
            .iter()
            .any(|actual| strings(Some(wanted)).any(|wanted| same(wanted, actual)))
    };
    match operator {
        "StringEquals" => any(|wanted, actual| wanted == actual),
        "StringEqualsIgnoreCase" => any(|wanted, actual| wanted.eq_ignore_ascii_case(actual)),
        "StringLike" => any(wild),
        "StringNotEquals" => !any(|wanted, actual| wanted == actual),
        "StringNotEqualsIgnoreCase" => !any(|wanted, actual| wanted.eq_ignore_ascii_case(actual)),
        "StringNotLike" => !any(wild),
        _ => false,
    }
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
        let trusts = |issuer, audience, subject| {
            let claims = json!({"sub": subject});
            trusting.trusts(&Caller::Token {
                issuer,
                audience,
                claims: &claims,
            })
        };
        let issuer = "https://token.actions.githubusercontent.com";
        assert!(trusts(
            issuer,
            "sts.amazonaws.com",
            "repo:acme/shop:ref:refs/heads/main"
        ));
        assert!(!trusts(
            issuer,
            "sts.amazonaws.com",
            "repo:evil/shop:ref:refs/heads/main"
        ));
        assert!(!trusts(issuer, "other", "repo:acme/shop:x"));
        assert!(!trusts(
            "https://gitlab.com",
            "sts.amazonaws.com",
            "repo:acme/shop:x"
        ));
        assert!(!trusting.trusts(&ROOT));
    }

    #[test]
    fn a_condition_on_what_a_token_does_not_claim_is_not_met() {
        let branch = json!("refs/heads/main");
        assert!(holds("StringEquals", &["refs/heads/main"], &branch));
        assert!(!holds("StringEquals", &[], &branch));
        assert!(holds("StringEqualsIfExists", &[], &branch));
        assert!(holds("StringNotEquals", &[], &branch));
        assert!(!holds("NumericEquals", &["1"], &json!("1")));
    }
}
