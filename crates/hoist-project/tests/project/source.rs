//! What real repositories say of the source.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use hoist_project::Source;
use tempfile::TempDir;

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.com",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with one commit, and its hash.
fn repository() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q", "-b", "main"]);
    fs::create_dir(folder.path().join("app")).unwrap();
    fs::write(folder.path().join("app/main"), "1").unwrap();
    fs::write(folder.path().join(".gitignore"), "target\n").unwrap();
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "-q", "-m", "one"]);
    let hash = git(folder.path(), &["rev-parse", "HEAD"]);
    (folder, hash)
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const INPUTS: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn a_clean_tree_is_tagged_with_the_whole_commit() {
    let (folder, hash) = repository();
    let source = Source::of(&folder.path().join("app"), &env(&[]));
    assert_eq!(source.commit.as_deref(), Some(hash.as_str()));
    assert_eq!(source.branch.as_deref(), Some("main"));
    assert!(!source.dirty);
    assert_eq!(source.tag(INPUTS), hash);
    assert_eq!(source.short(), Some(&hash[..12]));
}

#[test]
fn a_changed_or_a_new_file_makes_the_tree_dirty_and_an_ignored_one_does_not() {
    let (folder, hash) = repository();
    fs::write(folder.path().join("app/target"), "x").unwrap();
    assert!(!Source::of(&folder.path().join("app"), &env(&[])).dirty);
    fs::write(folder.path().join("elsewhere"), "x").unwrap();
    assert!(
        !Source::of(&folder.path().join("app"), &env(&[])).dirty,
        "another folder is not this project"
    );
    assert!(Source::of(folder.path(), &env(&[])).dirty);
    fs::write(folder.path().join("app/main"), "2").unwrap();
    let source = Source::of(&folder.path().join("app"), &env(&[]));
    assert!(source.dirty);
    assert_eq!(source.tag(INPUTS), format!("{hash}-dirty-0123456789ab"));
}

#[test]
fn a_folder_without_a_repository_is_tagged_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::of(folder.path(), &env(&[]));
    assert_eq!(source, Source::default());
    assert_eq!(source.tag(INPUTS), "src-0123456789ab");
    assert_eq!(source.tag("0123456789abcdef"), "src-0123456789ab");
}

#[test]
fn a_repository_without_a_commit_has_none() {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q", "-b", "trunk"]);
    let source = Source::of(folder.path(), &env(&[]));
    assert_eq!(
        (source.commit.as_deref(), source.branch.as_deref()),
        (None, Some("trunk"))
    );
    assert_eq!(source.tag(INPUTS), "src-0123456789ab");
}

#[test]
fn a_detached_head_has_a_commit_and_no_branch() {
    let (folder, hash) = repository();
    git(folder.path(), &["checkout", "-q", "--detach"]);
    let source = Source::of(folder.path(), &env(&[]));
    assert_eq!((source.commit, source.branch), (Some(hash), None));
}

#[test]
fn a_shallow_checkout_and_a_linked_worktree_work() {
    let (folder, hash) = repository();
    let other = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    git(
        other.path(),
        &["clone", "-q", "--depth", "1", &url, "shallow"],
    );
    assert_eq!(
        Source::of(&other.path().join("shallow"), &env(&[]))
            .commit
            .as_deref(),
        Some(hash.as_str())
    );
    let tree = other.path().join("tree");
    git(
        folder.path(),
        &[
            "worktree",
            "add",
            "-q",
            "-b",
            "side",
            tree.to_str().unwrap(),
        ],
    );
    let source = Source::of(&tree, &env(&[]));
    assert_eq!(
        (source.commit.as_deref(), source.branch.as_deref()),
        (Some(hash.as_str()), Some("side"))
    );
}

#[test]
fn a_checkout_that_belongs_to_someone_else_is_read() {
    let (folder, hash) = repository();
    // Only root can give files away; anyone else cannot make this case.
    if std::os::unix::fs::chown(folder.path(), Some(12345), Some(12345)).is_err() {
        return;
    }
    std::os::unix::fs::chown(folder.path().join(".git"), Some(12345), Some(12345)).unwrap();
    assert_eq!(Source::of(folder.path(), &env(&[])).commit, Some(hash));
}

#[test]
fn a_branch_build_on_github_is_named_by_githubs_variables() {
    let (folder, hash) = repository();
    git(folder.path(), &["checkout", "-q", "--detach"]);
    let root = folder.path().to_str().unwrap();
    let given = env(&[
        ("GITHUB_SHA", &hash),
        ("GITHUB_WORKSPACE", root),
        ("GITHUB_REF_NAME", "main"),
        ("GITHUB_REF_TYPE", "branch"),
    ]);
    let source = Source::of(&folder.path().join("app"), &given);
    assert_eq!(
        (source.commit.as_deref(), source.branch.as_deref()),
        (Some(hash.as_str()), Some("main"))
    );
    let tag = env(&[
        ("GITHUB_SHA", &hash),
        ("GITHUB_REF_NAME", "v1"),
        ("GITHUB_REF_TYPE", "tag"),
    ]);
    assert_eq!(
        Source::of(folder.path(), &tag).branch,
        None,
        "a tag is no branch"
    );
}

#[test]
fn a_pull_request_is_its_head_and_not_the_merge() {
    let (folder, merge) = repository();
    let head = "a".repeat(40);
    let event = folder.path().join(".git/event.json");
    fs::write(
        &event,
        format!("{{\"pull_request\":{{\"head\":{{\"sha\":\"{head}\"}}}}}}"),
    )
    .unwrap();
    let given = env(&[
        ("GITHUB_SHA", &merge),
        ("GITHUB_EVENT_NAME", "pull_request"),
        ("GITHUB_EVENT_PATH", event.to_str().unwrap()),
        ("GITHUB_HEAD_REF", "feature"),
    ]);
    let source = Source::of(folder.path(), &given);
    assert_eq!(
        (source.commit, source.branch.as_deref()),
        (Some(head), Some("feature"))
    );
}

#[test]
fn githubs_variables_do_not_name_what_was_not_checked_out_there() {
    let (folder, hash) = repository();
    let other = "b".repeat(40);
    let given = env(&[("GITHUB_SHA", &other)]);
    assert_eq!(
        Source::of(folder.path(), &given).commit.as_deref(),
        Some(hash.as_str()),
        "another commit is checked out"
    );
    let elsewhere = tempfile::tempdir().unwrap();
    let given = env(&[
        ("GITHUB_SHA", &other),
        ("GITHUB_WORKSPACE", folder.path().to_str().unwrap()),
    ]);
    assert_eq!(Source::of(elsewhere.path(), &given).commit, None);
}

#[test]
fn without_git_the_source_is_named_by_github_or_by_its_content() {
    let (folder, hash) = repository();
    let source = Source::of(folder.path(), &env(&[("PATH", "/nowhere")]));
    assert_eq!(source.commit, None);
    assert_eq!(
        source.note.as_deref(),
        Some("git is not installed, so the commit is not known")
    );
    assert_eq!(source.tag(INPUTS), "src-0123456789ab");
    let source = Source::of(
        folder.path(),
        &env(&[("PATH", "/nowhere"), ("GITHUB_SHA", &hash)]),
    );
    assert_eq!(source.tag(INPUTS), hash);
}
