//! What can be turned while the daemon runs: limits and faults.

use axum::body::Body;
use hoist_fargate::Event;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde::{Deserialize, Serialize};

use crate::ctx::Ctx;
use crate::faults::FaultSpec;
use crate::limits::Limiting;
use crate::serve::json;
use crate::settings::Settings;

/// Where they are read (GET) and turned (POST, with the header `x-hoist-control`, which no web page can send).
pub const PATH: &str = "/_hoist/dials";

/// How the dials stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dials {
    /// How many calls are answered.
    pub limits: Limiting,
    /// What goes wrong on purpose.
    pub faults: FaultSpec,
}

#[derive(Deserialize)]
struct Turn {
    #[serde(default)]
    limits: Option<Limiting>,
    #[serde(default)]
    faults: Option<FaultSpec>,
    /// The ARN of a FARGATE_SPOT task whose capacity is taken back.
    #[serde(default)]
    interrupt: Option<String>,
    /// A CloudWatch alarm that goes into ALARM, or leaves it.
    #[serde(default)]
    alarm: Option<Alarm>,
}

#[derive(Deserialize)]
struct Alarm {
    region: String,
    name: String,
    alarming: bool,
}

pub(crate) async fn handle(ctx: &Ctx, request: Request<Body>) -> Response<Body> {
    let refused = |status, why: &str| json(status, &serde_json::json!({"message": why.to_owned()}));
    match *request.method() {
        Method::GET => {}
        Method::POST if request.headers().contains_key("x-hoist-control") => {
            let Ok(body) = Limited::new(request.into_body(), 1 << 16).collect().await else {
                return refused(StatusCode::BAD_REQUEST, "the body cannot be read");
            };
            match serde_json::from_slice::<Turn>(&body.to_bytes()) {
                Ok(turn) => {
                    if let Err(error) = apply(ctx, turn) {
                        return refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
                    }
                }
                Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
            }
        }
        _ => {
            return refused(
                StatusCode::FORBIDDEN,
                "send GET, or POST with x-hoist-control",
            );
        }
    }
    let dials = Dials {
        limits: ctx.limits.get(),
        faults: ctx.faults.spec(),
    };
    json(
        StatusCode::OK,
        &serde_json::to_value(dials).unwrap_or_default(),
    )
}

/// Turns them now, and for the next start.
fn apply(ctx: &Ctx, turn: Turn) -> std::io::Result<()> {
    if let Some(task) = turn.interrupt {
        interrupt(ctx, &task)?;
    }
    if let Some(alarm) = turn.alarm {
        ctx.driver.tell(Event::AlarmChanged {
            region: alarm.region,
            alarm: alarm.name,
            alarming: alarm.alarming,
        });
    }
    let mut settings = Settings::load(&ctx.home)?;
    if let Some(limits) = turn.limits {
        ctx.limits.set(limits);
        settings.limits = limits;
    }
    if let Some(faults) = turn.faults {
        settings.faults = faults.clone();
        ctx.faults.set(faults);
    }
    settings.save(&ctx.home)
}

/// Takes the capacity of a FARGATE_SPOT task back; the task is named by its ARN or its id.
fn interrupt(ctx: &Ctx, name: &str) -> std::io::Result<()> {
    let found = ctx.driver.read(|world| {
        let mut tasks = world
            .all_tasks()
            .filter(|it| it.arn == name || it.id == name);
        let task = tasks.next()?;
        let spot = task.capacity_provider.as_deref() == Some("FARGATE_SPOT");
        Some((task.arn.clone(), spot && task.is_wanted()))
    });
    match found {
        Some((task, true)) => {
            ctx.driver.tell(Event::SpotInterrupted { task });
            Ok(())
        }
        Some((_, false)) => Err(std::io::Error::other(format!(
            "the task {name} does not run on FARGATE_SPOT"
        ))),
        None => Err(std::io::Error::other(format!("there is no task {name}"))),
    }
}

/// An answer that never comes: the connection ends before its first byte. The server knows no other way than to give up the connection's
/// task, which says nothing: an answer whose body breaks off is a whole one to whoever asked only for the head.
pub(crate) fn reset() -> Response<Body> {
    std::panic::resume_unwind(Box::new("a reset on purpose"))
}
