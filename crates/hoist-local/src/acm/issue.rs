//! A certificate that signs itself (RFC 5280), with a key on the curve P-256.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::der::{bits, integer, object, parts, sequence, set, tagged};
use crate::api::ApiError;
use crate::clock::Millis;

const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// How long it is good for: 395 days, as those of the real service were until 2025.
pub const LIFETIME: Millis = 395 * 24 * 3_600_000;

/// A certificate and its key, as PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
    /// In lower-case hexadecimal digits, with colons between.
    pub serial: String,
}

/// Issues a certificate for `names`, the first of which becomes its common name.
///
/// # Errors
/// When there are no random bytes.
pub fn issue(names: &[String], now: Millis) -> Result<Issued, ApiError> {
    let broken = |_| ApiError::internal("failed to make a certificate");
    let random = SystemRandom::new();
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(broken)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random)
        .map_err(|error| ApiError::internal(format!("failed to read a key: {error}")))?;
    let mut serial = [0; 16];
    random.fill(&mut serial).map_err(broken)?;
    // Positive, and never shorter.
    serial[0] = serial[0] & 0x7f | 0x40;
    let algorithm = sequence(&[object(ECDSA_WITH_SHA256)]);
    let first = names.first().map(String::as_str).unwrap_or_default();
    let common: String = first.chars().take(64).collect();
    let name = sequence(&[set(&sequence(&[
        object(COMMON_NAME),
        tagged(0x0c, common.as_bytes()),
    ]))]);
    let validity = sequence(&[time(now), time(now + LIFETIME)]);
    let public = sequence(&[
        sequence(&[object(EC_PUBLIC_KEY), object(P256)]),
        bits(key.public_key().as_ref()),
    ]);
    let alternatives: Vec<Vec<u8>> = names
        .iter()
        .map(|name| match name.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => tagged(0x87, &ip.octets()),
            Ok(IpAddr::V6(ip)) => tagged(0x87, &ip.octets()),
            Err(_) => tagged(0x82, name.as_bytes()),
        })
        .collect();
    let extensions = tagged(
        0xa3,
        &sequence(&[sequence(&[
            object(ALTERNATIVE_NAMES),
            tagged(4, &sequence(&alternatives)),
        ])]),
    );
    let body = sequence(&[
        tagged(0xa0, &integer(&[2])),
        integer(&serial),
        algorithm.clone(),
        name.clone(),
        validity,
        name,
        public,
        extensions,
    ]);
    let signature = key.sign(&random, &body).map_err(broken)?;
    let whole = sequence(&[body, algorithm, bits(signature.as_ref())]);
    let digits: Vec<String> = serial.iter().map(|it| format!("{it:02x}")).collect();
    Ok(Issued {
        certificate: pem("CERTIFICATE", &whole),
        key: pem("PRIVATE KEY", document.as_ref()),
        serial: digits.join(":"),
    })
}

/// A time before 2050 as `UTCTime`, a later one as `GeneralizedTime`.
fn time(at: Millis) -> Vec<u8> {
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    if at.strftime("%Y").to_string().as_str() < "2050" {
        tagged(0x17, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        tagged(0x18, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

fn pem(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap_or_default())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// The names that a certificate is for, and until when it is good.
pub fn read(certificate: &[u8]) -> Option<(Vec<String>, Millis)> {
    let outer = parts(certificate)?;
    let body = parts(parts(outer.first()?.1)?.first()?.1)?;
    // Without a version it is of the first, which has no alternative names.
    let from = usize::from(body.first()?.0 == 0xa0);
    let ends = parts(body.get(from + 3)?.1)?;
    let (kind, text) = *ends.get(1)?;
    let text = std::str::from_utf8(text).ok()?;
    let century = if kind == 0x18 {
        ""
    } else if text < "50" {
        "20"
    } else {
        "19"
    };
    let ends = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", format!("{century}{text}")).ok()?;
    let ends = ends.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    let mut names = Vec::new();
    for (_, extensions) in body.iter().filter(|(tag, _)| *tag == 0xa3) {
        for (_, extension) in parts(parts(extensions)?.first()?.1)? {
            let extension = parts(extension)?;
            if extension.first()?.1 == ALTERNATIVE_NAMES {
                let value = parts(extension.last()?.1)?.first()?.1;
                for (tag, name) in parts(value)? {
                    if tag == 0x82 {
                        names.push(String::from_utf8_lossy(name).into_owned());
                    }
                }
            }
        }
    }
    if names.is_empty() {
        for (_, set) in parts(body.get(from + 4)?.1)? {
            let pair = parts(parts(set)?.first()?.1)?;
            if pair.first()?.1 == COMMON_NAME {
                names.push(String::from_utf8_lossy(pair.get(1)?.1).into_owned());
            }
        }
    }
    Some((names, ends.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    #[test]
    fn a_certificate_says_whose_it_is() {
        let names = ["shop.example".to_owned(), "*.shop.example".to_owned()];
        let now = 1_700_000_000_000;
        let issued = issue(&names, now).unwrap();
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let (found, ends) = read(&der).unwrap();
        assert_eq!((found.as_slice(), ends), (&names[..], now + LIFETIME));
    }

    #[test]
    fn what_is_no_certificate_is_not_read() {
        assert!(read(b"").is_none());
        assert!(read(&[0x30, 3, 2, 1, 5]).is_none());
    }
}
