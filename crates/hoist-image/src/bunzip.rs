//! Reading bzip2, which `ADD` unpacks. Only the decoder is here, since hoist writes no bzip2.
//!
//! A stream is a header, blocks of up to 900 kB that are each sorted by Burrows and Wheeler's transform and packed by Huffman's codes,
//! and a trailer; several streams may follow each other. Every block is checked against its sum.

use std::io::{self, Read};

const BLOCK: u64 = 0x3141_5926_5359;
const END: u64 = 0x1772_4538_5090;
/// Symbols that one Huffman table serves before the next selector.
const GROUP: usize = 50;
const LONGEST_CODE: usize = 20;

/// Reads what a bzip2 stream holds.
pub(crate) struct Bunzip<R> {
    bits: Bits<R>,
    /// The size of blocks in the current stream; 0 before its header.
    block_size: usize,
    out: Vec<u8>,
    given: usize,
    finished: bool,
    sum: u32,
}

impl<R: Read> Bunzip<R> {
    pub(crate) fn new(inner: R) -> Bunzip<R> {
        Bunzip {
            bits: Bits {
                inner,
                buffer: vec![0; 1 << 16],
                filled: 0,
                at: 0,
                held: 0,
                count: 0,
            },
            block_size: 0,
            out: Vec::new(),
            given: 0,
            finished: false,
            sum: 0,
        }
    }

    /// Decodes the next block into `out`; `false` at the end of all streams.
    fn more(&mut self) -> io::Result<bool> {
        loop {
            if self.block_size == 0 {
                let first = self.bits.read_or_end()?;
                let Some(first) = first else { return Ok(false) };
                let rest = self.bits.take(24)?;
                let level = (rest & 0xff) as u8;
                if first != u32::from(b'B')
                    || rest >> 8 != 0x5a68
                    || !(b'1'..=b'9').contains(&level)
                {
                    return Err(damaged("it has no header"));
                }
                self.block_size = usize::from(level - b'0') * 100_000;
                self.sum = 0;
            }
            let magic = (u64::from(self.bits.take(24)?) << 24) | u64::from(self.bits.take(24)?);
            let wanted = (self.bits.take(16)? << 16) | self.bits.take(16)?;
            match magic {
                BLOCK => {
                    self.block()?;
                    let mut sum = Sum(!0);
                    self.out.iter().for_each(|byte| sum.add(*byte));
                    if !sum.0 != wanted {
                        return Err(damaged("a block has the wrong sum"));
                    }
                    self.sum = self.sum.rotate_left(1) ^ wanted;
                    return Ok(true);
                }
                END => {
                    if self.sum != wanted {
                        return Err(damaged("it has the wrong sum"));
                    }
                    self.bits.align();
                    self.block_size = 0;
                }
                _ => return Err(damaged("a block does not begin where it should")),
            }
        }
    }

    fn block(&mut self) -> io::Result<()> {
        let bits = &mut self.bits;
        if bits.take(1)? == 1 {
            return Err(damaged("it was written by a version before 0.9.5, in 1998"));
        }
        let origin = bits.take(24)? as usize;
        let used = bits.take(16)?;
        let mut symbols = Vec::new();
        for group in 0..16u32 {
            if used & (0x8000 >> group) != 0 {
                let map = bits.take(16)?;
                symbols.extend(
                    (0..16u32)
                        .filter(|bit| map & (0x8000 >> bit) != 0)
                        .map(|bit| (group * 16 + bit) as u8),
                );
            }
        }
        let (tables, count) = (bits.take(3)? as usize, bits.take(15)? as usize);
        if symbols.is_empty() || !(2..=6).contains(&tables) || count == 0 {
            return Err(damaged("a block has no codes"));
        }
        let mut order: Vec<u8> = (0..tables as u8).collect();
        let mut selectors = Vec::with_capacity(count);
        for _ in 0..count {
            let mut index = 0;
            while bits.take(1)? == 1 {
                index += 1;
                if index >= tables {
                    return Err(damaged("a block chooses a code that it does not have"));
                }
            }
            order[..=index].rotate_right(1);
            selectors.push(order[0]);
        }
        let alphabet = symbols.len() + 2;
        let mut codes = Vec::with_capacity(tables);
        for _ in 0..tables {
            let mut length = bits.take(5)? as usize;
            let mut lengths = Vec::with_capacity(alphabet);
            for _ in 0..alphabet {
                loop {
                    if !(1..=LONGEST_CODE).contains(&length) {
                        return Err(damaged("a code is too long"));
                    }
                    if bits.take(1)? == 0 {
                        break;
                    }
                    length = if bits.take(1)? == 0 {
                        length + 1
                    } else {
                        length - 1
                    };
                }
                lengths.push(length);
            }
            codes.push(Code::new(&lengths));
        }
        let sorted = self.sorted(&codes, &selectors, symbols, alphabet)?;
        if origin >= sorted.len() {
            return Err(damaged("a block begins outside itself"));
        }
        self.out.clear();
        self.given = 0;
        unsort(&sorted, origin, &mut self.out)
    }

    /// The bytes of a block as they come out of Huffman's codes, runs and the list of recent symbols.
    fn sorted(
        &mut self,
        codes: &[Code],
        selectors: &[u8],
        mut recent: Vec<u8>,
        alphabet: usize,
    ) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(self.block_size);
        let (mut run, mut weight) = (0usize, 1usize);
        let end = alphabet - 1;
        for selector in selectors {
            let code = &codes[usize::from(*selector)];
            for _ in 0..GROUP {
                let symbol = code.read(&mut self.bits)?;
                if symbol < 2 {
                    run += weight << symbol;
                    weight <<= 1;
                    if run > self.block_size {
                        return Err(damaged("a block is too long"));
                    }
                    continue;
                }
                if run > 0 {
                    if out.len() + run > self.block_size {
                        return Err(damaged("a block is too long"));
                    }
                    out.resize(out.len() + run, recent[0]);
                    (run, weight) = (0, 1);
                }
                if symbol == end {
                    return Ok(out);
                }
                let index = symbol - 1;
                recent[..=index].rotate_right(1);
                if out.len() == self.block_size {
                    return Err(damaged("a block is too long"));
                }
                out.push(recent[0]);
            }
        }
        Err(damaged("a block does not end"))
    }
}

impl<R: Read> Read for Bunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.out.len() && !self.finished {
            self.out.clear();
            self.given = 0;
            self.finished = !self.more()?;
        }
        let n = buffer.len().min(self.out.len() - self.given);
        buffer[..n].copy_from_slice(&self.out[self.given..][..n]);
        self.given += n;
        Ok(n)
    }
}

/// Undoes the transform of Burrows and Wheeler, and the runs that were packed before it: four equal bytes are followed by a count.
fn unsort(sorted: &[u8], origin: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let mut starts = [0u32; 256];
    for byte in sorted {
        starts[usize::from(*byte)] += 1;
    }
    let mut total = 0;
    for start in &mut starts {
        (*start, total) = (total, total + *start);
    }
    let mut next = vec![0u32; sorted.len()];
    for (index, byte) in sorted.iter().enumerate() {
        let place = &mut starts[usize::from(*byte)];
        next[*place as usize] = index as u32;
        *place += 1;
    }
    let mut at = next[origin];
    let (mut last, mut equal) = (None, 0);
    for _ in 0..sorted.len() {
        let byte = sorted[at as usize];
        at = next[at as usize];
        if equal == 4 {
            let count = usize::from(byte);
            let repeated = last.ok_or_else(|| damaged("a run has no byte"))?;
            out.resize(out.len() + count, repeated);
            (last, equal) = (None, 0);
            continue;
        }
        equal = if last == Some(byte) { equal + 1 } else { 1 };
        last = Some(byte);
        out.push(byte);
    }
    Ok(())
}

/// One of Huffman's codes, in its canonical form.
struct Code {
    /// For each length: the first code, and where its symbols begin.
    first: [u32; LONGEST_CODE + 2],
    begin: [u32; LONGEST_CODE + 2],
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[usize]) -> Code {
        let mut code = Code {
            first: [0; LONGEST_CODE + 2],
            begin: [0; LONGEST_CODE + 2],
            symbols: Vec::with_capacity(lengths.len()),
        };
        let mut next = 0;
        for length in 1..=LONGEST_CODE {
            code.first[length] = next;
            code.begin[length] = code.symbols.len() as u32;
            code.symbols.extend(
                (0..lengths.len())
                    .filter(|symbol| lengths[*symbol] == length)
                    .map(|symbol| symbol as u16),
            );
            next = (next + code.symbols.len() as u32 - code.begin[length]) << 1;
        }
        code.begin[LONGEST_CODE + 1] = code.symbols.len() as u32;
        code
    }

    fn read<R: Read>(&self, bits: &mut Bits<R>) -> io::Result<usize> {
        let mut code = 0;
        for length in 1..=LONGEST_CODE {
            code = (code << 1) | bits.take(1)?;
            let offset = code.wrapping_sub(self.first[length]);
            if offset < self.begin[length + 1] - self.begin[length] {
                return Ok(self.symbols[(self.begin[length] + offset) as usize].into());
            }
        }
        Err(damaged("it has a code that means nothing"))
    }
}

struct Bits<R> {
    inner: R,
    buffer: Vec<u8>,
    filled: usize,
    at: usize,
    held: u64,
    count: u32,
}

impl<R: Read> Bits<R> {
    fn byte(&mut self) -> io::Result<Option<u8>> {
        while self.at == self.filled {
            match self.inner.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(n) => (self.at, self.filled) = (0, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.at += 1;
        Ok(Some(self.buffer[self.at - 1]))
    }

    fn take(&mut self, count: u32) -> io::Result<u32> {
        while self.count < count {
            let byte = self.byte()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.held = (self.held << 8) | u64::from(byte);
            self.count += 8;
        }
        self.count -= count;
        Ok(((self.held >> self.count) & ((1 << count) - 1)) as u32)
    }

    /// A byte at a place where the file may end.
    fn read_or_end(&mut self) -> io::Result<Option<u32>> {
        if self.count >= 8 {
            return self.take(8).map(Some);
        }
        Ok(self.byte()?.map(u32::from))
    }

    /// Drops what is left of the current byte.
    fn align(&mut self) {
        self.count -= self.count % 8;
    }
}

/// The sum of bzip2: CRC-32 with the highest bit first.
struct Sum(u32);

impl Sum {
    fn add(&mut self, byte: u8) {
        self.0 = (self.0 << 8) ^ TABLE[usize::from((self.0 >> 24) as u8 ^ byte)];
    }
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 0x8000_0000 == 0 {
                value << 1
            } else {
                (value << 1) ^ 0x04c1_1db7
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

fn damaged(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the bzip2 stream is damaged: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// What `bzip2`, of Debian, makes of some bytes.
    fn packed(plain: &[u8], level: &str) -> Vec<u8> {
        let mut child = Command::new("bzip2")
            .args(["-c", level])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tests need bzip2: apt-get install bzip2");
        let mut stdin = child.stdin.take().unwrap();
        let bytes = plain.to_vec();
        let feed = std::thread::spawn(move || stdin.write_all(&bytes));
        let out = child.wait_with_output().unwrap().stdout;
        feed.join().unwrap().unwrap();
        out
    }

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Bunzip::new(packed).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn what_bzip2_packed_comes_back() {
        let noise: Vec<u8> = (0..300_000u64)
            .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect();
        let text = "the quick brown fox\n".repeat(20_000).into_bytes();
        let runs: Vec<u8> = (0..250_000u32).map(|n| (n / 700) as u8).collect();
        for plain in [&b""[..], b"a", b"aaaa", &[b'x'; 1000], &noise, &text, &runs] {
            for level in ["-1", "-9"] {
                assert!(
                    unpacked(&packed(plain, level)).unwrap() == plain,
                    "{} {level}",
                    plain.len()
                );
            }
        }
        let two = [packed(b"one ", "-1"), packed(b"two", "-9")].concat();
        assert_eq!(unpacked(&two).unwrap(), b"one two");
    }

    #[test]
    fn damaged_streams_are_refused_and_never_panic() {
        let good = packed(
            &b"some text that is packed, some text that is packed".repeat(50),
            "-9",
        );
        for cut in 1..good.len() {
            assert!(unpacked(&good[..cut]).is_err(), "{cut}");
        }
        for place in 4..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[place] ^= 1 << bit;
                let _ = unpacked(&bad);
            }
        }
        let mut bad = good.clone();
        bad[20] ^= 4;
        assert!(unpacked(&bad).is_err());
    }
}
