//! The scheduler proved: its rules as stories, and random schedules against what must always hold.

mod breaker;
mod rolling;
mod simulation;
mod stage;
mod tasks;
