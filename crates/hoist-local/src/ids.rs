//! Identifiers in the forms that the services give them.

use std::io::Read as _;

/// `n` random lower-case hexadecimal digits (task ids have 32, interface ids 17).
pub fn hex(n: usize) -> String {
    pick(n, b"0123456789abcdef")
}

/// `n` random decimal digits, the first not a zero (deployment and revision ids have 19).
pub fn digits(n: usize) -> String {
    let mut text = pick(n, b"0123456789");
    if text.starts_with('0') {
        text.replace_range(0..1, "7");
    }
    text
}

/// `n` random characters of `A-Z` and `0-9`.
pub fn upper(n: usize) -> String {
    pick(n, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
}

/// `n` random letters and digits (service deployment ids have 21).
pub fn alphanumeric(n: usize) -> String {
    pick(
        n,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    )
}

/// A random UUID, version 4.
pub fn uuid() -> String {
    let mut bytes = fastrand::u128(..).to_be_bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut hex = [0; 32];
    let written = hex::encode_to_slice(bytes, &mut hex);
    debug_assert!(written.is_ok(), "two digits for each byte");
    uuid_of(&String::from_utf8_lossy(&hex))
}

/// The first 32 of these hexadecimal digits, as a UUID is written; there must be as many.
pub fn uuid_of(hex: &str) -> String {
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..32],
    ]
    .join("-")
}

/// A secret of `n` base64 characters, from the system's random source.
///
/// # Errors
/// When `/dev/urandom` cannot be read.
pub fn secret(n: usize) -> std::io::Result<String> {
    use base64::Engine as _;
    let mut bytes = vec![0; n];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
    text.truncate(n);
    Ok(text)
}

fn pick(n: usize, from: &[u8]) -> String {
    (0..n)
        .map(|_| char::from(from[fastrand::usize(..from.len())]))
        .collect()
}
