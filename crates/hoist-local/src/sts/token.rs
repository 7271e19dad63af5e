use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::api::ApiError;

/// What a web identity token says, and who is said to have signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub issuer: String,
    pub subject: String,
    pub audiences: Vec<String>,
    /// Seconds since 1970.
    pub expires: i64,
    /// All that it claims.
    pub claims: Value,
    /// How it is signed, such as `RS256`.
    pub algorithm: String,
    /// The `kid` of the key that signed it.
    pub key: Option<String>,
    /// What was signed: the first two parts as they came.
    pub signed: String,
    pub signature: Vec<u8>,
}

fn invalid(message: &str) -> ApiError {
    ApiError::new("InvalidIdentityToken", message)
}

impl Token {
    /// Reads a JWT.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let not_a_jwt = || {
            invalid(
                "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
            )
        };
        let (signed, signature) = text.rsplit_once('.').ok_or_else(not_a_jwt)?;
        let (header, payload) = signed.split_once('.').ok_or_else(not_a_jwt)?;
        let decode = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part.trim_end_matches('='))
                .map_err(|_| not_a_jwt())
        };
        let read =
            |part: &str| serde_json::from_slice::<Value>(&decode(part)?).map_err(|_| not_a_jwt());
        let header: Value = read(header)?;
        let named = |name: &str| header.get(name).and_then(Value::as_str).map(str::to_owned);
        let algorithm = named("alg")
            .filter(|alg| !alg.eq_ignore_ascii_case("none") && !signature.is_empty())
            .ok_or_else(not_a_jwt)?;
        let signature = decode(signature)?;
        let claims = read(payload)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let missing = |name: &str| invalid(&format!("Missing a required claim: {name}"));
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => return Err(missing("aud")),
        };
        Ok(Self {
            issuer: text("iss").ok_or_else(|| missing("iss"))?,
            subject: text("sub").ok_or_else(|| missing("sub"))?,
            audiences,
            expires: claims
                .get("exp")
                .and_then(Value::as_i64)
                .ok_or_else(|| missing("exp"))?,
            algorithm,
            key: named("kid"),
            signed: signed.to_owned(),
            signature,
            claims,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(header: &str, claims: &str) -> String {
        format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        )
    }

    #[test]
    fn a_token_is_three_parts_with_the_claims_that_sts_needs() {
        let good = jwt(
            r#"{"alg":"RS256"}"#,
            r#"{"iss":"https://i","sub":"s","aud":["a","b"],"exp":5}"#,
        );
        let token = Token::parse(&good).unwrap();
        assert_eq!(
            (token.issuer.as_str(), token.audiences.len(), token.expires),
            ("https://i", 2, 5)
        );
        for bad in [
            "x.y.z".to_owned(),
            good.rsplit_once('.').unwrap().0.to_owned(),
            jwt(
                r#"{"alg":"none"}"#,
                r#"{"iss":"https://i","sub":"s","aud":"a","exp":5}"#,
            ),
            jwt(
                r#"{"alg":"RS256"}"#,
                r#"{"iss":"https://i","aud":"a","exp":5}"#,
            ),
        ] {
            assert_eq!(
                Token::parse(&bad).unwrap_err().code,
                "InvalidIdentityToken",
                "{bad}"
            );
        }
    }
}
