//! The passwords that `GetAuthorizationToken` gives out: good for 12 hours, for the repositories of one region.
//!
//! A password says what it is good for and bears a signature, so none has to be kept.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::catalogue::Registry;
use crate::clock::Millis;

/// How long a token is good (<https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html>).
pub const VALIDITY: Millis = 12 * 60 * 60 * 1000;

/// The user name of every token.
pub const USER: &str = "AWS";

/// What credentials turn out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedIn {
    /// Good for the repositories of this region.
    To(String),
    /// Good once.
    Expired,
    /// Never good, or none.
    No,
}

impl Registry {
    /// A password for the repositories of `region`, until `expires`.
    pub fn password(&self, region: &str, expires: Millis) -> String {
        let claim = format!("{region}.{expires}");
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&claim).finalize().into_bytes());
        URL_SAFE_NO_PAD.encode(format!("{claim}.{signature}"))
    }

    /// Whom an `Authorization` header stands for.
    pub fn signed_in(&self, authorization: Option<&str>, now: Millis) -> SignedIn {
        let password = || {
            let (scheme, encoded) = authorization?.split_once(' ')?;
            let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
            let (user, password) = decoded.split_once(':')?;
            (scheme.eq_ignore_ascii_case("basic") && user == USER).then(|| password.to_owned())
        };
        password().map_or(SignedIn::No, |password| self.holds(&password, now))
    }

    /// What a password is good for.
    pub fn holds(&self, password: &str, now: Millis) -> SignedIn {
        let claim = || {
            let token = String::from_utf8(URL_SAFE_NO_PAD.decode(password).ok()?).ok()?;
            let (claim, signature) = token.rsplit_once('.')?;
            self.mac(claim)
                .verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?)
                .ok()?;
            let (region, expires) = claim.rsplit_once('.')?;
            Some((region.to_owned(), expires.parse::<Millis>().ok()?))
        };
        match claim() {
            Some((region, expires)) if now < expires => SignedIn::To(region),
            Some(_) => SignedIn::Expired,
            None => SignedIn::No,
        }
    }

    fn mac(&self, claim: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.inner().secret.as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(claim.as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::registry;

    #[test]
    fn a_password_is_good_for_its_region_until_it_expires_and_cannot_be_made_up() {
        let (_folder, registry) = registry();
        let header = |user: &str, password: &str| {
            format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
        };
        let password = registry.password("eu-central-1", 1000);
        let look = |header: &str, now| registry.signed_in(Some(header), now);
        assert_eq!(
            look(&header("AWS", &password), 999),
            SignedIn::To("eu-central-1".to_owned())
        );
        assert_eq!(look(&header("AWS", &password), 1000), SignedIn::Expired);
        assert_eq!(look(&header("aws", &password), 0), SignedIn::No);
        let forged = URL_SAFE_NO_PAD.encode(
            String::from_utf8(URL_SAFE_NO_PAD.decode(&password).unwrap())
                .unwrap()
                .replace("eu-central-1.1000", "eu-central-1.9000"),
        );
        assert_eq!(look(&header("AWS", &forged), 0), SignedIn::No);
        for wrong in ["", "Basic", "Basic ?", "Bearer x"] {
            assert_eq!(look(wrong, 0), SignedIn::No, "{wrong}");
        }
        assert_eq!(registry.signed_in(None, 0), SignedIn::No);
    }
}
