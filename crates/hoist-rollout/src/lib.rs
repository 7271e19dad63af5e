//! Judges an ECS rollout: observations in, verdict and diagnosis out
