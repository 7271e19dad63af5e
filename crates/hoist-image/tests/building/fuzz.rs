//! Readers of what strangers write, fed with mutated input: they may refuse it, but must not panic, and a layer must not touch anything outside.
//!
//! What an input came to, in a few words, stands for coverage: inputs that come to something new are kept and mutated further. `cargo test` tries a few
//! thousand; `HOIST_FUZZ_SECONDS` makes it that long for each reader (`cargo xtask prove readers`), and `HOIST_FUZZ_KEEP` names a folder where new inputs are
//! kept. The corpus in `tests/corpus` comes first.

#![allow(clippy::print_stdout, reason = "a campaign says what it came to")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hoist_image::fuzzing;

use crate::cases::Group;
use crate::layer_reader::Reader;

/// Inputs without a budget of time.
const FEW: usize = 3000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Changes an input in one to four places.
fn mutated(random: &mut Random, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut input = random.pick(corpus).clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = at + random.below((input.len() - at).min(64) + 1);
        match random.below(9) {
            0 if !input.is_empty() => {
                let at = at.min(input.len() - 1);
                input[at] ^= 1 << random.below(8);
            }
            1 => drop(input.drain(at..end)),
            2 => {
                let part = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                drop(input.splice(to..to, part));
            }
            3 => drop(input.splice(at..at, [random.next() as u8])),
            4 | 5 => {
                let word = random.pick(words).bytes();
                drop(input.splice(at..end.min(at + 8), word));
            }
            6 => {
                let other = random.pick(corpus);
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend(&other[from..]);
            }
            7 => {
                // A whole line elsewhere.
                let lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
                let line = random.pick(&lines).to_vec();
                drop(input.splice(at..at, line));
            }
            _ => input.truncate(at),
        }
        input.truncate(1 << 16);
        if input.is_empty() {
            input.push(b'\n');
        }
    }
    input
}

/// Feeds a reader until the budget is spent; panics with the first input that makes it panic.
fn campaign(
    name: &str,
    few: usize,
    seeds: Vec<Vec<u8>>,
    words: &[&str],
    mut read: impl FnMut(&[u8]) -> String,
) {
    let kept = std::env::var_os("HOIST_FUZZ_KEEP").map(|folder| PathBuf::from(folder).join(name));
    let own = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let mut corpus = seeds;
    for folder in [Some(&own), kept.as_ref()].into_iter().flatten() {
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        corpus.extend(files.iter().map(|file| std::fs::read(file).unwrap()));
    }
    assert!(!corpus.is_empty(), "{name} has a corpus");
    let seconds: Option<u64> = std::env::var("HOIST_FUZZ_SECONDS")
        .ok()
        .map(|text| text.parse().expect("HOIST_FUZZ_SECONDS is a number"));
    let seed = match seconds {
        None => 1,
        Some(_) => std::process::id().into(),
    };
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ seed);
    let mut seen = BTreeSet::new();
    let mut judge = |input: &[u8]| {
        let came_to = catch_unwind(AssertUnwindSafe(|| read(input)));
        came_to.unwrap_or_else(|_| {
            let file =
                std::env::temp_dir().join(format!("hoist-fuzz-{name}-{}", std::process::id()));
            std::fs::write(&file, input).unwrap();
            panic!(
                "{name}: seed {seed}: the input in {} makes the reader panic: {:?}",
                file.display(),
                String::from_utf8_lossy(input)
            );
        })
    };
    for input in &corpus {
        seen.insert(judge(input));
    }
    let (began, mut tried, mut slowest) = (Instant::now(), 0_u64, Duration::ZERO);
    let goes_on = |tried: u64| match seconds {
        None => tried < few as u64,
        Some(seconds) => began.elapsed() < Duration::from_secs(seconds),
    };
    while goes_on(tried) {
        tried += 1;
        let input = mutated(&mut random, &corpus, words);
        let start = Instant::now();
        let came_to = judge(&input);
        slowest = slowest.max(start.elapsed());
        if seen.insert(came_to) {
            if let Some(folder) = &kept {
                std::fs::create_dir_all(folder).unwrap();
                let digest = hoist_oci::Digest::of(&input).hex();
                std::fs::write(folder.join(&digest[..16]), &input).unwrap();
            }
            corpus.push(input);
        }
    }
    println!(
        "{name}: {tried} inputs in {} s, {} outcomes, {} inputs kept, the slowest took {} ms",
        began.elapsed().as_secs(),
        seen.len(),
        corpus.len(),
        slowest.as_millis()
    );
}

/// The Dockerfiles of the other tests.
fn dockerfiles() -> Vec<Group> {
    [
        ("add", include_str!("cases/add.txt")),
        ("args", include_str!("cases/args.txt")),
        ("config", include_str!("cases/config.txt")),
        ("copy", include_str!("cases/copy.txt")),
        ("expand", include_str!("cases/expand.txt")),
        ("ignore", include_str!("cases/ignore.txt")),
        ("mistakes", include_str!("cases/mistakes.txt")),
        ("newer", include_str!("cases/newer.txt")),
        ("refused", include_str!("cases/refused.txt")),
        ("run", include_str!("cases/run.txt")),
    ]
    .map(|(name, text)| Group::read(name, text))
    .into()
}

#[test]
fn no_dockerfile_makes_the_reader_panic() {
    let seeds: Vec<Vec<u8>> = dockerfiles()
        .iter()
        .flat_map(|group| &group.cases)
        .map(|case| case.dockerfile.clone().into_bytes())
        .collect();
    let words = [
        "FROM ",
        "RUN ",
        "COPY ",
        "ADD ",
        "ARG ",
        "ENV ",
        "LABEL ",
        "ONBUILD ",
        "SHELL ",
        "HEALTHCHECK ",
        "CMD ",
        "EXPOSE ",
        "VOLUME ",
        "USER ",
        "WORKDIR ",
        "STOPSIGNAL ",
        "ENTRYPOINT ",
        "AS x",
        "scratch",
        "<<EOF",
        "<<-'E'",
        "EOF\n",
        "\\\n",
        "`\n",
        "# escape=`\n",
        "# syntax=x\n",
        "# check=skip=all\n",
        "--from=",
        "--mount=type=cache,target=/x",
        "--chmod=",
        "--link ",
        "--platform=$P ",
        "${A:-b}",
        "${A#b*}",
        "${A/b/c}",
        "${A",
        "$A",
        "$(",
        "[\"a\", \"b\"]",
        "[\"",
        "\"",
        "'",
        "\u{e9}",
        "\u{1F600}",
        "\r\n",
        "\0",
        "\t",
        "=",
        "a=b ",
        "--network=none",
        "--security=insecure",
        "\u{feff}",
    ];
    campaign("dockerfile", FEW, seeds, &words, fuzzing::dockerfile);
}

#[test]
fn no_ignore_file_makes_the_reader_panic() {
    let seeds: Vec<Vec<u8>> = dockerfiles()
        .iter()
        .flat_map(|group| &group.cases)
        .filter(|case| !case.ignore.is_empty())
        .map(|case| case.ignore.join("\n").into_bytes())
        .collect();
    let words = [
        "**", "*", "?", "!", "#", "[a-z]", "[^a]", "[", "]", "\\", "/", "..", "./", "a", "\n",
        "\r\n", "\u{e9}", "\u{feff}", "**/", "/**", "a/b", "[]a]", "[a-", "[\\]]",
    ];
    campaign("ignore", FEW, seeds, &words, fuzzing::ignore);
}

#[test]
fn no_manifest_makes_the_reader_panic() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let descriptor = format!(
        r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":7,"annotations":{{"a":"b"}}}}"#
    );
    let seeds = vec![
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{descriptor},"layers":[{descriptor},{descriptor}],"annotations":null}}"#
        ),
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"amd64","variant":"v1"}}}}]}}"#
        ),
        format!(
            r#"{{"architecture":"arm64","os":"linux","config":{{"Env":["A=b"],"Cmd":null,"ExposedPorts":{{"80/tcp":{{}}}},"Healthcheck":{{"Test":["NONE"],"Interval":5}}}},"rootfs":{{"type":"layers","diff_ids":["{digest}"]}},"history":[{{"empty_layer":true}}]}}"#
        ),
    ];
    let words = [
        "null",
        "[]",
        "{}",
        "\"\"",
        "-1",
        "1e999",
        "18446744073709551616",
        "true",
        "\"digest\":",
        "\"size\":",
        "\"layers\":",
        "\"platform\":",
        "\"os\":\"linux\"",
        "\"architecture\":\"amd64\"",
        "\"mediaType\":",
        "\"artifactType\":\"x\",",
        ",",
        ":",
        "\\u0000",
        "\\ud800",
        "\"config\":",
        "\"rootfs\":",
    ];
    let seeds = seeds.into_iter().map(String::into_bytes).collect();
    campaign("manifest", FEW, seeds, &words, fuzzing::manifest);
}

#[test]
fn no_layer_makes_the_reader_panic_or_reach_outside() {
    let mut reader = Reader::new();
    let there = reader.outside().display().to_string();
    campaign(
        "layer",
        150,
        layers(&there),
        &[
            "../",
            "/",
            "\0",
            "0",
            "1",
            "2",
            "3",
            "4",
            "5",
            "6",
            "x",
            "g",
            "L",
            "K",
            "S",
            "V",
            ".wh.",
            ".wh..wh..opq",
            "ustar\0",
            "ustar  \0",
            "17 path=../../x\n",
            "30 linkpath=/etc/passwd\n",
            "20 size=99999999999\n",
            "22 SCHILY.xattr.a=b\n",
            "\u{80}",
            "777777777777",
            "7777777",
            there.as_str(),
        ],
        |input| reader.read(input),
    );
}

/// Archives with all kinds of entries.
fn layers(outside: &str) -> Vec<Vec<u8>> {
    use std::io::Write as _;
    let mut all = Vec::new();
    let entry = |archive: &mut tar::Builder<Vec<u8>>,
                 kind: tar::EntryType,
                 name: &str,
                 link: &str,
                 content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, content).unwrap();
    };
    use tar::EntryType as Kind;
    type Entry<'a> = (Kind, &'a str, &'a str, &'a [u8]);
    let sets: [&[Entry<'_>]; 5] = [
        &[
            (Kind::Directory, "d/", "", b""),
            (Kind::Regular, "d/f", "", b"text"),
            (Kind::Link, "d/h", "d/f", b""),
        ],
        &[
            (Kind::Symlink, "up", "../../..", b""),
            (Kind::Regular, "up/x", "", b"y"),
        ],
        &[
            (Kind::Symlink, "out", outside, b""),
            (Kind::Regular, "out/canary", "", b"gone"),
            (Kind::Link, "h", "out/canary", b""),
        ],
        &[
            (Kind::Regular, ".wh.gone", "", b""),
            (Kind::Regular, "d/.wh..wh..opq", "", b""),
            (Kind::Fifo, "p", "", b""),
        ],
        &[
            (Kind::XHeader, "pax", "", b"17 path=../../x\n"),
            (Kind::Regular, "x", "", b"1"),
            (Kind::GNULongName, "l", "", b"long/name\0"),
            (Kind::Regular, "y", "", b"2"),
        ],
    ];
    for set in sets {
        let mut archive = tar::Builder::new(Vec::new());
        for (kind, name, link, content) in set {
            entry(&mut archive, *kind, name, link, content);
        }
        let plain = archive.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        all.push(gzip.finish().unwrap());
        all.push(plain);
    }
    all
}
