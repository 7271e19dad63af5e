//! Identifiers: random in look, the same for the same seed.

use serde::{Deserialize, Serialize};

/// A small generator (SplitMix64); the only source of chance in the scheduler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ids {
    state: u64,
}

impl Ids {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Ids { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 32 hexadecimal digits, as task ids are.
    pub(crate) fn hex32(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        let mut text = String::with_capacity(32);
        push_hex(&mut text, a, 16);
        push_hex(&mut text, b, 16);
        text
    }

    /// 19 decimal digits, as in `ecs-svc/<n>` and service revisions.
    pub(crate) fn digits19(&mut self) -> String {
        const LOW: u64 = 1_000_000_000_000_000_000;
        (LOW + self.next() % (8 * LOW)).to_string()
    }

    /// So many characters: 21 as in service deployments, 43 as in hooks.
    pub(crate) fn characters(&mut self, count: usize) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (0..count)
            .map(|_| LETTERS[(self.next() >> 58) as usize] as char)
            .collect()
    }

    /// A version 4 UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        let mut text = String::with_capacity(36);
        push_hex(&mut text, a >> 32, 8);
        text.push('-');
        push_hex(&mut text, a >> 16, 4);
        text.push_str("-4");
        push_hex(&mut text, a, 3);
        text.push('-');
        push_hex(&mut text, 0x8000 | (b >> 50), 4);
        text.push('-');
        push_hex(&mut text, b, 12);
        text
    }
}

/// The lowest `digits` hexadecimal digits of a number. `format!` takes ten times as long, and every task has several ids.
fn push_hex(text: &mut String, number: u64, digits: usize) {
    let mut written = [0; 16];
    for (place, byte) in written.iter_mut().rev().enumerate() {
        *byte = b"0123456789abcdef"[(number >> (4 * place)) as usize & 0xf];
    }
    let lowest = &written[written.len() - digits..];
    text.push_str(std::str::from_utf8(lowest).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_the_shape_of_the_real_ones_and_follow_from_the_seed() {
        let mut ids = Ids::new(7);
        assert_eq!(ids.hex32().len(), 32);
        assert_eq!(ids.digits19().len(), 19);
        assert_eq!(ids.characters(21).len(), 21);
        let uuid = ids.uuid();
        assert_eq!(
            uuid.split('-').map(str::len).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
        let mut again = Ids::new(7);
        assert_eq!(again.hex32(), Ids::new(7).hex32());
        assert_ne!(again.hex32(), Ids::new(7).hex32());
    }
}
