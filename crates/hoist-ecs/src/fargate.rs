//! Sizes that Fargate runs.

/// A size of Fargate: CPU units (1024 is one vCPU) and memory in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size {
    /// CPU units, 1024 to a vCPU.
    pub cpu: u32,
    /// Memory, MiB.
    pub memory: u32,
}

/// CPU units that Fargate offers (AWS documentation, "Task CPU and memory"). 32768 was refused in a live probe of August 2026.
pub const CPU_UNITS: [u32; 7] = [256, 512, 1024, 2048, 4096, 8192, 16384];

/// Memory sizes in MiB that go with a number of CPU units; empty if Fargate has no such CPU.
pub fn memory_sizes(cpu: u32) -> Vec<u32> {
    const GB: u32 = 1024;
    let steps =
        |from: u32, to: u32, by: u32| (from..=to).step_by(by as usize).map(|gb| gb * GB).collect();
    match cpu {
        256 => vec![512, GB, 2 * GB],
        512 => steps(1, 4, 1),
        1024 => steps(2, 8, 1),
        2048 => steps(4, 16, 1),
        4096 => steps(8, 30, 1),
        8192 => steps(16, 60, 4),
        16384 => steps(32, 120, 8),
        _ => Vec::new(),
    }
}

/// All 74 sizes, smallest first.
pub fn sizes() -> Vec<Size> {
    CPU_UNITS
        .into_iter()
        .flat_map(|cpu| {
            memory_sizes(cpu)
                .into_iter()
                .map(move |memory| Size { cpu, memory })
        })
        .collect()
}

impl Size {
    /// Whether Fargate runs this size.
    pub fn is_valid(self) -> bool {
        memory_sizes(self.cpu).contains(&self.memory)
    }

    /// Valid sizes nearest to this one, best first: the same CPU with the nearest memory below and above, then the
    /// smallest other CPU that holds the memory.
    pub fn neighbours(self) -> Vec<Size> {
        let mut found = Vec::new();
        let mut add = |size: Size| {
            if !found.contains(&size) {
                found.push(size);
            }
        };
        let same = memory_sizes(self.cpu);
        if let Some(above) = same.iter().find(|memory| **memory >= self.memory) {
            add(Size {
                cpu: self.cpu,
                memory: *above,
            });
        }
        if let Some(below) = same.iter().rev().find(|memory| **memory <= self.memory) {
            add(Size {
                cpu: self.cpu,
                memory: *below,
            });
        }
        let mut others: Vec<u32> = CPU_UNITS
            .into_iter()
            .filter(|cpu| *cpu != self.cpu)
            .collect();
        others.sort_by_key(|cpu| cpu.abs_diff(self.cpu));
        for cpu in others {
            if memory_sizes(cpu).contains(&self.memory) {
                add(Size {
                    cpu,
                    memory: self.memory,
                });
                break;
            }
        }
        if found.is_empty() {
            let mut all = sizes();
            all.sort_by_key(|size| {
                (
                    size.cpu.abs_diff(self.cpu),
                    size.memory.abs_diff(self.memory),
                )
            });
            found.extend(all.into_iter().take(2));
        }
        found.truncate(3);
        found
    }

    /// Virtual CPUs.
    pub fn vcpus(self) -> f64 {
        f64::from(self.cpu) / 1024.0
    }

    /// Memory in GB as Fargate bills it (1024 MiB).
    pub fn gigabytes(self) -> f64 {
        f64::from(self.memory) / 1024.0
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} CPU units and {} MiB", self.cpu, self.memory)
    }
}

/// The processor of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Architecture {
    /// `X86_64`, what a task definition without `runtimePlatform` gets.
    #[default]
    X86_64,
    /// `ARM64` (Graviton).
    Arm64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_74_sizes() {
        assert_eq!(sizes().len(), 74);
        assert!(sizes().iter().all(|size| size.is_valid()));
        assert!(
            !Size {
                cpu: 32768,
                memory: 65536
            }
            .is_valid()
        );
    }

    #[test]
    fn neighbours_of_a_wrong_size_are_valid_and_near() {
        let near = Size {
            cpu: 256,
            memory: 4096,
        }
        .neighbours();
        assert_eq!(
            near,
            [
                Size {
                    cpu: 256,
                    memory: 2048
                },
                Size {
                    cpu: 512,
                    memory: 4096
                }
            ]
        );
        let near = Size {
            cpu: 1024,
            memory: 2500,
        }
        .neighbours();
        assert_eq!(
            near,
            [
                Size {
                    cpu: 1024,
                    memory: 3072
                },
                Size {
                    cpu: 1024,
                    memory: 2048
                }
            ]
        );
        for cpu in [0, 1, 300, 512, 4096, 99999] {
            for memory in [0, 100, 1000, 3333, 200_000] {
                let near = Size { cpu, memory }.neighbours();
                assert!(
                    !near.is_empty() && near.iter().all(|size| size.is_valid()),
                    "{cpu} {memory}"
                );
            }
        }
    }
}
