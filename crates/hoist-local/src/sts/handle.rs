use serde_json::{Value, json};

use super::issuer;
use super::token::Token;
use crate::api::{ApiError, Call, Service};
use crate::clock;
use crate::ctx::ACCOUNT;
use crate::iam::{Caller, Iam, Role};
use crate::keys::{Key, Keys};

/// Whether an operation needs no signature: its token says who calls.
pub fn is_anonymous(service: Service, action: &str) -> bool {
    service == Service::Sts && action == "AssumeRoleWithWebIdentity"
}

/// Answers one call of the STS API.
///
/// # Errors
/// As the service answers them.
pub async fn handle(keys: &Keys, iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    match call.action.as_str() {
        "GetCallerIdentity" => {
            Ok(json!({"UserId": call.key.user_id, "Account": ACCOUNT, "Arn": call.key.arn}))
        }
        "GetSessionToken" => get_session_token(keys, call),
        "AssumeRole" => assume_role(keys, iam, call),
        "AssumeRoleWithWebIdentity" => assume_role_with_web_identity(keys, iam, call).await,
        "GetAccessKeyInfo" => Ok(json!({"Account": ACCOUNT})),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}

fn constraint(value: &str, member: &str, constraint: &str) -> ApiError {
    let text = format!(
        "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: {constraint}"
    );
    ApiError::new("ValidationError", text)
}

fn required<'a>(call: &'a Call, name: &str) -> Result<&'a str, ApiError> {
    call.str(name).ok_or_else(|| {
        constraint(
            "null",
            &(name[..1].to_lowercase() + &name[1..]),
            "Member must not be null",
        )
    })
}

/// Seconds within `900..=most`.
fn duration(call: &Call, default: i64, most: i64) -> Result<i64, ApiError> {
    match call.integer("DurationSeconds").unwrap_or(default) {
        seconds if seconds < 900 => Err(constraint(
            &format!("'{seconds}'"),
            "durationSeconds",
            "Member must have value greater than or equal to 900",
        )),
        seconds if seconds > most => {
            let text = format!("Member must have value less than or equal to {most}");
            Err(constraint(
                &format!("'{seconds}'"),
                "durationSeconds",
                &text,
            ))
        }
        seconds => Ok(seconds),
    }
}

fn credentials(key: &Key) -> Value {
    json!({
        "AccessKeyId": key.id,
        "SecretAccessKey": key.secret,
        "SessionToken": key.session_token,
        "Expiration": key.expires.map(|at| clock::iso8601(at - at % 1000).replace(".000Z", "Z")),
    })
}

fn get_session_token(keys: &Keys, call: &Call) -> Result<Value, ApiError> {
    if call.key.session_token.is_some() {
        return Err(ApiError::new(
            "AccessDenied",
            "Cannot call GetSessionToken with session credentials",
        )
        .with_status(403));
    }
    let seconds = duration(call, 43_200, 129_600)?;
    let key = keys.issue_session(
        &call.key.arn,
        &call.key.user_id,
        clock::now() + seconds * 1000,
    )?;
    Ok(json!({"Credentials": credentials(&key)}))
}

/// Issues the keys of a role session.
fn session(keys: &Keys, role: &Role, call: &Call) -> Result<(Value, Value), ApiError> {
    let name = required(call, "RoleSessionName")?;
    let good = (2..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if !good {
        let text = r"Member must satisfy regular expression pattern: [\w+=,.@-]*";
        return Err(constraint(&format!("'{name}'"), "roleSessionName", text));
    }
    let seconds = duration(call, 3600, 43_200)?;
    if seconds > role.max_session {
        return Err(ApiError::new(
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/{name}", role.name);
    let id = format!("{}:{name}", role.id);
    let key = keys.issue_session(&arn, &id, clock::now() + seconds * 1000)?;
    Ok((credentials(&key), json!({"AssumedRoleId": id, "Arn": arn})))
}

fn assume_role(keys: &Keys, iam: &Iam, call: &Call) -> Result<Value, ApiError> {
    let arn = required(call, "RoleArn")?;
    if arn.len() < 20 || !arn.starts_with("arn:") {
        return Err(ApiError::new(
            "ValidationError",
            format!("{arn} is invalid"),
        ));
    }
    let caller = Caller::Principal(&call.key.arn);
    // A role that does not exist is answered like one that is forbidden.
    let role = iam
        .role_by_arn(arn)?
        .filter(|role| role.trusts(&caller))
        .ok_or_else(|| {
            let text = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
                call.key.arn
            );
            ApiError::new("AccessDenied", text).with_status(403)
        })?;
    let (credentials, user) = session(keys, &role, call)?;
    Ok(
        json!({"Credentials": credentials, "AssumedRoleUser": user, "PackedPolicySize": call.str("Policy").map(|_| 1)}),
    )
}

async fn assume_role_with_web_identity(
    keys: &Keys,
    iam: &Iam,
    call: &Call,
) -> Result<Value, ApiError> {
    let arn = required(call, "RoleArn")?;
    let token = Token::parse(required(call, "WebIdentityToken")?)?;
    let known = iam.audiences(&token.issuer)?.ok_or_else(|| {
        let text = format!(
            "No OpenIDConnect provider found in your account for {}",
            token.issuer
        );
        ApiError::new("InvalidIdentityToken", text)
    })?;
    issuer::verify(&token).await?;
    let now = clock::now() / 1000;
    if token.expires <= now {
        let text = format!(
            "Token expired: current date/time {now} must be before the expiration date/time {}",
            token.expires
        );
        return Err(ApiError::new("ExpiredTokenException", text));
    }
    let audience = token
        .audiences
        .iter()
        .find(|audience| known.contains(audience));
    let audience = audience
        .ok_or_else(|| ApiError::new("InvalidIdentityToken", "Incorrect token audience"))?;
    let caller = Caller::Token {
        issuer: &token.issuer,
        audience,
        claims: &token.claims,
    };
    let role = iam
        .role_by_arn(arn)?
        .filter(|role| role.trusts(&caller))
        .ok_or_else(|| {
            ApiError::new(
                "AccessDenied",
                "Not authorized to perform sts:AssumeRoleWithWebIdentity",
            )
            .with_status(403)
        })?;
    let (credentials, user) = session(keys, &role, call)?;
    Ok(json!({
        "Credentials": credentials,
        "SubjectFromWebIdentityToken": token.subject,
        "AssumedRoleUser": user,
        "Provider": crate::iam::provider_arn(&token.issuer),
        "Audience": audience,
    }))
}
