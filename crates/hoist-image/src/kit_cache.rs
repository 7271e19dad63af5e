//! The cache of steps that BuildKit keeps in a registry, in its own form: one tag for each processor, beside the embedded engine's.
//!
//! A BuildKit at an address writes it there itself, with all stages (<https://docs.docker.com/build/cache/backends/registry/>). That of a Docker Engine
//! puts it into the image (<https://docs.docker.com/build/cache/backends/inline/>), so that it is the image that has the tag, and
//! stages of which nothing is in the image are not in the cache.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use hoist_oci::spec::Platform;
use hoist_oci::{ImageRef, RegistryOptions};
use serde_json::{Value, json};

use crate::error::{BuildError, BuildErrorKind, Result};
use crate::request::{BuildRequest, RegistryCache};

/// Where BuildKit keeps what the embedded engine keeps at `at`.
pub(crate) fn place(at: &RegistryCache, platform: &Platform) -> ImageRef {
    let mut tag = format!(
        "{}-buildkit-{}",
        at.reference.reference(),
        platform.architecture
    );
    if let Some(variant) = &platform.variant {
        tag = format!("{tag}-{variant}");
    }
    at.reference.with_tag(tag)
}

/// What a BuildKit at an address reads, and what it writes: the values of `--import-cache` and `--export-cache`, which buildx calls `--cache-from` and
/// `--cache-to`.
pub(crate) fn options(request: &BuildRequest) -> (Option<String>, Option<String>) {
    let Some(at) = &request.registry_cache else {
        return (None, None);
    };
    let mut common = format!("type=registry,ref={}", place(at, &request.platform));
    if at
        .registry
        .plain_http
        .iter()
        .any(|host| host == at.reference.host())
    {
        common.push_str(",registry.insecure=true");
    }
    // ECR takes a cache in the form of an image only.
    let export = format!("{common},mode=max,image-manifest=true,oci-mediatypes=true");
    ((!request.no_cache).then_some(common), Some(export))
}

/// What a Docker Engine is told.
pub(crate) fn docker_options(request: &BuildRequest) -> Vec<String> {
    let Some(at) = &request.registry_cache else {
        return Vec::new();
    };
    let mut options = vec!["--build-arg=BUILDKIT_INLINE_CACHE=1".to_owned()];
    if !request.no_cache {
        options.push(format!("--cache-from={}", place(at, &request.platform)));
    }
    options
}

/// A folder for `DOCKER_CONFIG`, below `parent`, by which the client of a BuildKit knows the credentials that hoist has, beside what the user's own folder
/// holds. Nothing, if hoist has none.
pub(crate) fn docker_config(request: &BuildRequest, parent: &Path) -> Result<Option<PathBuf>> {
    let mut credentials = request.registry.credentials.clone();
    if let Some(at) = &request.registry_cache {
        credentials.extend(at.registry.credentials.clone());
    }
    if credentials.is_empty() {
        return Ok(None);
    }
    let own = RegistryOptions::docker_config_path();
    let folder = parent.join("docker");
    written(own.as_deref(), &folder, &credentials)
        .map_err(|error| BuildError::io("hand the credentials of registries to BuildKit", error))?;
    Ok(Some(folder))
}

fn written(
    own: Option<&Path>,
    folder: &Path,
    credentials: &BTreeMap<String, (String, String)>,
) -> io::Result<()> {
    fs::create_dir(folder)?;
    let mut config = json!({});
    if let Some(own) = own {
        match fs::read(own) {
            Ok(bytes) => config = serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Plug-ins, contexts and builders stay where they are.
        let beside = own.parent().and_then(|own| fs::canonicalize(own).ok());
        for entry in beside
            .and_then(|own| fs::read_dir(own).ok())
            .into_iter()
            .flatten()
        {
            let entry = entry?;
            if entry.file_name() != "config.json" {
                symlink(entry.path(), folder.join(entry.file_name()))?;
            }
        }
    }
    for (host, (user, password)) in credentials {
        set(
            &mut config,
            "auths",
            host,
            json!({"username": user, "password": password}),
        );
        // Without a helper's name the file itself is asked, also where all others are in a helper.
        set(&mut config, "credHelpers", host, json!(""));
    }
    let mut file = fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(folder.join("config.json"))?;
    file.write_all(config.to_string().as_bytes())
}

/// Sets an entry of a list in a configuration; whatever else is there instead of a list goes.
fn set(config: &mut Value, list: &str, key: &str, value: Value) {
    if !config.is_object() {
        *config = json!({});
    }
    if !config[list].is_object() {
        config[list] = json!({});
    }
    config[list][key] = value;
}

/// Refuses what this engine cannot do.
pub(crate) fn check(request: &BuildRequest) -> Result<()> {
    if request.debug_shell {
        return Err(BuildError::new(
            BuildErrorKind::Unsupported,
            "the engine buildkit opens no shell where a step fails",
        )
        .with_hint("build with --engine embedded, or without --debug-shell"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> BuildRequest {
        BuildRequest {
            platform: "linux/arm64/v8".parse().unwrap(),
            registry_cache: Some(RegistryCache {
                registry: RegistryOptions {
                    credentials: [("r:5000".to_owned(), ("AWS".to_owned(), "secret".to_owned()))]
                        .into(),
                    plain_http: vec!["r:5000".into()],
                    ..RegistryOptions::default()
                },
                reference: "r:5000/app:hoist-cache".parse().unwrap(),
                lazy: true,
            }),
            ..BuildRequest::new("ctx")
        }
    }

    #[test]
    fn each_platform_has_a_tag_of_its_own() {
        let mut request = request();
        let read =
            "type=registry,ref=r:5000/app:hoist-cache-buildkit-arm64-v8,registry.insecure=true";
        let written = format!("{read},mode=max,image-manifest=true,oci-mediatypes=true");
        assert_eq!(
            options(&request),
            (Some(read.into()), Some(written.clone()))
        );
        assert_eq!(
            docker_options(&request),
            [
                "--build-arg=BUILDKIT_INLINE_CACHE=1",
                "--cache-from=r:5000/app:hoist-cache-buildkit-arm64-v8"
            ]
        );
        request.no_cache = true;
        assert_eq!(options(&request), (None, Some(written)));
        request.registry_cache = None;
        assert_eq!(
            (options(&request), docker_options(&request)),
            ((None, None), vec![])
        );
    }

    #[test]
    fn our_credentials_come_before_those_of_helpers_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        fs::create_dir_all(own.join("cli-plugins")).unwrap();
        let before =
            r#"{"credsStore":"desktop","auths":{"other":{"auth":"eDp5"}},"currentContext":"c"}"#;
        fs::write(own.join("config.json"), before).unwrap();
        let folder = dir.path().join("ours");
        let credentials = request().registry_cache.unwrap().registry.credentials;
        written(Some(&own.join("config.json")), &folder, &credentials).unwrap();
        let read =
            |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        assert_eq!(
            read(&folder.join("config.json")),
            json!({
                "credsStore": "desktop",
                "auths": {"other": {"auth": "eDp5"}, "r:5000": {"username": "AWS", "password": "secret"}},
                "currentContext": "c",
                "credHelpers": {"r:5000": ""},
            })
        );
        assert!(folder.join("cli-plugins").is_dir());
        assert_eq!(fs::read_to_string(own.join("config.json")).unwrap(), before);
        let mode = std::os::unix::fs::MetadataExt::mode(
            &fs::metadata(folder.join("config.json")).unwrap(),
        );
        assert_eq!(mode & 0o777, 0o600);

        let alone = dir.path().join("alone");
        written(
            Some(Path::new("/nowhere/config.json")),
            &alone,
            &credentials,
        )
        .unwrap();
        assert_eq!(
            read(&alone.join("config.json"))["auths"]["r:5000"]["username"],
            "AWS"
        );
    }

    #[test]
    fn a_shell_is_refused_before_anything_is_built() {
        let mut request = request();
        assert!(check(&request).is_ok());
        request.debug_shell = true;
        let error = check(&request).unwrap_err();
        assert_eq!(error.kind(), BuildErrorKind::Unsupported);
        assert!(error.hint().unwrap().contains("--engine embedded"));
    }
}
