//! The Distinguished Encoding Rules, as far as a certificate needs them (ITU-T X.690).

/// A value with its tag and its length.
pub fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let first = length.iter().position(|it| *it != 0).unwrap_or(7);
    match content.len() {
        short @ 0..=127 => out.push(short as u8),
        _ => {
            out.push(0x80 | (length.len() - first) as u8);
            out.extend(&length[first..]);
        }
    }
    out.extend(content);
    out
}

/// Values one after the other.
pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(0x30, &parts.concat())
}

/// A set of one value.
pub fn set(part: &[u8]) -> Vec<u8> {
    tagged(0x31, part)
}

/// An integer of any size that is not negative.
pub fn integer(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|it| *it != 0);
    let rest = first.map_or(&[0][..], |at| &bytes[at..]);
    if rest[0] & 0x80 == 0 {
        return tagged(2, rest);
    }
    tagged(2, &[&[0], rest].concat())
}

/// An object identifier, encoded already.
pub fn object(encoded: &[u8]) -> Vec<u8> {
    tagged(6, encoded)
}

/// Bits, all of whole bytes.
pub fn bits(bytes: &[u8]) -> Vec<u8> {
    tagged(3, &[&[0], bytes].concat())
}

/// What stands in a value that holds others: its parts, each with its tag.
pub fn parts(mut content: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while !content.is_empty() {
        let (tag, length) = (*content.first()?, *content.get(1)?);
        let (length, head) = match length {
            0..=127 => (usize::from(length), 2),
            _ => {
                let count = usize::from(length & 0x7f);
                let bytes = content.get(2..2 + count).filter(|_| count <= 4)?;
                let length = bytes.iter().fold(0, |all, it| all << 8 | usize::from(*it));
                (length, 2 + count)
            }
        };
        let end = head.checked_add(length)?;
        found.push((tag, content.get(head..end)?));
        content = &content[end..];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_integers_are_as_short_as_they_can_be() {
        assert_eq!(tagged(4, &[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(tagged(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(tagged(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(integer(&[0, 0, 5]), [2, 1, 5]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0]), [2, 1, 0]);
    }

    #[test]
    fn what_is_written_reads_back() {
        let inner = [integer(&[1]), tagged(4, &[9; 200])].concat();
        assert_eq!(parts(&inner).unwrap(), [(2, &[1][..]), (4, &[9; 200][..])]);
        assert!(parts(&[4, 5, 1]).is_none());
    }
}
