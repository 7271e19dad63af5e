//! Packages that the distribution does not know (npm's, PyPI's, Go's and more), by Anchore's `syft`, where that is installed.
//!
//! Its SPDX document (<https://github.com/anchore/syft>) gives the entries of packages; files, times and random names in it stay away, so that the same
//! image has the same list.

use std::path::Path;
use std::process::{Command, Stdio};

use hoist_oci::Image;
use serde_json::{Value, json};

use crate::engine::on_path;
use crate::error::{BuildError, BuildErrorKind, Result};
use crate::layouts;
use crate::spool;
use crate::workspace::Workspace;

/// Packages that we read ourselves, and the image, which syft lists with the place where it was.
const NOT_OURS: [&str; 3] = ["pkg:deb/", "pkg:apk/", "pkg:oci/"];

/// What syft found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name and version, such as `syft-1.18.1`.
    pub tool: String,
    /// Entries of `packages`, in order, without an id.
    pub packages: Vec<Value>,
}

/// Has syft look into an image; nothing, where it is not installed.
pub(crate) fn look(workspace: &Workspace, image: &Image) -> Result<Option<Found>> {
    let Some(program) = on_path("syft").next() else {
        return Ok(None);
    };
    let folder = spool::folder(&workspace.cache("spool"), "syft")
        .map_err(|error| BuildError::io("make a folder for syft", error))?;
    let layout = folder.path().join("image");
    layouts::export(workspace, &image.descriptor, &layout, "image")?;
    let said = run(&program, &layout)?;
    let document = serde_json::from_slice(&said).map_err(|error| {
        BuildError::new(
            BuildErrorKind::Machine,
            format!("{} said no JSON", program.display()),
        )
        .caused_by(error)
    })?;
    Ok(Some(found(document)))
}

fn run(program: &Path, layout: &Path) -> Result<Vec<u8>> {
    let output = Command::new(program)
        .args(["scan", "--quiet", "--output", "spdx-json"])
        .arg(format!("oci-dir:{}", layout.display()))
        .env("SYFT_CHECK_FOR_APP_UPDATE", "false")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| BuildError::io(format!("run {}", program.display()), error))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().rfind(|line| !line.trim().is_empty());
    Err(BuildError::new(
        BuildErrorKind::Machine,
        format!(
            "{} did not read the image ({}): {}",
            program.display(),
            output.status,
            why.unwrap_or("it says nothing").trim()
        ),
    ))
}

/// The packages of a document, without those that we read ourselves.
fn found(mut document: Value) -> Found {
    let creators = document["creationInfo"]["creators"].as_array();
    let tool = creators
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find_map(|creator| creator.strip_prefix("Tool: "))
        .unwrap_or("syft")
        .to_owned();
    let mut packages: Vec<(String, Value)> = Vec::new();
    if let Value::Array(all) = document["packages"].take() {
        for mut package in all {
            let Some(url) = package_url(&package) else {
                continue;
            };
            if NOT_OURS.iter().any(|kind| url.starts_with(kind)) {
                continue;
            }
            if let Some(fields) = package.as_object_mut() {
                fields.remove("SPDXID");
                // Licences that the rest of its document explains mean nothing without it.
                for key in ["licenseConcluded", "licenseDeclared"] {
                    if fields
                        .get(key)
                        .and_then(Value::as_str)
                        .is_some_and(|text| text.contains("LicenseRef-"))
                    {
                        fields.insert(key.into(), json!("NOASSERTION"));
                    }
                }
                // Ids of files that are not listed.
                fields.insert("filesAnalyzed".into(), json!(false));
                fields.remove("packageVerificationCode");
                fields.remove("hasFiles");
            }
            packages.push((format!("{url} {package}"), package));
        }
    }
    packages.sort_by(|(one, _), (other, _)| one.cmp(other));
    packages.dedup_by(|(one, _), (other, _)| one == other);
    Found {
        tool,
        packages: packages.into_iter().map(|(_, package)| package).collect(),
    }
}

fn package_url(package: &Value) -> Option<String> {
    let references = package["externalRefs"].as_array()?;
    let url = references
        .iter()
        .find(|reference| reference["referenceType"] == "purl")?;
    Some(url["referenceLocator"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_languages_are_taken_and_what_differs_each_time_is_not() {
        let package = |id: &str, url: &str, license: &str| {
            json!({
                "name": "n", "SPDXID": id, "versionInfo": "1", "licenseDeclared": license, "filesAnalyzed": true,
                "packageVerificationCode": {"packageVerificationCodeValue": "0"},
                "externalRefs": [
                    {"referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a:n"},
                    {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url},
                ],
            })
        };
        let document = |first: &str| {
            json!({
                "creationInfo": {"creators": ["Organization: Anchore, Inc", "Tool: syft-1.18.1"], "created": first},
                "packages": [
                    package(first, "pkg:pypi/flask@3.0.3", "BSD-3-Clause"),
                    package("b", "pkg:deb/debian/libc6@2.36", "MIT"),
                    package("d", &format!("pkg:oci/{first}@sha256:00"), "NOASSERTION"),
                    package("c", "pkg:npm/express@4.19.2", "LicenseRef-own"),
                    {"name": "the image", "SPDXID": "SPDXRef-DocumentRoot"},
                ],
            })
        };
        let read = found(document("a"));
        assert_eq!(read.tool, "syft-1.18.1");
        let urls: Vec<_> = read.packages.iter().filter_map(package_url).collect();
        assert_eq!(urls, ["pkg:npm/express@4.19.2", "pkg:pypi/flask@3.0.3"]);
        assert_eq!(read.packages[0]["licenseDeclared"], "NOASSERTION");
        assert_eq!(read.packages[1]["licenseDeclared"], "BSD-3-Clause");
        assert!(read.packages[0].get("SPDXID").is_none());
        assert_eq!(found(document("z")), read);
    }
}
