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
        let mut text = [0; 32];
        put_hex(&mut text[..16], self.next());
        put_hex(&mut text[16..], self.next());
        owned(&text)
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
        let mut text = [b'-'; 36];
        put_hex(&mut text[..8], a >> 32);
        put_hex(&mut text[9..13], a >> 16);
        put_hex(&mut text[14..18], 0x4000 | (a & 0xfff));
        put_hex(&mut text[19..23], 0x8000 | (b >> 50));
        put_hex(&mut text[24..], b);
        owned(&text)
    }
}

/// The hexadecimal digits of every byte.
const PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The lowest hexadecimal digits of a number, as many as there is room for: an even number. `format!` takes ten times as long, and every task
/// and event has ids.
fn put_hex(room: &mut [u8], mut number: u64) {
    for pair in room.as_chunks_mut::<2>().0.iter_mut().rev() {
        *pair = PAIRS[number as usize & 0xff];
        number >>= 8;
    }
}

fn owned(text: &[u8]) -> String {
    std::str::from_utf8(text).unwrap_or_default().to_owned()
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
        assert_eq!(&uuid[14..15], "4", "its version");
        assert_eq!(
            uuid.split('-').map(str::len).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
        let mut again = Ids::new(7);
        assert_eq!(again.hex32(), Ids::new(7).hex32());
        assert_ne!(again.hex32(), Ids::new(7).hex32());
    }
}
