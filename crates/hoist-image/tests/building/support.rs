//! A home, a context and a base image for the tests that build.
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hoist_image::{
    BuildError, BuildEvent, BuildRequest, BuiltImage, Engine, Workspace, build, import,
};
use hoist_oci::Image;

/// A home and a context of their own.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub workspace: Workspace,
}

/// What a build gave, and what it told.
pub struct Outcome {
    pub result: Result<BuiltImage, BuildError>,
    pub events: Vec<BuildEvent>,
}

/// One entry of an image's file tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub kind: char,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub content: String,
}

impl Bench {
    pub fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("context")).unwrap();
        let workspace = Workspace::open(&folder.path().join("home")).unwrap();
        Bench { folder, workspace }
    }

    /// With a local image `busybox`.
    pub async fn with_busybox() -> Bench {
        let bench = Bench::new();
        let root = bench.folder.path().join("busybox");
        busybox(&root);
        import(&bench.workspace, &root, "busybox").await.unwrap();
        bench
    }

    pub fn context(&self) -> PathBuf {
        self.folder.path().join("context")
    }

    pub fn write(&self, path: &str, content: &str) -> &Bench {
        let path = self.context().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn request(&self) -> BuildRequest {
        BuildRequest {
            engine: Engine::Embedded,
            ..BuildRequest::new(self.context())
        }
    }

    pub async fn build(&self, dockerfile: &str) -> Outcome {
        self.build_with(dockerfile, |_| {}).await
    }

    pub async fn build_with(
        &self,
        dockerfile: &str,
        change: impl FnOnce(&mut BuildRequest),
    ) -> Outcome {
        self.write("Dockerfile", dockerfile);
        let mut request = self.request();
        change(&mut request);
        let events = Mutex::new(Vec::new());
        let result = build(&self.workspace, &request, &|event| {
            events.lock().unwrap().push(event)
        })
        .await;
        Outcome {
            result,
            events: events.into_inner().unwrap(),
        }
    }

    pub fn image(&self, built: &BuiltImage) -> Image {
        self.workspace
            .store
            .image(&built.manifest, &built.platform)
            .unwrap()
    }

    /// The files of all layers, applied one after the other.
    pub fn files(&self, built: &BuiltImage) -> BTreeMap<String, File> {
        let mut files = BTreeMap::new();
        for layer in &self.image(built).manifest.layers {
            apply(&self.layer(&layer.digest), &mut files);
        }
        files
    }

    /// The entries of one layer, as they stand in its archive.
    pub fn layer(&self, digest: &hoist_oci::Digest) -> Vec<(String, File)> {
        use std::io::Read;
        let blob = self.workspace.store.open_blob(digest).unwrap();
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(blob)
            .read_to_end(&mut plain)
            .unwrap();
        let mut archive = tar::Archive::new(&plain[..]);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry
                .path()
                .unwrap()
                .display()
                .to_string()
                .trim_end_matches('/')
                .to_owned();
            let header = entry.header().clone();
            let kind = match header.entry_type() {
                tar::EntryType::Directory => 'd',
                tar::EntryType::Symlink => 'l',
                tar::EntryType::Link => 'h',
                _ => 'f',
            };
            let mut content = entry
                .link_name()
                .unwrap()
                .map(|link| link.display().to_string())
                .unwrap_or_default();
            if kind == 'f' {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                content = if bytes.len() > 4096 {
                    format!("{} bytes", bytes.len())
                } else {
                    String::from_utf8_lossy(&bytes).into_owned()
                };
            }
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            found.push((
                path,
                File {
                    kind,
                    mode: header.mode().unwrap(),
                    owner,
                    mtime: header.mtime().unwrap(),
                    content,
                },
            ));
        }
        found
    }
}

fn apply(layer: &[(String, File)], files: &mut BTreeMap<String, File>) {
    for (path, _) in layer {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name == ".wh..wh..opq" {
            files.retain(|other, _| !other.starts_with(&format!("{folder}/")));
        } else if let Some(gone) = name.strip_prefix(".wh.") {
            let gone = if folder.is_empty() {
                gone.to_owned()
            } else {
                format!("{folder}/{gone}")
            };
            files.retain(|other, _| *other != gone && !other.starts_with(&format!("{gone}/")));
        }
    }
    for (path, file) in layer
        .iter()
        .filter(|(path, _)| !path.rsplit('/').next().unwrap().starts_with(".wh."))
    {
        let mut file = file.clone();
        if file.kind == 'h' {
            file = files[&file.content].clone();
        }
        if file.kind != 'd' {
            files.retain(|other, _| !other.starts_with(&format!("{path}/")));
        }
        files.insert(path.clone(), file);
    }
}

/// A root file system of Debian's static busybox, with users and a link in it.
pub fn busybox(root: &Path) {
    let source = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .map(Path::new)
        .find(|path| path.exists());
    let source = source.expect("the tests need busybox: apt-get install busybox-static");
    for folder in ["usr/bin", "etc", "tmp", "root"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::copy(source, root.join("usr/bin/busybox")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    for applet in [
        "sh", "cat", "echo", "ls", "mkdir", "rm", "touch", "chmod", "chown", "id", "env", "sleep",
        "pwd", "cp", "mv", "ln", "stat", "date", "wc", "grep", "test", "false", "true",
    ] {
        symlink("busybox", root.join("usr/bin").join(applet)).unwrap();
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n",
    )
    .unwrap();
    fs::write(
        root.join("etc/group"),
        "root:x:0:\napp:x:1001:\nstaff:x:50:app\n",
    )
    .unwrap();
}

impl Outcome {
    /// The image, or a panic that shows everything.
    pub fn built(&self) -> &BuiltImage {
        match &self.result {
            Ok(built) => built,
            Err(error) => panic!(
                "{error}\nhint: {:?}\noutput: {:#?}\nsource: {:?}",
                error.hint(),
                error.output(),
                std::error::Error::source(error)
            ),
        }
    }

    pub fn error(&self) -> &BuildError {
        self.result.as_ref().expect_err("the build should fail")
    }

    pub fn output(&self) -> Vec<String> {
        let line = |event: &BuildEvent| match event {
            BuildEvent::Output { line, .. } => Some(line.clone()),
            _ => None,
        };
        self.events.iter().filter_map(line).collect()
    }

    pub fn warnings(&self) -> Vec<String> {
        let message = |event: &BuildEvent| match event {
            BuildEvent::Warning { message, .. } => Some(message.clone()),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }
}
