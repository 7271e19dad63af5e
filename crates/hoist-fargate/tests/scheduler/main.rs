//! The scheduler proved: its rules as stories, and random schedules against what must always hold.

#![allow(clippy::unwrap_used)]

mod balance;
mod breaker;
mod pace;
mod rolling;
mod sets;
mod simulation;
mod speed;
mod stage;
mod strategies;
mod tasks;
