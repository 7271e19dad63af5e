//! The local ECS scheduler as a pure state machine
