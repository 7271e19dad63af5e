//! Where the body of a message ends (RFC 9112, 6 and 7), without touching its bytes.

/// How a body is framed, and how much of it is still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Nothing,
    Length(u64),
    Chunked(Chunks),
    /// It ends with the connection.
    UntilClose,
}

/// Where in a chunked body the next byte is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunks {
    /// In the size of a chunk: its value so far and the number of its digits.
    Size(u64, u8),
    /// Behind the size, up to the end of the line.
    Extension(u64),
    /// The line feed after a size.
    SizeEnd(u64),
    Data(u64),
    /// The line end after the data: carriage return, then line feed.
    DataEnd(bool),
    /// In the trailers: whether the line has anything in it.
    Trailer(bool),
    /// The last line feed, if the line is empty.
    TrailerEnd(bool),
}

/// What was found in some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// So many of them belong to this body.
    pub used: usize,
    /// Whether it has ended with them.
    pub done: bool,
}

/// The body breaks the rules of its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chunk of the body cannot be read")]
pub struct Malformed;

impl Framing {
    /// A chunked body, at its beginning.
    pub fn chunks() -> Framing {
        Framing::Chunked(Chunks::Size(0, 0))
    }

    /// Goes on with the next bytes of the connection.
    ///
    /// # Errors
    /// When a chunk is malformed.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Progress, Malformed> {
        match self {
            Framing::Nothing => Ok(Progress {
                used: 0,
                done: true,
            }),
            Framing::UntilClose => Ok(Progress {
                used: bytes.len(),
                done: false,
            }),
            Framing::Length(left) => {
                let used = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= used as u64;
                Ok(Progress {
                    used,
                    done: *left == 0,
                })
            }
            Framing::Chunked(at) => {
                let mut used = 0;
                while used < bytes.len() {
                    if let Chunks::Data(left) = at {
                        let here =
                            (bytes.len() - used).min(usize::try_from(*left).unwrap_or(usize::MAX));
                        used += here;
                        *left -= here as u64;
                        if *left == 0 {
                            *at = Chunks::DataEnd(false);
                        }
                        continue;
                    }
                    let byte = bytes[used];
                    used += 1;
                    match at.step(byte)? {
                        Some(next) => *at = next,
                        None => return Ok(Progress { used, done: true }),
                    }
                }
                Ok(Progress { used, done: false })
            }
        }
    }
}

impl Chunks {
    /// What comes after one byte that is no data; `None` after the last.
    fn step(&self, byte: u8) -> Result<Option<Chunks>, Malformed> {
        Ok(Some(match (self, byte) {
            (Chunks::Size(size, digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                if *digits < 15 =>
            {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                Chunks::Size(size * 16 + u64::from(digit), digits + 1)
            }
            (Chunks::Size(_, 0), _) => return Err(Malformed),
            (Chunks::Size(size, _), b';' | b' ' | b'\t') => Chunks::Extension(*size),
            (Chunks::Size(size, _) | Chunks::Extension(size), b'\r') => Chunks::SizeEnd(*size),
            (Chunks::Extension(size), byte) if byte != b'\n' => Chunks::Extension(*size),
            (Chunks::SizeEnd(0), b'\n') => Chunks::Trailer(false),
            (Chunks::SizeEnd(size), b'\n') => Chunks::Data(*size),
            (Chunks::DataEnd(false), b'\r') => Chunks::DataEnd(true),
            (Chunks::DataEnd(true), b'\n') => Chunks::Size(0, 0),
            (Chunks::Trailer(filled), b'\r') => Chunks::TrailerEnd(*filled),
            (Chunks::Trailer(_), byte) if byte != b'\n' => Chunks::Trailer(true),
            (Chunks::TrailerEnd(true), b'\n') => Chunks::Trailer(false),
            (Chunks::TrailerEnd(false), b'\n') => return Ok(None),
            _ => return Err(Malformed),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a message in pieces of every size; how much of it was the body.
    fn length(
        mut framing: Framing,
        bytes: &[u8],
        piece: usize,
    ) -> Result<Option<usize>, Malformed> {
        let mut total = 0;
        for part in bytes.chunks(piece) {
            let Progress { used, done } = framing.take(part)?;
            total += used;
            if done {
                return Ok(Some(total));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_chunked_body_ends_after_its_trailers_wherever_it_is_cut() {
        let body = b"5\r\nhello\r\nA;x=\"1\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
        let mut more = body.to_vec();
        more.extend_from_slice(b"HTTP/1.1 200 OK");
        for piece in 1..more.len() {
            assert_eq!(
                length(Framing::chunks(), &more, piece),
                Ok(Some(body.len())),
                "{piece}"
            );
        }
        assert_eq!(length(Framing::chunks(), b"0\r\n\r\n", 9), Ok(Some(5)));
        assert_eq!(length(Framing::chunks(), b"5\r\nhel", 2), Ok(None));
        for bad in [
            "\r\n",
            "x\r\n",
            "5\nhello",
            "1\r\nab\r\n",
            "0\r\n\n",
            "fffffffffffffffff\r\n",
            "5 5\n",
        ] {
            assert_eq!(
                length(Framing::chunks(), bad.as_bytes(), 3),
                Err(Malformed),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn other_bodies_end_by_their_length_or_never() {
        assert_eq!(length(Framing::Length(3), b"abcdef", 2), Ok(Some(3)));
        assert_eq!(length(Framing::UntilClose, b"abc", 1), Ok(None));
        assert_eq!(
            Framing::Nothing.take(b"abc"),
            Ok(Progress {
                used: 0,
                done: true
            })
        );
        assert_eq!(
            Framing::Length(0).take(b""),
            Ok(Progress {
                used: 0,
                done: true
            })
        );
    }
}
