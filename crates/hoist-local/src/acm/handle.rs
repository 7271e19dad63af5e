use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::issue::{self, issue};
use super::kept::{Certificate, certified};
use crate::api::{ApiError, Call};
use crate::clock;
use crate::ctx::Ctx;
use crate::ids;

/// Answers one call of the Certificate Manager API.
///
/// # Errors
/// As the service answers them.
pub fn handle(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    match call.action.as_str() {
        "RequestCertificate" => request(ctx, call),
        "ImportCertificate" => import(ctx, call),
        "DescribeCertificate" => Ok(json!({"Certificate": shown(ctx, &named(ctx, call)?)?})),
        "GetCertificate" => {
            let found = named(ctx, call)?;
            let chain = found.chain.unwrap_or_else(|| found.body.clone());
            Ok(json!({"Certificate": found.body, "CertificateChain": chain}))
        }
        "ListCertificates" => list(ctx, call),
        "DeleteCertificate" => delete(ctx, call),
        "AddTagsToCertificate" => tag(ctx, call),
        "RemoveTagsFromCertificate" => untag(ctx, call),
        "ListTagsForCertificate" => Ok(json!({"Tags": named(ctx, call)?.tags})),
        _ => Err(ApiError::unknown_operation(call.service, &call.action)),
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}

fn named(ctx: &Ctx, call: &Call) -> Result<Certificate, ApiError> {
    let arn = call.str("CertificateArn").unwrap_or_default();
    let found = ctx.certificates.table.get(&call.region, arn)?;
    found.ok_or_else(|| {
        let text = format!("Could not find certificate {arn}.");
        ApiError::new("ResourceNotFoundException", text)
    })
}

fn keep(ctx: &Ctx, call: &Call, it: &Certificate) -> Result<Value, ApiError> {
    ctx.certificates.table.put(&call.region, &it.arn, it)?;
    ctx.balancers.refresh(&call.region)?;
    Ok(json!({"CertificateArn": it.arn}))
}

fn new_arn(ctx: &Ctx, call: &Call) -> String {
    ctx.arn("acm", &call.region, &format!("certificate/{}", ids::uuid()))
}

fn request(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let main = call.str("DomainName").unwrap_or_default().to_lowercase();
    let mut names = vec![main];
    for other in call.strings("SubjectAlternativeNames") {
        let other = other.to_lowercase();
        if !names.contains(&other) {
            names.push(other);
        }
    }
    let token = call.str("IdempotencyToken").map(str::to_owned);
    let now = clock::now();
    if token.is_some() {
        // The same request within an hour is the same certificate.
        let all = ctx.certificates.table.list(&call.region)?;
        let same = all
            .into_iter()
            .map(|(_, it)| it)
            .find(|it| it.token == token && it.names == names && now - it.created < 3_600_000);
        if let Some(same) = same {
            return Ok(json!({"CertificateArn": same.arn}));
        }
    }
    let issued = issue(&names, now)?;
    let arn = new_arn(ctx, call);
    let certificate = Certificate {
        names,
        key: ctx.certificates.vault.seal(&arn, &issued.key)?,
        body: issued.certificate,
        chain: None,
        serial: Some(issued.serial),
        imported: false,
        validation: call.str("ValidationMethod").unwrap_or("DNS").to_owned(),
        tags: call.list("Tags").to_vec(),
        token,
        created: now,
        ends: now + issue::LIFETIME,
        arn,
    };
    keep(ctx, call, &certificate)
}

/// A blob as text.
fn blob(call: &Call, name: &str) -> Result<Option<String>, ApiError> {
    let Some(text) = call.str(name) else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(text).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Some)
        .ok_or_else(|| invalid(format!("The {name} field is not PEM-encoded.")))
}

fn import(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let old = match call.str("CertificateArn") {
        Some(_) => Some(named(ctx, call)?),
        None => None,
    };
    if old.as_ref().is_some_and(|it| !it.imported) {
        return Err(invalid(
            "You cannot reimport a certificate that was issued by Certificate Manager.",
        ));
    }
    let body = blob(call, "Certificate")?.unwrap_or_default();
    let key = blob(call, "PrivateKey")?.unwrap_or_default();
    let chain = blob(call, "CertificateChain")?;
    let unread = |_| {
        invalid("The certificate field contains more than one certificate or is not PEM-encoded.")
    };
    let der = CertificateDer::from_pem_slice(body.as_bytes()).map_err(unread)?;
    let (names, ends) =
        issue::read(&der).ok_or_else(|| invalid("The certificate cannot be read."))?;
    certified(&body, chain.as_deref(), &key).map_err(|why| {
        invalid(format!(
            "The private key does not go with the certificate: {why}"
        ))
    })?;
    let arn = old
        .as_ref()
        .map_or_else(|| new_arn(ctx, call), |it| it.arn.clone());
    let certificate = Certificate {
        names,
        key: ctx.certificates.vault.seal(&arn, &key)?,
        body,
        chain,
        serial: None,
        imported: true,
        validation: "NONE".to_owned(),
        tags: old.map_or_else(|| call.list("Tags").to_vec(), |it| it.tags),
        token: None,
        created: clock::now(),
        ends,
        arn,
    };
    keep(ctx, call, &certificate)
}

/// The listeners that show it.
fn users(ctx: &Ctx, arn: &str) -> Result<Vec<String>, ApiError> {
    let region = arn.split(':').nth(3).unwrap_or_default();
    Ok(ctx.balancers.showing(region, arn)?)
}

fn shown(ctx: &Ctx, it: &Certificate) -> Result<Value, ApiError> {
    let at = clock::epoch_seconds(it.created);
    let main = it.names.first().cloned().unwrap_or_default();
    let mut shown = json!({
        "CertificateArn": it.arn, "DomainName": main, "SubjectAlternativeNames": it.names,
        "Subject": format!("CN={main}"), "CreatedAt": at, "Status": "ISSUED",
        "NotBefore": at, "NotAfter": clock::epoch_seconds(it.ends),
        "KeyAlgorithm": "EC_prime256v1", "SignatureAlgorithm": "SHA256WITHECDSA",
        "InUseBy": users(ctx, &it.arn)?, "KeyUsages": [], "ExtendedKeyUsages": [],
        "Type": if it.imported { "IMPORTED" } else { "AMAZON_ISSUED" },
        "RenewalEligibility": "INELIGIBLE",
        "Options": {"CertificateTransparencyLoggingPreference": if it.imported { "DISABLED" } else { "ENABLED" }},
    });
    if it.imported {
        shown["ImportedAt"] = at;
        for unknown in ["KeyAlgorithm", "SignatureAlgorithm"] {
            if let Some(members) = shown.as_object_mut() {
                members.remove(unknown);
            }
        }
    } else {
        shown["IssuedAt"] = at;
        shown["Issuer"] = json!("hoist local");
        shown["Serial"] = json!(it.serial);
        shown["DomainValidationOptions"] = it
            .names
            .iter()
            .map(|name| {
                json!({"DomainName": name, "ValidationDomain": name, "ValidationStatus": "SUCCESS", "ValidationMethod": it.validation})
            })
            .collect();
    }
    Ok(shown)
}

fn list(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let statuses = call.strings("CertificateStatuses");
    let mut found = Vec::new();
    if statuses.is_empty() || statuses.contains(&"ISSUED") {
        for (_, it) in ctx.certificates.table.list(&call.region)? {
            let whole = shown(ctx, &it)?;
            let mut summary = json!({
                "SubjectAlternativeNameSummaries": it.names, "HasAdditionalSubjectAlternativeNames": false,
                "InUse": whole["InUseBy"].as_array().is_some_and(|it| !it.is_empty()),
            });
            for name in [
                "CertificateArn",
                "DomainName",
                "Status",
                "Type",
                "KeyAlgorithm",
                "KeyUsages",
                "ExtendedKeyUsages",
                "RenewalEligibility",
                "NotBefore",
                "NotAfter",
                "CreatedAt",
                "IssuedAt",
                "ImportedAt",
            ] {
                if !whole[name].is_null() {
                    summary[name] = whole[name].clone();
                }
            }
            found.push(summary);
        }
    }
    Ok(json!({"CertificateSummaryList": found}))
}

fn delete(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let found = named(ctx, call)?;
    if !users(ctx, &found.arn)?.is_empty() {
        let text = format!(
            "Certificate {} in account {} is in use.",
            found.arn,
            crate::ACCOUNT
        );
        return Err(ApiError::new("ResourceInUseException", text));
    }
    ctx.certificates.table.delete(&call.region, &found.arn)?;
    Ok(Value::Null)
}

fn tag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut found = named(ctx, call)?;
    for tag in call.list("Tags") {
        found.tags.retain(|old| old["Key"] != tag["Key"]);
        found.tags.push(tag.clone());
    }
    keep(ctx, call, &found)?;
    Ok(Value::Null)
}

fn untag(ctx: &Ctx, call: &Call) -> Result<Value, ApiError> {
    let mut found = named(ctx, call)?;
    for tag in call.list("Tags") {
        found.tags.retain(|old| {
            old["Key"] != tag["Key"] || (!tag["Value"].is_null() && old["Value"] != tag["Value"])
        });
    }
    keep(ctx, call, &found)?;
    Ok(Value::Null)
}
