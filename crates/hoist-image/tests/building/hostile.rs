//! Archives and base images that mean harm: each is refused or contained, and nothing outside is touched.

use std::fs;
use std::path::Path;

use hoist_image::{BuildErrorKind, import};

use crate::support::Bench;

/// One entry of an archive, exactly as given: the library that writes archives would refuse most of these.
fn entry(archive: &mut Vec<u8>, kind: u8, path: &str, link: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    if matches!(kind, b'3' | b'4') {
        header.set_device_major(8).unwrap();
        header.set_device_minor(0).unwrap();
    }
    header.set_cksum();
    archive.extend(header.as_bytes());
    archive.extend(content);
    archive.extend(vec![0; (512 - content.len() % 512) % 512]);
}

type Entry = (u8, &'static str, &'static str, &'static [u8]);

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, path, link, content) in entries {
        entry(&mut out, *kind, path, link, content);
    }
    out.extend([0; 1024]);
    out
}

/// What an archive may come to in a build that unpacks it into `/t` and then runs on it.
enum Fate {
    /// With a part of the error.
    Refused(&'static str),
    /// Contained: the image has this file, with this content.
    Holds(&'static str, &'static str),
}

const CASES: [(&str, &[Entry], Fate); 14] = [
    (
        "a path that leads out",
        &[(b'0', "../../escaped", "", b"x")],
        Fate::Refused("leads out of it"),
    ),
    (
        "a path that leads out and back",
        &[(b'0', "a/../../t/escaped", "", b"x")],
        Fate::Refused("leads out of it"),
    ),
    (
        "an absolute path",
        &[(b'0', "/etc/escaped", "", b"x")],
        Fate::Holds("t/etc/escaped", "x"),
    ),
    (
        "a link to a folder outside, and a file through it",
        &[(b'2', "out", "/etc", b""), (b'0', "out/escaped", "", b"x")],
        Fate::Holds("etc/escaped", "x"),
    ),
    (
        "a link up, and a file through it",
        &[
            (b'2', "up", "../../../../../..", b""),
            (b'0', "up/escaped", "", b"x"),
        ],
        Fate::Holds("escaped", "x"),
    ),
    (
        "a chain of links",
        &[
            (b'2', "a", "b", b""),
            (b'2', "b", "a", b""),
            (b'0', "a/escaped", "", b"x"),
        ],
        Fate::Refused("too many symbolic links"),
    ),
    (
        "a hard link to a file outside",
        &[(b'1', "h", "/etc/shadow", b"")],
        Fate::Refused("which it does not hold"),
    ),
    (
        "a hard link that leads out",
        &[(b'1', "h", "../../etc/shadow", b"")],
        Fate::Refused("leads out of it"),
    ),
    (
        "a whiteout",
        &[(b'0', ".wh.etc", "", b"")],
        Fate::Refused("cannot be in an image"),
    ),
    (
        "an opaque marker",
        &[(b'0', ".wh..wh..opq", "", b"")],
        Fate::Refused("cannot be in an image"),
    ),
    (
        "a file where a folder is needed",
        &[(b'0', "f", "", b"x"), (b'0', "f/escaped", "", b"x")],
        Fate::Refused("is not a folder"),
    ),
    (
        "a sparse file",
        &[(b'S', "s", "", b"")],
        Fate::Refused("failed to read the archive"),
    ),
    (
        "an unknown kind",
        &[(b'Q', "q", "", b"")],
        Fate::Refused("cannot be unpacked"),
    ),
    (
        "a name that is a point",
        &[(b'5', ".", "", b""), (b'0', "./x", "", b"y")],
        Fate::Holds("t/x", "y"),
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_lead_out_are_refused_or_contained() {
    let bench = Bench::with_busybox().await;
    let (passwd, here) = (fs::read("/etc/passwd").unwrap(), Path::new("/etc/escaped"));
    for (title, entries, fate) in CASES {
        fs::write(bench.context().join("a.tar"), archive(entries)).unwrap();
        let outcome = bench.build("FROM busybox\nADD a.tar /t/\nRUN true\n").await;
        match (&fate, &outcome.result) {
            (Fate::Refused(words), Err(error)) => {
                assert!(error.message().contains(words), "{title}: {error}");
                assert_eq!(error.line(), Some(2), "{title}");
            }
            (Fate::Holds(path, content), Ok(built)) => {
                let files = bench.files(built);
                let file = files
                    .get(*path)
                    .unwrap_or_else(|| panic!("{title}: {:?}", files.keys()));
                assert_eq!(file.content, *content, "{title}");
            }
            (Fate::Refused(_), Ok(_)) => panic!("{title}: it was built"),
            (Fate::Holds(..), Err(error)) => panic!("{title}: {error}"),
        }
        assert!(!here.exists() && !Path::new("/escaped").exists(), "{title}");
    }
    assert_eq!(fs::read("/etc/passwd").unwrap(), passwd);
}

/// The same as base images: what is refused in an archive of the context may be a layer, and must do no harm when it is unpacked.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_base_images_touch_nothing_outside_their_folder() {
    let bench = Bench::with_busybox().await;
    let canary = bench.folder.path().join("canary");
    fs::write(&canary, "alive").unwrap();
    let outside = canary.display().to_string();
    let leak: &'static str = Box::leak(outside.into_boxed_str());
    let up: &'static str = Box::leak(format!("../../../../../../../../..{leak}").into_boxed_str());
    let cases: [(&str, Vec<Entry>); 7] = [
        ("out by name", vec![(b'0', "../../../escaped", "", b"x")]),
        (
            "over a file outside through a link",
            vec![(b'2', "l", leak, b""), (b'0', "l", "", b"dead")],
        ),
        (
            "into a folder outside through a link",
            vec![
                (b'2', "d", "/tmp", b""),
                (b'0', "d/escaped-by-hoist-test", "", b"x"),
            ],
        ),
        ("a hard link to a file outside", vec![(b'1', "h", up, b"")]),
        (
            "a whiteout of a file outside",
            vec![(b'2', "d", "/", b""), (b'0', "d/.wh.tmp", "", b"")],
        ),
        ("a whiteout with a path", vec![(b'0', ".wh...", "", b"")]),
        ("a device", vec![(b'4', "disk", "", b"")]),
    ];
    for (number, (title, entries)) in cases.into_iter().enumerate() {
        let file = bench.folder.path().join("base.tar");
        fs::write(&file, archive(&entries)).unwrap();
        let name = format!("hostile{number}");
        // Refused when it is imported, when it is used, or harmless.
        if import(&bench.workspace, &file, &name).await.is_ok() {
            let text = format!(
                "FROM {name} AS bad\nFROM busybox\nCOPY --from=bad / /in/\nRUN ls /in > /list\n"
            );
            let outcome = bench.build(&text).await;
            if let Err(error) = &outcome.result {
                assert!(
                    error.kind() != BuildErrorKind::Io || error.location().is_some(),
                    "{title}: {error}"
                );
            }
            let run = bench.build(&format!("FROM {name}\nCOPY --from=busybox /usr/bin/busybox /b\nRUN [\"/b\", \"ls\", \"/\"]\n")).await;
            drop(run);
        }
        assert_eq!(fs::read_to_string(&canary).unwrap(), "alive", "{title}");
        assert!(!Path::new("/tmp/escaped-by-hoist-test").exists(), "{title}");
        assert!(Path::new("/tmp").is_dir(), "{title}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_and_a_device_end_where_they_should() {
    use std::io::Write;
    let bench = Bench::with_busybox().await;
    // Megabytes of nothing in a few kilobytes; the memory stays what it was.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let size: u64 = 300 << 20;
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    packed.write_all(header.as_bytes()).unwrap();
    let piece = vec![0; 1 << 20];
    for _ in 0..(size >> 20) {
        packed.write_all(&piece).unwrap();
    }
    packed.write_all(&[0; 1024]).unwrap();
    fs::write(
        bench.context().join("bomb.tar.gz"),
        packed.finish().unwrap(),
    )
    .unwrap();
    let before = peak();
    let outcome = bench.build("FROM scratch\nADD bomb.tar.gz /\n").await;
    let error = outcome.error();
    assert!(error.message().contains("unpacks to more than"), "{error}");
    assert!(peak() - before < 200 << 10, "{} KiB more", peak() - before);

    // A device of an image is there, but nobody can open it.
    fs::write(
        bench.context().join("a.tar"),
        archive(&[(b'4', "disk", "", b"")]),
    )
    .unwrap();
    let outcome = bench
        .build("FROM busybox\nADD a.tar /t/\nRUN test -b /t/disk && if cat /t/disk > /dev/null 2>&1; then echo open; else echo shut; fi\n")
        .await;
    outcome.built();
    assert_eq!(outcome.output(), ["shut"]);
}

/// The largest memory that this process had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
