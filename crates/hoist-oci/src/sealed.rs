//! Private keys under a password, in cosign's form: a key from the password by scrypt, and with it NaCl's secret box, in a JSON document.
//!
//! The form is that of go-securesystemslib (<https://github.com/secure-systems-lab/go-securesystemslib/tree/main/encrypted>), the box that of
//! <https://nacl.cr.yp.to/secretbox.html>: XSalsa20, whose first 32 bytes are the key of Poly1305.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde_json::Value;

/// What goes before the text in a box.
const TAG: usize = 16;
/// The largest memory that scrypt may take for a key, in bytes; cosign's own parameters take 32 or 64 MiB.
const MEMORY: u64 = 1 << 29;

/// Opens a sealed key.
///
/// # Errors
/// Says in a few words why it cannot be opened.
pub(crate) fn open(document: &[u8], password: &[u8]) -> Result<Vec<u8>, &'static str> {
    let read: Value =
        serde_json::from_slice(document).map_err(|_| "what is encrypted in it is no JSON")?;
    let text = |place: &str| read.pointer(place).and_then(Value::as_str);
    let bytes = |place: &str| text(place).and_then(|text| STANDARD.decode(text).ok());
    let number = |place: &str| read.pointer(place).and_then(Value::as_u64);
    if text("/kdf/name") != Some("scrypt") || text("/cipher/name") != Some("nacl/secretbox") {
        return Err("it is encrypted otherwise than by scrypt and nacl/secretbox");
    }
    let incomplete = "what is encrypted in it is incomplete";
    let (Some(n), Some(r), Some(p)) = (
        number("/kdf/params/N"),
        number("/kdf/params/r"),
        number("/kdf/params/p"),
    ) else {
        return Err(incomplete);
    };
    let (Some(salt), Some(nonce), Some(sealed)) = (
        bytes("/kdf/salt"),
        bytes("/cipher/nonce"),
        bytes("/ciphertext"),
    ) else {
        return Err(incomplete);
    };
    let nonce: [u8; 24] = nonce.try_into().map_err(|_| incomplete)?;
    if sealed.len() <= TAG {
        return Err(incomplete);
    }
    let affordable = n.saturating_mul(r).saturating_mul(128) <= MEMORY && p <= 16;
    let parameters = match (u32::try_from(r), u32::try_from(p)) {
        (Ok(r), Ok(p)) if affordable && n.is_power_of_two() && n > 1 => {
            scrypt::Params::new(n.trailing_zeros() as u8, r, p).ok()
        }
        _ => None,
    };
    let parameters = parameters.ok_or("its parameters of scrypt are none that a key needs")?;
    let mut key = [0; 32];
    scrypt::scrypt(password, &salt, &parameters, &mut key)
        .map_err(|_| "its parameters of scrypt are none that a key needs")?;

    let mut stream = XSalsa20::new(&key.into(), &nonce.into());
    let mut once = [0; 32];
    stream.apply_keystream(&mut once);
    let (tag, text) = sealed.split_at(TAG);
    if Poly1305::new(&once.into())
        .compute_unpadded(text)
        .as_slice()
        != tag
    {
        return Err("the password does not open it");
    }
    let mut text = text.to_vec();
    stream.apply_keystream(&mut text);
    Ok(text)
}
