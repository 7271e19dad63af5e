//! The catalogue of causes: one file each, with its id, its sentence, its match, its fix, and a test from a real message.
//!
//! The order is the order of matching: what explains the most comes first, what merely follows from it (a circuit breaker that acted) last.

mod aborted;
mod alarm_detected;
mod breaker_acted;
mod command_not_executable;
mod command_not_found;
mod container_not_created;
mod container_not_started;
mod container_unhealthy;
mod dependency_unreachable;
mod disk_full;
mod ended_by_itself;
mod ended_by_signal;
mod environment_file_missing;
mod exec_format_error;
mod hook_failed;
mod image_not_found;
mod image_platform_missing;
mod infrastructure_failed;
mod killed;
mod log_access_denied;
mod log_driver_failed;
mod log_group_missing;
mod log_no_route;
mod log_region_wrong;
mod module_missing;
mod network_interface_failed;
mod no_capacity;
mod no_earlier_revision;
mod not_placed;
mod out_of_memory;
mod percent_blocks;
mod port_in_use;
mod port_not_allowed;
mod program_failed;
mod pull_access_denied;
mod pull_failed;
mod pull_no_route;
mod pull_rate_limited;
mod repository_not_found;
mod role_not_assumable;
mod rules_do_not_fit;
mod scheduler_throttled;
mod secret_access_denied;
mod secret_key_missing;
mod secret_missing_asm;
mod secret_missing_ssm;
mod secret_no_route;
mod secret_not_json;
mod segmentation_fault;
mod service_connect_unhealthy;
mod service_linked_role_missing;
mod setting_missing;
mod spot_interruption;
mod start_timed_out;
mod stopped_by_user;
mod subnet_full;
mod target_code_mismatch;
mod target_refuses;
mod target_timeout;
mod target_unhealthy;
mod target_unused;
mod tasks_do_not_start;
mod tasks_protected;
mod user_missing;
mod vcpu_quota_reached;
mod volume_failed;

use crate::diagnosis::Facts;

/// A known cause of failed rollouts.
#[derive(Clone, Copy)]
pub struct Cause {
    /// Its name, and its anchor in `docs/diagnosis.md`.
    pub id: &'static str,
    /// What it is, in a few words.
    pub sentence: &'static str,
    pub(crate) finds: fn(&Facts<'_>) -> Option<Finding>,
}

impl std::fmt::Debug for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

/// A cause that was found in what was seen.
pub(crate) struct Finding {
    /// The cause in one sentence, with what was seen of it.
    pub sentence: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    fn new(sentence: impl Into<String>, fix: impl Into<String>) -> Option<Finding> {
        Some(Finding {
            sentence: sentence.into(),
            fix: fix.into(),
        })
    }
}

/// Every known cause, the most telling first.
pub fn catalogue() -> &'static [Cause] {
    CATALOGUE
}

const CATALOGUE: &[Cause] = &[
    repository_not_found::CAUSE,
    pull_rate_limited::CAUSE,
    image_platform_missing::CAUSE,
    image_not_found::CAUSE,
    pull_access_denied::CAUSE,
    pull_no_route::CAUSE,
    disk_full::CAUSE,
    pull_failed::CAUSE,
    secret_key_missing::CAUSE,
    secret_not_json::CAUSE,
    secret_access_denied::CAUSE,
    secret_no_route::CAUSE,
    secret_missing_asm::CAUSE,
    secret_missing_ssm::CAUSE,
    log_group_missing::CAUSE,
    log_access_denied::CAUSE,
    log_region_wrong::CAUSE,
    log_no_route::CAUSE,
    log_driver_failed::CAUSE,
    environment_file_missing::CAUSE,
    volume_failed::CAUSE,
    role_not_assumable::CAUSE,
    service_linked_role_missing::CAUSE,
    subnet_full::CAUSE,
    network_interface_failed::CAUSE,
    vcpu_quota_reached::CAUSE,
    no_capacity::CAUSE,
    spot_interruption::CAUSE,
    infrastructure_failed::CAUSE,
    user_missing::CAUSE,
    exec_format_error::CAUSE,
    module_missing::CAUSE,
    command_not_found::CAUSE,
    command_not_executable::CAUSE,
    out_of_memory::CAUSE,
    port_in_use::CAUSE,
    port_not_allowed::CAUSE,
    segmentation_fault::CAUSE,
    aborted::CAUSE,
    setting_missing::CAUSE,
    dependency_unreachable::CAUSE,
    killed::CAUSE,
    ended_by_signal::CAUSE,
    ended_by_itself::CAUSE,
    program_failed::CAUSE,
    start_timed_out::CAUSE,
    container_not_created::CAUSE,
    container_not_started::CAUSE,
    service_connect_unhealthy::CAUSE,
    container_unhealthy::CAUSE,
    target_code_mismatch::CAUSE,
    target_timeout::CAUSE,
    target_refuses::CAUSE,
    target_unused::CAUSE,
    target_unhealthy::CAUSE,
    percent_blocks::CAUSE,
    tasks_protected::CAUSE,
    alarm_detected::CAUSE,
    rules_do_not_fit::CAUSE,
    hook_failed::CAUSE,
    stopped_by_user::CAUSE,
    no_earlier_revision::CAUSE,
    breaker_acted::CAUSE,
    tasks_do_not_start::CAUSE,
    scheduler_throttled::CAUSE,
    not_placed::CAUSE,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn documentation() -> String {
        std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/diagnosis.md"
        ))
        .unwrap()
    }

    #[test]
    fn every_cause_has_its_section_in_the_documentation() {
        let text = documentation();
        for id in CATALOGUE.iter().map(|cause| cause.id).chain(["unknown"]) {
            assert!(
                text.lines().any(|line| line == format!("## {id}")),
                "docs/diagnosis.md has no section `## {id}`"
            );
        }
    }

    #[test]
    fn every_section_of_the_documentation_is_a_cause() {
        for id in documentation()
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
        {
            assert!(
                id == "unknown" || CATALOGUE.iter().any(|cause| cause.id == id),
                "docs/diagnosis.md explains `{id}`, which is no cause"
            );
        }
    }

    #[test]
    fn ids_are_unique_and_in_the_form_of_anchors() {
        let mut ids: Vec<&str> = CATALOGUE.iter().map(|cause| cause.id).collect();
        assert!(
            ids.iter().all(|id| id
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')),
            "{ids:?}"
        );
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), CATALOGUE.len());
        assert!(ids.len() >= 40, "{} causes", ids.len());
    }
}
