//! The story of a deployment: check, build, test, push, provision, register, deploy, verify.
//!
//! [`deploy`] runs it from a project and a client to a URL that answers. Every step tells what it does as [`Event`]s; nothing here
//! prints. What has to survive a kill goes into the [`Journal`].
//!
//! ```
//! use hoist_pipeline::{Event, Events, Step};
//!
//! let events = Events::new(vec![Box::new(|event: &Event| assert!(matches!(event, Event::Note { .. })))]);
//! events.note(Step::Push, "2 layers sent");
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod back;
mod bootstrap;
mod cancel;
mod check;
mod codedeploy;
mod cost;
mod delivery;
mod deploy;
mod drift;
mod ecr;
mod event;
mod exec;
mod existing;
mod explain;
mod explain_picture;
mod explain_text;
mod express;
mod failure;
mod farewell;
mod findings;
mod gate;
mod happenings;
mod history;
mod hook;
mod image;
mod image_push;
mod import;
mod journal;
mod killed;
mod logs;
mod lookout;
mod observe;
mod one_off;
mod parallel;
mod pauses;
mod plan;
mod plan_schedules;
mod plan_text;
mod provision;
mod prune;
mod ready;
mod refusal;
mod register;
mod release;
mod request;
mod resolve;
mod resume;
mod rollout;
mod run;
mod scale;
mod scaling;
mod schedules;
#[cfg(test)]
mod second_opinion;
mod seen;
mod select;
mod service;
mod status;
mod table;
mod target_group;
mod tasks;
mod telemetry;
#[cfg(test)]
mod testing;
mod together;
mod trace;
mod url;
mod waits;
mod watch;
mod work;

pub use bootstrap::{Bootstrapped, Item, State, Trust, Wish, bootstrap, repository_of};
pub use cancel::{Cancel, Canceller, Signal, cancellation};
pub use check::{Checked, Found, Weight, account as check_account};
pub use cost::{Cost, Costs, cost, cost_of_definitions};
pub use deploy::{Deployed, deploy, service_url};
pub use drift::Drift;
pub use event::{Event, Events, ServiceOutcome, Step, StepTimer, Tone};
pub use exec::{LineEnds, Session, Wanted, open as open_session};
pub use explain::{Explained, Explanation, PhaseTime, Which, explain};
pub use failure::{Failure, Kind, Place};
pub use findings::{Finding, Findings, machine_findings};
pub use happenings::{Happening, happenings};
pub use history::{Deployment, History, history};
pub use image::{BuildOptions, Builder, Published, build_failure};
pub use image_push::{ImagePush, push_image};
pub use import::{Imported, import};
pub use journal::{Entry, Intended, Journal, ReleasePlan, What};
pub use logs::{Line, Query, logs};
pub use lookout::{Look, Lookout, note_answer};
pub use observe::{Asks, Observer};
pub use pauses::{Answer, Answered, AnsweredOne, answer_pauses};
pub use plan::{ImagePlan, Plan, ServicePlan, plan};
pub use plan_schedules::SchedulePlan;
pub use prune::{Keep, OldImage, Pruned, prune};
pub use request::{Request, Until, Version};
pub use run::{Asked, run};
pub use scale::{Scale, scale};
pub use select::{one, some};
pub use status::{DeploymentStatus, ServiceStatus, Status, status};
pub use tasks::{TaskStatus, Tasks, tasks};
pub use together::{Together, Watcher};
pub use work::{Work, check, project_failure, project_warnings, works};
