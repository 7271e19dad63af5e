//! A reader of layers for fuzzing: takes any bytes as an image's only layer, unpacks it, and sees that nothing outside was touched. `fuzz/` has it too.

use std::path::PathBuf;

use hoist_image::{Workspace, import};

/// After so many layers what was unpacked is removed: it takes memory.
const ROUND: usize = 500;

pub struct Reader {
    folder: tempfile::TempDir,
    home: PathBuf,
    workspace: Workspace,
    runtime: tokio::runtime::Runtime,
    reads: usize,
}

impl Reader {
    pub fn new() -> Reader {
        let folder = tempfile::Builder::new()
            .prefix("hoist-fuzz-")
            .tempdir_in("/dev/shm")
            .unwrap();
        let outside = folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("canary"), "sings").unwrap();
        let home = folder.path().join("home-0");
        Reader {
            workspace: Workspace::open(&home).unwrap(),
            home,
            folder,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
            reads: 0,
        }
    }

    /// A folder that no layer may reach.
    pub fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    /// Reads a layer, and says in a few words what came of it.
    ///
    /// # Panics
    /// When something outside was touched.
    pub fn read(&mut self, input: &[u8]) -> String {
        self.reads += 1;
        if self.reads.is_multiple_of(ROUND) {
            std::fs::remove_dir_all(&self.home).unwrap();
            self.home = self.folder.path().join(format!("home-{}", self.reads));
            self.workspace = Workspace::open(&self.home).unwrap();
        }
        // With wrong check sums nothing would get past the first header.
        let input = match input.len() % 4 {
            0 => input.to_vec(),
            _ => repaired(input.to_vec()),
        };
        let file = self.folder.path().join("layer");
        std::fs::write(&file, input).unwrap();
        let came_to = match self.runtime.block_on(import(&self.workspace, &file, "x")) {
            Err(error) => error.message().replace(|c: char| c.is_ascii_digit(), ""),
            Ok(image) => unpacked(&self.workspace, &image),
        };
        let outside = self.outside();
        let canary = std::fs::read_to_string(outside.join("canary")).unwrap();
        assert_eq!(canary, "sings");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        came_to.chars().take(60).collect()
    }
}

/// The kinds of files that the layer of an image has, or how it fails.
fn unpacked(workspace: &Workspace, image: &hoist_oci::spec::Descriptor) -> String {
    let platform = hoist_oci::spec::Platform::host();
    let image = workspace.store.image(image, &platform).unwrap();
    let (layer, diff_id) = (&image.manifest.layers[0], &image.config.rootfs.diff_ids[0]);
    let unpacked = workspace
        .snapshots
        .layer_dir(&workspace.store, layer, diff_id);
    match unpacked {
        Ok(folder) => {
            let files = walkdir::WalkDir::new(folder)
                .into_iter()
                .filter_map(Result::ok);
            let mut kinds: Vec<String> = files
                .map(|file| format!("{:?}", file.file_type()))
                .collect();
            kinds.sort();
            kinds.dedup();
            kinds.join(" ")
        }
        Err(error) => {
            let text = error.to_string();
            text.split(['/', ':']).next().unwrap_or_default().to_owned()
        }
    }
}

/// An archive whose check sums are right, as far as its headers lead from one to the next.
fn repaired(mut archive: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while at + 512 <= archive.len() {
        let mut block = [0; 512];
        block.copy_from_slice(&archive[at..at + 512]);
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        header.set_cksum();
        archive[at..at + 512].copy_from_slice(header.as_bytes());
        let size = header.entry_size().unwrap_or(0).min(1 << 16);
        at += 512 + usize::try_from(size).unwrap().next_multiple_of(512);
    }
    archive
}
