//! Security groups as packet filter rules of the hub, through which everything between tasks passes.

use std::fmt::Write as _;

use crate::{Guard, Passage};

/// The rules for `nft`, which replace those of before at once.
pub(super) fn table(guards: &[Guard]) -> String {
    let mut text =
        "table inet groups {}\ndelete table inet groups\ntable inet groups {\n".to_owned();
    for (direction, peer) in [("out", "daddr"), ("in", "saddr")] {
        for guard in guards {
            let passages = if direction == "out" {
                &guard.egress
            } else {
                &guard.ingress
            };
            let _ = writeln!(text, "chain {direction}-{} {{", guard.ip);
            for passage in passages {
                if let Some(rule) = rule(passage, peer) {
                    let _ = writeln!(text, "{rule} return");
                }
            }
            text += "drop\n}\n";
        }
    }
    text += "chain pass {\ntype filter hook forward priority filter + 1; policy accept;\nct state established,related accept\n";
    for (direction, own) in [("out", "saddr"), ("in", "daddr")] {
        if !guards.is_empty() {
            let chains = guards
                .iter()
                .map(|guard| format!("{} : jump {direction}-{}", guard.ip, guard.ip));
            let chains = chains.collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "ip {own} vmap {{ {chains} }}");
        }
    }
    text + "}\n}\n"
}

fn rule(passage: &Passage, peer: &str) -> Option<String> {
    if passage.peers.is_empty() {
        return None;
    }
    // The whole of the addresses is no set of them.
    let everyone = passage.peers.iter().any(|(_, prefix)| *prefix == 0);
    let mut rule = String::new();
    if !everyone {
        let mut peers: Vec<String> = passage
            .peers
            .iter()
            .map(|(address, prefix)| format!("{address}/{prefix}"))
            .collect();
        peers.sort();
        peers.dedup();
        let any = peers
            .iter()
            .map(|block| format!("ip {peer} {block}"))
            .collect::<Vec<_>>();
        if any.len() == 1 {
            rule += &format!("{} ", any[0]);
        } else {
            // Blocks that overlap are merged.
            rule += &format!("ip {peer} {{ {} }} ", peers.join(", "));
        }
    }
    match (passage.protocol, passage.ports) {
        (None, _) => {}
        (Some(protocol @ (6 | 17)), Some((first, last))) => {
            let name = if protocol == 6 { "tcp" } else { "udp" };
            rule += &format!("{name} dport {first}-{last} ");
        }
        (Some(protocol), _) => rule += &format!("meta l4proto {protocol} "),
    }
    Some(rule.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_becomes_one_chain_a_direction() {
        let guard = Guard {
            ip: [172, 31, 0, 5].into(),
            ingress: vec![
                Passage {
                    protocol: Some(6),
                    ports: Some((80, 81)),
                    peers: vec![([172, 31, 0, 6].into(), 32), ([10, 0, 0, 0].into(), 8)],
                },
                Passage {
                    protocol: Some(1),
                    ports: None,
                    peers: Vec::new(),
                },
            ],
            egress: vec![Passage {
                protocol: None,
                ports: None,
                peers: vec![([0, 0, 0, 0].into(), 0)],
            }],
        };
        let text = table(&[guard]);
        assert!(
            text.contains("chain out-172.31.0.5 {\n return\ndrop\n}"),
            "{text}"
        );
        assert!(
            text.contains(
                "chain in-172.31.0.5 {\nip saddr { 10.0.0.0/8, 172.31.0.6/32 } tcp dport 80-81 return\ndrop\n}"
            ),
            "{text}"
        );
        assert!(
            text.contains("ip daddr vmap { 172.31.0.5 : jump in-172.31.0.5 }"),
            "{text}"
        );
    }
}
