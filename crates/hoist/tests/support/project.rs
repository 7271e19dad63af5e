//! Projects that the tests deploy: the example's application in one version or another.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The example's application, compiled once.
pub fn application() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello");
        let status = Command::new(example.join("build.sh")).status().unwrap();
        assert!(status.success(), "examples/hello/build.sh failed");
        example.join("out/hello").canonicalize().unwrap()
    })
}

/// The short form with quick settings.
pub const SHORT: &str = "app: shop
services:
  web: { port: 8080, cpu: 256, memory: 512, count: 2, health: /healthz }
";

/// Writes a project into `folder`: `extra` are more lines of the Dockerfile, which make the version.
pub fn write(folder: &Path, config: &str, extra: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::copy(application(), folder.join("hello")).unwrap();
    std::fs::write(folder.join("hoist.yaml"), config).unwrap();
    std::fs::write(
        folder.join("Dockerfile"),
        format!("FROM scratch\nCOPY hello /hello\nENV PORT=8080\nEXPOSE 8080\n{extra}\nENTRYPOINT [\"/hello\"]\n"),
    )
    .unwrap();
}

/// Makes `folder` a git repository, or commits what changed in it. Returns the commit.
pub fn commit(folder: &Path, message: &str) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=Test",
                "-c",
                "user.email=test@example.invalid",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    if !folder.join(".git").exists() {
        git(&["init", "--quiet"]);
    }
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", message]);
    git(&["rev-parse", "HEAD"])
}
