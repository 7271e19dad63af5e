//! The statuses of a service deployment.
//! See <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceDeployment.html>.

/// A status; one that is not known is kept as such, and is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DeploymentStatus {
    Pending,
    InProgress,
    Successful,
    StopRequested,
    Stopped,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
    /// None of the published ones.
    Unknown,
}

impl DeploymentStatus {
    /// Reads the API's word.
    pub fn of(status: &str) -> DeploymentStatus {
        match status {
            "PENDING" => DeploymentStatus::Pending,
            "IN_PROGRESS" => DeploymentStatus::InProgress,
            "SUCCESSFUL" => DeploymentStatus::Successful,
            "STOP_REQUESTED" => DeploymentStatus::StopRequested,
            "STOPPED" => DeploymentStatus::Stopped,
            "ROLLBACK_REQUESTED" => DeploymentStatus::RollbackRequested,
            "ROLLBACK_IN_PROGRESS" => DeploymentStatus::RollbackInProgress,
            "ROLLBACK_SUCCESSFUL" => DeploymentStatus::RollbackSuccessful,
            "ROLLBACK_FAILED" => DeploymentStatus::RollbackFailed,
            _ => DeploymentStatus::Unknown,
        }
    }

    /// Whether nothing comes after it.
    pub fn is_final(self) -> bool {
        self.finality() >= 2
    }

    /// 0 on the way, 1 on the way back, 2 and above final: the worse, the higher.
    pub(crate) fn finality(self) -> u8 {
        match self {
            DeploymentStatus::Pending | DeploymentStatus::InProgress => 0,
            DeploymentStatus::StopRequested
            | DeploymentStatus::RollbackRequested
            | DeploymentStatus::RollbackInProgress => 1,
            DeploymentStatus::Successful => 2,
            DeploymentStatus::Stopped => 3,
            DeploymentStatus::RollbackSuccessful => 4,
            DeploymentStatus::Unknown => 5,
            DeploymentStatus::RollbackFailed => 6,
        }
    }
}
