//! What most commands begin with: the project, its source, and the build engine's workspace.

use hoist_image::Workspace;
use hoist_local::Home;
use hoist_pipeline::{BuildOptions, Failure, Kind};
use hoist_project::Project;

use crate::arguments;

/// Loads the project that the arguments name.
pub fn load(which: &arguments::Project) -> Result<Project, Failure> {
    let environment = which.environment.as_deref();
    let loaded = match &which.config {
        Some(file) => Project::load(file, environment),
        None => Project::find(&which.folder, environment),
    };
    loaded.map_err(|error| hoist_pipeline::project_failure(&error))
}

/// Opens the build engine's store and cache, with the rights that containers need where this machine grants them.
///
/// Must come before any thread exists. Where there are no such rights, a build that needs none (a Docker Engine's) still works,
/// and any other says what is missing.
pub fn workspace(home: &Home) -> Result<Workspace, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::because(
            Kind::Unexpected,
            format!("failed to open {}", home.path().display()),
            error,
        )
    };
    home.create().map_err(|error| failed(&error))?;
    let _ = hoist_runtime::privilege::acquire();
    Workspace::open(&home.images())
        .map_err(|error| hoist_pipeline::build_failure("failed to open the image store", &error))
}

/// The build options of the command line.
pub fn build_options(building: &arguments::Building) -> BuildOptions {
    BuildOptions {
        engine: match building.engine {
            arguments::Engine::Auto => None,
            arguments::Engine::Embedded => Some(hoist_image::Engine::Embedded),
            arguments::Engine::Buildkit => Some(hoist_image::Engine::Buildkit),
        },
        builder: building.builder.clone(),
        builder_certs: building.builder_certs.clone(),
        no_cache: building.no_cache,
        build_args: building.build_args.clone(),
        target: building.target.clone(),
        labels: building.labels.clone(),
        annotations: building.annotations.clone(),
        secrets: building.secrets.clone(),
        ssh: building.ssh.clone(),
        contexts: building.contexts.clone(),
        debug_shell: building.debug_shell,
        registry_cache: building.registry_cache,
        sbom: building.sbom,
        provenance: building.provenance,
        platforms: building.platforms.clone(),
        soci: building.soci,
        sign: building.sign.clone(),
        init_program: "/proc/self/exe".into(),
    }
}
