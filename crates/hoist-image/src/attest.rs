//! Attestations of an image: what is in it (SPDX), and how it came to be (SLSA provenance).
//!
//! Both are in-toto statements about the image's digest. Neither holds a time or a place, so that the same image has the same ones.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use hoist_oci::spec::{Descriptor, Index, Platform, media_type};
use hoist_oci::{Artifact, Compression, Digest, Image};
use serde_json::{Value, json};

use crate::dockerfile::lint::is_secret;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::request::{BuildRequest, BuiltImage};
use crate::syft;
use crate::workspace::Workspace;

const STATEMENT: &str = "application/vnd.in-toto+json";

/// A package of a distribution.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    architecture: String,
    license: Option<String>,
}

/// The packages of a built image as SPDX 2.3 documents, each with what it is attached to: those that dpkg and apk
/// know, and where `syft` is in `PATH`, those that it finds of languages.
///
/// An image of several platforms has a list for each, attached to the manifest of that platform.
///
/// # Errors
/// Fails when the image cannot be read.
pub fn sbom(
    workspace: &Workspace,
    image: &BuiltImage,
    name: &str,
) -> Result<Vec<(Descriptor, Artifact)>> {
    let listed = |(subject, platform): (Descriptor, Platform)| {
        let list = packages(workspace, &subject, &platform, name)?;
        Ok((subject, list))
    };
    subjects(workspace, image)?
        .into_iter()
        .map(listed)
        .collect()
}

/// The images that a built one consists of. One for a single platform is one, also where its index holds more than its manifest.
fn subjects(workspace: &Workspace, image: &BuiltImage) -> Result<Vec<(Descriptor, Platform)>> {
    let mut found = Vec::new();
    if media_type::is_index(&image.manifest.media_type) {
        let index: Index = workspace
            .store
            .read_json(&image.manifest.digest)
            .map_err(unread)?;
        for manifest in index.manifests {
            let artifact = manifest.extra.contains_key("artifactType");
            if let Some(platform) = manifest.platform.clone().filter(|_| !artifact) {
                found.push((manifest, platform));
            }
        }
    }
    if found.len() < 2 {
        found = vec![(image.manifest.clone(), image.platform.clone())];
    }
    Ok(found)
}

fn unread(error: hoist_oci::StoreError) -> BuildError {
    BuildError::from_source(BuildErrorKind::Image, "read the built image", error)
}

fn packages(
    workspace: &Workspace,
    subject: &Descriptor,
    platform: &Platform,
    name: &str,
) -> Result<Artifact> {
    let read = workspace.store.image(subject, platform).map_err(unread)?;
    let files = databases(workspace, &read)?;
    let mut packages: Vec<(&str, Package)> = Vec::new();
    for (path, content) in &files {
        let text = String::from_utf8_lossy(content);
        match path.as_str() {
            "lib/apk/db/installed" => {
                packages.extend(apk(&text).into_iter().map(|package| ("apk", package)))
            }
            "etc/os-release" | "usr/lib/os-release" => {}
            _ => packages.extend(dpkg(&text).into_iter().map(|package| ("deb", package))),
        }
    }
    packages.sort();
    packages.dedup();
    let distribution = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| files.get(*path))
        .and_then(|content| os_id(&String::from_utf8_lossy(content)))
        .unwrap_or_else(|| "linux".to_owned());
    let mut entries: Vec<Value> = packages
        .iter()
        .map(|(kind, package)| {
            json!({
                "name": package.name,
                "versionInfo": package.version,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": false,
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": package.license.as_deref().filter(|text| is_expression(text)).unwrap_or("NOASSERTION"),
                "externalRefs": [{
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": format!(
                        "pkg:{kind}/{distribution}/{}@{}?arch={}",
                        escaped(&package.name), escaped(&package.version), package.architecture
                    ),
                }],
            })
        })
        .collect();
    let mut creators = vec![format!("Tool: hoist-{}", env!("CARGO_PKG_VERSION"))];
    if let Some(more) = syft::look(workspace, &read)? {
        creators.push(format!("Tool: {}", more.tool));
        entries.extend(more.packages);
    }
    for (index, entry) in entries.iter_mut().enumerate() {
        entry["SPDXID"] = json!(format!("SPDXRef-Package-{index}"));
    }
    let relations: Vec<Value> = (0..entries.len())
        .map(|index| {
            json!({
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": format!("SPDXRef-Package-{index}"),
            })
        })
        .collect();
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/{}", subject.digest.hex()),
        "creationInfo": {
            "created": read.config.created.as_deref().unwrap_or("1970-01-01T00:00:00Z"),
            "creators": creators,
        },
        "packages": entries,
        "relationships": relations,
    });
    Ok(statement(
        &subject.digest,
        name,
        "https://spdx.dev/Document",
        document,
    ))
}

/// How a built image came to be, as SLSA provenance 1.0: arguments, bases, and the digest of all inputs.
///
/// `sources` are the addresses of what was built, with their digests, such as `git+https://...` with a `gitCommit`.
/// Values of arguments whose names say that they are secret are left out.
pub fn provenance(
    request: &BuildRequest,
    image: &BuiltImage,
    name: &str,
    sources: &[(String, String, String)],
) -> Artifact {
    let arguments: BTreeMap<&str, &str> = request
        .build_args
        .iter()
        .filter(|(name, _)| !is_secret(name))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let dependencies: Vec<Value> = sources
        .iter()
        .map(|(uri, kind, digest)| json!({"uri": uri, "digest": {kind: digest}}))
        .chain(image.bases.iter().map(|(name, digest)| {
            json!({"uri": format!("pkg:docker/{}", escaped(name)), "digest": {"sha256": digest.hex()}})
        }))
        .collect();
    let platforms: Vec<String> = [&request.platform]
        .into_iter()
        .chain(&request.more_platforms)
        .map(Platform::to_string)
        .collect();
    let predicate = json!({
        "buildDefinition": {
            "buildType": "https://slsa.dev/container-based-build/v0.1",
            "externalParameters": {
                "dockerfile": request.dockerfile,
                "target": request.target,
                "buildArguments": arguments,
                "platform": platforms.join(","),
            },
            "internalParameters": {"engine": image.engine, "inputs": image.inputs.to_string()},
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {"id": format!("hoist@{}", env!("CARGO_PKG_VERSION"))},
        },
    });
    let digest = &image.manifest.digest;
    statement(digest, name, "https://slsa.dev/provenance/v1", predicate)
}

fn statement(digest: &Digest, name: &str, predicate_type: &str, predicate: Value) -> Artifact {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest.hex()}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    });
    Artifact {
        kind: STATEMENT.into(),
        media_type: STATEMENT.into(),
        content: statement.to_string().into_bytes(),
        annotations: vec![("in-toto.io/predicate-type".into(), predicate_type.into())],
    }
}

/// The files that know of packages, by their paths; those of upper layers count.
fn databases(workspace: &Workspace, image: &Image) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for blob in &image.manifest.layers {
        let broken = |error| BuildError::io(format!("read the layer {}", blob.digest), error);
        let file = workspace.store.open_blob(&blob.digest).map_err(unread)?;
        let form = Compression::of_media_type(&blob.media_type).unwrap_or(Compression::None);
        let mut archive = tar::Archive::new(form.decoder(file).map_err(broken)?);
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let path = crate::tree::relative(&entry.path().map_err(broken)?.to_string_lossy());
            if !entry.header().entry_type().is_file() || !is_database(&path) {
                continue;
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(broken)?;
            found.insert(path.display().to_string(), content);
        }
    }
    Ok(found)
}

fn is_database(path: &Path) -> bool {
    let known = [
        "var/lib/dpkg/status",
        "lib/apk/db/installed",
        "etc/os-release",
        "usr/lib/os-release",
    ];
    known.iter().any(|known| path == Path::new(known))
        // Images without a package manager keep a file a package.
        || (path.starts_with("var/lib/dpkg/status.d") && path.extension().is_none_or(|end| end != "md5sums"))
}

/// Packages of `/var/lib/dpkg/status` (deb-control(5)) that are installed.
fn dpkg(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut package = Package::default();
        let mut installed = true;
        for line in paragraph.lines() {
            match line.split_once(": ") {
                Some(("Package", value)) => package.name = value.into(),
                Some(("Version", value)) => package.version = value.into(),
                Some(("Architecture", value)) => package.architecture = value.into(),
                Some(("Status", value)) => installed = value.ends_with(" installed"),
                _ => {}
            }
        }
        if installed && !package.name.is_empty() {
            packages.push(package);
        }
    }
    packages
}

/// Packages of `/lib/apk/db/installed`, whose lines are a letter, a colon and a value.
fn apk(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut package = Package::default();
        for line in paragraph.lines() {
            match line.split_once(':') {
                Some(("P", value)) => package.name = value.into(),
                Some(("V", value)) => package.version = value.into(),
                Some(("A", value)) => package.architecture = value.into(),
                Some(("L", value)) => package.license = Some(value.into()),
                _ => {}
            }
        }
        if !package.name.is_empty() {
            packages.push(package);
        }
    }
    packages
}

/// `ID` of os-release(5).
fn os_id(text: &str) -> Option<String> {
    text.lines()
        .find_map(|line| line.strip_prefix("ID="))
        .map(|value| value.trim_matches(['"', '\'']).to_owned())
}

/// Whether a licence may stand in SPDX as it is.
fn is_expression(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.+ ()".contains(c))
}

/// A part of a package URL: what means something there is escaped.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_distributions_are_read() {
        let status = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u4\nDescription: C\n more: x\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        let found = dpkg(status);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].name.as_str(), found[0].version.as_str()),
            ("libc6", "2.36-9+deb12u4")
        );
        let found = apk(
            "C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\nF:lib\n\nP:busybox\nV:1.36\nA:x86_64\nL:GPL-2.0-only\n",
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].license.as_deref(), Some("MIT"));
        assert_eq!(os_id("NAME=x\nID=\"debian\"\n").as_deref(), Some("debian"));
        assert_eq!(escaped("g++ 1:2"), "g%2B%2B%201%3A2");
    }
}
