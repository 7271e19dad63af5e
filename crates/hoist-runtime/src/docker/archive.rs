//! Images in the form that `docker load` and `docker import` read.

use std::fs::File;
use std::io::{self, Seek as _, Write};

use hoist_oci::{Compression, Digest, Image, Store};
use tar::{Builder, Header};

use crate::RuntimeError;

/// An image to write: its configuration and its layers as they lie in the store.
pub(super) struct Archive {
    manifest: Vec<u8>,
    config: (String, Vec<u8>),
    layers: Vec<(String, File, u64)>,
}

/// Collects an image of the store under a name. Layers go in as they are, but for those in zstd, which no engine before 23.0 recognises.
pub(super) fn of_image(store: &Store, image: &Image, tag: &str) -> Result<Archive, RuntimeError> {
    let failed = |digest: &Digest| {
        let action = format!("read {digest}");
        move |error: hoist_oci::StoreError| RuntimeError::Store {
            action,
            problem: error.to_string(),
        }
    };
    let config = store
        .read(&image.config_digest)
        .map_err(failed(&image.config_digest))?;
    let config_name = format!("{}.json", image.config_digest.hex());
    let mut layers: Vec<(String, File, u64)> = Vec::new();
    let mut names = Vec::new();
    for layer in &image.manifest.layers {
        let name = format!("{}.tar", layer.digest.hex());
        if !names.contains(&name) {
            let mut blob = store
                .open_blob(&layer.digest)
                .map_err(failed(&layer.digest))?;
            let mut size = layer.size;
            if Compression::of_media_type(&layer.media_type) == Some(Compression::Zstd) {
                (blob, size) =
                    plain(blob).map_err(RuntimeError::system("unpack a layer for the engine"))?;
            }
            layers.push((name.clone(), blob, size));
        }
        names.push(name);
    }
    let manifest =
        serde_json::json!([{ "Config": config_name, "RepoTags": [tag], "Layers": names }]);
    Ok(Archive {
        manifest: manifest.to_string().into_bytes(),
        config: (config_name, config),
        layers,
    })
}

/// What is in a zstd blob, in a file that has no name, and its size.
fn plain(blob: File) -> io::Result<(File, u64)> {
    let mut file = tempfile::tempfile()?;
    let size = io::copy(&mut Compression::Zstd.decoder(blob)?, &mut file)?;
    file.rewind()?;
    Ok((file, size))
}

impl Archive {
    pub(super) fn write(self, to: impl Write) -> io::Result<()> {
        let mut tar = Builder::new(to);
        add(&mut tar, "manifest.json", 0o644, &self.manifest)?;
        add(&mut tar, &self.config.0, 0o644, &self.config.1)?;
        for (name, blob, size) in self.layers {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(size);
            tar.append_data(&mut header, name, blob)?;
        }
        tar.into_inner()?.flush()
    }
}

fn add(tar: &mut Builder<impl Write>, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content)
}

/// A root file system with nothing but `/pause`, a program that sleeps for ever, for this architecture.
pub(super) fn pause(architecture: &str) -> Result<Vec<u8>, RuntimeError> {
    let program = match architecture {
        "amd64" => elf(
            62,
            // mov eax, SYS_pause; syscall; jmp to the start
            &[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7],
        ),
        "arm64" => {
            // mov x0..x4, 0; mov x8, SYS_ppoll; svc 0; b to the start
            let code: [u32; 8] = [
                0xd280_0000,
                0xd280_0001,
                0xd280_0002,
                0xd280_0003,
                0xd280_0004,
                0xd280_0928,
                0xd400_0001,
                0x17ff_fff9,
            ];
            let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
            elf(183, &code)
        }
        other => {
            return Err(RuntimeError::Docker {
                command: "version".to_owned(),
                problem: format!(
                    "the engine runs on {other}, for which there is no sleeping program"
                ),
            });
        }
    };
    let failed = RuntimeError::system("make the image of the sleeping container");
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, "pause", 0o755, &program)
        .and_then(|()| tar.into_inner())
        .map_err(failed)
}

/// A whole ELF executable around some machine code: one header, one loaded segment.
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut file = Vec::new();
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for half in [2u16, machine] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    for entry in [BASE + HEADERS, 64, 0] {
        file.extend(entry.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // The segment: loaded, readable and executable.
    for word in [1u32, 5] {
        file.extend(word.to_le_bytes());
    }
    for entry in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(entry.to_le_bytes());
    }
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_in_zstd_go_in_unpacked_and_others_as_they_are() {
        use hoist_oci::spec::{Descriptor, ImageConfig, Manifest, Platform, media_type};

        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_cache(folder.path()).unwrap();
        let mut layers = Vec::new();
        for form in Compression::ALL {
            let mut writer = form.encoder(Vec::new()).unwrap();
            writer.write_all(b"the layer").unwrap();
            let blob = writer.finish().unwrap();
            store.put(&blob).unwrap();
            layers.push(Descriptor::of(form.media_type(), &blob));
        }
        let kept = [layers[0].size, b"the layer".len() as u64, layers[2].size];
        let config = serde_json::to_vec(&ImageConfig::empty(&Platform::host())).unwrap();
        store.put(&config).unwrap();
        let config = Descriptor::of(media_type::CONFIG, &config);
        let manifest = serde_json::to_vec(&Manifest::new(config, layers)).unwrap();
        store.put(&manifest).unwrap();
        let image = Descriptor::of(media_type::MANIFEST, &manifest);
        let image = store.image(&image, &Platform::host()).unwrap();

        let mut written = Vec::new();
        let archive = of_image(&store, &image, "app:v1").unwrap();
        archive.write(&mut written).unwrap();
        let mut archive = tar::Archive::new(&written[..]);
        let sizes: Vec<u64> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().size())
            .skip(2)
            .collect();
        assert_eq!(sizes, kept);
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn the_sleeping_program_sleeps() {
        use std::io::Read;
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pause");
        let archive = pause("amd64").unwrap();
        let mut archive = tar::Archive::new(&archive[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut program = Vec::new();
        entry.read_to_end(&mut program).unwrap();
        drop(entry);
        std::fs::write(&path, &program).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/syscall", child.id())).unwrap();
        // In the system call `pause`, which never returns.
        while !state().starts_with("34 ") {
            assert!(!state().is_empty());
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(pause("riscv64").is_err());
    }
}
