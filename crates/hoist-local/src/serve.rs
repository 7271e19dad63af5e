use std::fs::TryLockError;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::serve::ListenerExt as _;
use hoist_oci::RegistryOptions;
use http::{Method, Request, Response, StatusCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::acm::Certificates;
use crate::api;
use crate::clock;
use crate::control::{self, ControlError, DETACHED, Status};
use crate::ctx::{Ctx, Inner};
use crate::dials;
use crate::driver::{self, Crew, Driver, RestoreError, RuntimeDialer, Simulated};
use crate::ec2::{Ec2, Loopback};
use crate::ecr;
use crate::elb::{self, Balancers, Dialer};
use crate::engine::{self, Choice, EngineError};
use crate::events::{self, Events};
use crate::faults::{Fault, FaultSpec, Faults};
use crate::home::Home;
use crate::iam::Iam;
use crate::keys::Keys;
use crate::limits::{Limiting, Limits};
use crate::logs::Logs;
use crate::metadata;
use crate::metrics::Metrics;
use crate::names::{self, CloudMap};
use crate::registry::{self, Registry, RegistryOpenError};
use crate::s3::Objects;
use crate::scaling::Scaling;
use crate::scheduler::Scheduler;
use crate::secrets::Secrets;
use crate::session::{self, Sessions};
use crate::settings::{Pace, Settings, write_whole};
use crate::ssm::Parameters;
use crate::state::{State, StateError};
use crate::vault::Vault;
use crate::{console, scaling};

/// How to serve; what is not given is as the home's settings say.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// The loopback port.
    pub port: Option<u16>,
    /// How long things take.
    pub pace: Option<Pace>,
    /// `native` or `docker`.
    pub runtime: Option<String>,
    /// How many calls are answered.
    pub limits: Option<Limiting>,
    /// What goes wrong on purpose.
    pub faults: Option<FaultSpec>,
}

/// Why the daemon ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The home or its locks.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Another daemon serves this home.
    #[error("another embedded AWS already serves this home")]
    AlreadyRunning,
    /// The port cannot be bound.
    #[error("failed to listen on 127.0.0.1:{port}")]
    Port {
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The image registry.
    #[error(transparent)]
    Registry(#[from] RegistryOpenError),
    /// What ran last time.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The load balancers.
    #[error(transparent)]
    Balancers(#[from] elb::OpenError),
    /// Containers cannot be run here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The scheduler ended, which it never should; the log says more.
    #[error("the scheduler of the embedded AWS ended by itself")]
    Broken,
    /// What an earlier daemon left cannot be removed.
    #[error("failed to remove what an earlier daemon left: {0}")]
    Left(String),
    /// Something of the system.
    #[error("failed to {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ServeError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            ServeError::Control(error) => error.hint(),
            ServeError::AlreadyRunning => Some("see `hoist local status`".to_owned()),
            ServeError::Port { .. } => {
                Some("name another port: hoist local start --port N".to_owned())
            }
            ServeError::State(error) => error.hint().map(str::to_owned),
            ServeError::Restore(_) => Some("start afresh with `hoist local reset`".to_owned()),
            ServeError::Engine(error) => error.hint(),
            ServeError::Balancers(_)
            | ServeError::Registry(_)
            | ServeError::Broken
            | ServeError::Left(_)
            | ServeError::System { .. } => None,
        }
    }
}

fn system(doing: &'static str) -> impl FnOnce(std::io::Error) -> ServeError {
    move |source| ServeError::System { doing, source }
}

/// Serves `home` until SIGTERM or SIGINT. Call it before any thread exists.
///
/// # Errors
/// When it cannot begin: another one serves the home, the port is taken, the state cannot be read.
pub fn serve(home: &Home, options: ServeOptions) -> Result<(), ServeError> {
    let detached = std::env::var_os(DETACHED).is_some();
    if detached {
        // Fails only for a process that already leads a group, and then there is nothing to leave.
        let _ = nix::unistd::setsid();
    }
    home.create().map_err(ControlError::from)?;
    let lock = control::open_lock(home, "daemon.lock")?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(ServeError::AlreadyRunning),
        Err(TryLockError::Error(source)) => return Err(system("lock the home")(source)),
    }
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    let mut settings = Settings::load(home).map_err(system("read the settings"))?;
    settings.port = options.port.or(settings.port);
    settings.pace = options.pace.unwrap_or(settings.pace);
    settings.runtime = options.runtime.or(settings.runtime);
    settings.limits = options.limits.unwrap_or(settings.limits);
    settings.faults = options.faults.unwrap_or(settings.faults);
    let choice = engine::prepare(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("start the event loop"))?;
    // Boxed, so that the whole daemon is compiled once and not once for each way in which the runtime drives a future.
    let daemon: Pin<Box<dyn Future<Output = Result<(), ServeError>> + '_>> =
        Box::pin(run(home, settings, choice, detached));
    let result = runtime.block_on(daemon);
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(lock);
    result
}

async fn run(
    home: &Home,
    mut settings: Settings,
    choice: Choice,
    detached: bool,
) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(system("watch for signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("watch for signals"))?;
    let port = settings.port.unwrap_or(0);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Port { port, source })?;
    let port = listener
        .local_addr()
        .map_err(system("read the port"))?
        .port();
    settings.port = Some(port);
    settings.save(home).map_err(system("write the settings"))?;
    let (ctx, working) = assemble(home, settings, choice, port).await?;
    let status = Status {
        pid: nix::unistd::getpid().as_raw(),
        port,
        pace: ctx.settings.pace,
        since: clock::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lacks: ctx.runtime.lacks(),
    };
    let record = serde_json::to_vec(&status)
        .map_err(std::io::Error::from)
        .map_err(system("write the status"))?;
    write_whole(&Status::path(home), &record).map_err(system("write the status"))?;
    let app = Router::new().fallback({
        let ctx = ctx.clone();
        move |request| route(ctx.clone(), request)
    });
    let stopping = ctx.stopping.clone();
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(
        axum::serve(listener, app)
            .with_graceful_shutdown(async move { stopping.cancelled().await })
            .into_future(),
    );
    tracing::info!(port, pid = status.pid, "serving");
    if detached {
        // Nobody listens if whoever started us is gone; that is no reason to end.
        let mut out = std::io::stdout();
        let _ = out
            .write_all(&record)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
    }
    let broken = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        _ = working => true,
    };
    tracing::info!("stopping");
    ctx.stopping.cancel();
    // Connections that are kept alive and idle end at once; a long answer has a second.
    let _ = tokio::time::timeout(Duration::from_secs(1), server).await;
    if let Err(error) = ctx.runtime.close().await {
        tracing::warn!(%error, "some containers may be left");
    }
    if let Err(error) = remove_volumes(home) {
        tracing::warn!(%error, "the volumes of tasks are left");
    }
    let _ = std::fs::remove_file(Status::path(home));
    if broken {
        Err(ServeError::Broken)
    } else {
        Ok(())
    }
}

/// Brings up what was kept and starts everything that works in the background. The handle ends only if the scheduler does.
async fn assemble(
    home: &Home,
    settings: Settings,
    choice: Choice,
    port: u16,
) -> Result<(Ctx, tokio::task::JoinHandle<()>), ServeError> {
    hoist_oci::install_tls();
    let runtime = engine::start(home, choice).await?;
    remove_volumes(home).map_err(system("remove the files of earlier tasks"))?;
    let state = State::open(&home.file("state.redb"))?;
    let (driver, inbox) = Driver::restore(&state, settings.pace)?;
    let tag = home.tag();
    let loopback = Loopback::open(&state, &tag);
    let dialer: Arc<dyn Dialer> = Arc::new(RuntimeDialer(runtime.clone()));
    let vault = Vault::open(&home.file("vault-key")).map_err(system("read the key of secrets"))?;
    let certificates = Certificates::open(&state, vault.clone());
    let (messages, target_messages) = tokio::sync::mpsc::unbounded_channel();
    let balancers = Balancers::open(
        &state,
        loopback.clone(),
        dialer.clone(),
        messages,
        settings.pace,
        certificates.clone(),
    )
    .await?;
    let host = format!("127.0.0.1:{port}");
    let remote = RegistryOptions {
        retries: 1,
        ..RegistryOptions::default()
    };
    let ctx = Ctx::new(Inner {
        faults: Faults::new(settings.faults.clone()),
        limits: Limits::new(settings.limits),
        ready: api::Ready::default(),
        driver,
        runtime,
        remote: hoist_oci::Registry::new(remote),
        certificates,
        balancers,
        ec2: Ec2::open(&state, &tag, loopback, dialer)?,
        logs: Logs::open(home.file("logs")),
        iam: Iam::open(&state),
        parameters: Parameters::open(&state, vault.clone()),
        secrets: Secrets::open(&state, vault),
        metrics: Metrics::open(&state, settings.pace),
        scaling: Scaling::open(&state),
        objects: Objects::open(&state, home.file("objects")),
        events: Events::open(&state)?,
        scheduler: Scheduler::open(&state),
        map: CloudMap::open(&state),
        home: home.clone(),
        keys: Keys::open(home, &state).map_err(system("read the root key"))?,
        registry: Registry::open(home, &state, &host)?,
        sessions: Sessions::default(),
        state,
        host,
        settings,
        stopping: CancellationToken::new(),
    });
    tokio::spawn(expire_every_hour(ctx.clone()));
    let crew = Crew::new(ctx.clone());
    ctx.sessions.serve(crew.clone());
    driver::sweep(&crew).map_err(|error| ServeError::Left(error.to_string()))?;
    tokio::spawn(driver::listen(crew.clone(), target_messages));
    metadata::open(&crew).await;
    ctx.runtime.set_names(Arc::new(names::Table(ctx.clone())));
    tokio::spawn(scaling::run(crew.clone()));
    tokio::spawn(events::run(ctx.clone()));
    let simulated = (choice == Choice::Simulated).then(Simulated::default);
    let carry_out = move |command| match &simulated {
        Some(simulated) => simulated.carry_out(&crew, command),
        None => crew.carry_out(command),
    };
    let working = tokio::spawn(inbox.run(ctx.clone(), carry_out));
    Ok((ctx, working))
}

/// Removes the volumes of all tasks, none of which runs.
fn remove_volumes(home: &Home) -> std::io::Result<()> {
    match std::fs::remove_dir_all(home.file("tasks")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sends a request where it belongs: the registry, the status page, or the APIs.
async fn route(ctx: Ctx, request: Request<Body>) -> Response<Body> {
    if console::answers(&request) {
        return console::handle(&ctx, &request.into_parts().0).await;
    }
    let path = request.uri().path();
    if request.method() == Method::GET
        && (path == "/_hoist/health" || (path == "/" && is_plain(&request)))
    {
        return health(&ctx);
    }
    if path == "/v2" || path.starts_with("/v2/") {
        let fault = ctx.faults.call("registry");
        if let Some(refused) = fault.and_then(registry_fault) {
            return refused;
        }
        let answer = registry::serve(&ctx.registry, request).await;
        return match fault {
            Some(Fault::ResetAfter) => dials::reset(),
            _ => answer,
        };
    }
    if path.starts_with(session::PATH) {
        return session::handle(&ctx, request).await;
    }
    if path == "/_hoist/lifecycle" {
        return expire(&ctx, &request);
    }
    if path == dials::PATH {
        return dials::handle(&ctx, request).await;
    }
    api::handle(&ctx, request).await
}

/// Applies the lifecycle policies now.
fn expire(ctx: &Ctx, request: &Request<Body>) -> Response<Body> {
    if request.method() != Method::POST || !request.headers().contains_key("x-hoist-control") {
        let message = "send POST with x-hoist-control";
        return json(
            StatusCode::FORBIDDEN,
            &serde_json::json!({ "message": message }),
        );
    }
    match tokio::task::block_in_place(|| ecr::apply_lifecycles(&ctx.registry)) {
        Ok(count) => json(StatusCode::OK, &serde_json::json!({ "expired": count })),
        Err(error) => json(
            StatusCode::INTERNAL_SERVER_ERROR,
            &serde_json::json!({"message": error.to_string()}),
        ),
    }
}

/// Applies the lifecycle policies of repositories again and again.
async fn expire_every_hour(ctx: Ctx) {
    let mut hours = tokio::time::interval(Duration::from_secs(3600));
    loop {
        tokio::select! {
            _ = hours.tick() => {}
            () = ctx.stopping.cancelled() => return,
        }
        if let Err(error) = tokio::task::block_in_place(|| ecr::apply_lifecycles(&ctx.registry)) {
            tracing::error!(%error, "lifecycle policies cannot be applied");
        }
    }
}

/// The answer that takes the place of the registry's, in the words of the OCI distribution specification.
fn registry_fault(fault: Fault) -> Option<Response<Body>> {
    let (status, code, message) = match fault {
        Fault::Throttled => (
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "Rate exceeded",
        ),
        Fault::Error => (
            StatusCode::SERVICE_UNAVAILABLE,
            "UNAVAILABLE",
            "Service Unavailable",
        ),
        Fault::ResetBefore => return Some(dials::reset()),
        Fault::ResetAfter => return None,
    };
    let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
    Some(json(status, &body))
}

/// A GET of `/` may be a query API; a browser's or a probe's has no `Action`.
fn is_plain(request: &Request<Body>) -> bool {
    !request
        .uri()
        .query()
        .unwrap_or_default()
        .contains("Action=")
}

fn health(ctx: &Ctx) -> Response<Body> {
    let body = serde_json::json!({
        "status": if ctx.stopping.is_cancelled() { "stopping" } else { "running" },
        "version": env!("CARGO_PKG_VERSION"),
        "pace": ctx.settings.pace,
    });
    json(StatusCode::OK, &body)
}

/// An answer of JSON.
pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
