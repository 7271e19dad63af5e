//! What `hoist image` prints.

use hoist_image::{Change, Difference, HistoryLine, PruneOptions, Pruned, Why};
use hoist_oci::Image;

use super::human_size;

/// Manifest and configuration as JSON.
pub fn inspected(image: &Image) -> String {
    let value = serde_json::json!({
        "digest": image.descriptor.digest,
        "manifest": image.manifest,
        "configDigest": image.config_digest,
        "config": image.config,
    });
    format!("{value:#}")
}

/// A line a step, oldest first.
pub fn history(lines: &[HistoryLine]) -> String {
    let rows: Vec<String> = lines
        .iter()
        .map(|line| {
            let size = match line.layer {
                Some(_) => human_size(line.size),
                None => "-".to_owned(),
            };
            format!("{size:>10}  {}", hoist_image::readable(&line.created_by))
        })
        .collect();
    rows.join("\n")
}

/// `+`, `-` or `~`, the bytes, and the path.
pub fn differences(differences: &[Difference]) -> String {
    let rows: Vec<String> = differences
        .iter()
        .map(|difference| {
            let sign = match difference.change {
                Change::Added => '+',
                Change::Removed => '-',
                Change::Changed => '~',
            };
            let bytes = human_size(difference.bytes.unsigned_abs());
            let minus = if difference.bytes < 0 { "-" } else { "" };
            format!(
                "{sign} {:>11}  /{}",
                format!("{minus}{bytes}"),
                difference.path.display()
            )
        })
        .collect();
    if rows.is_empty() {
        return "no file differs".to_owned();
    }
    rows.join("\n")
}

/// Steps that are listed by themselves.
const STEPS: usize = 12;

/// Sizes, what is largest, and advice.
pub fn why(why: &Why) -> String {
    let mut out = format!(
        "{} to transfer, {} of files",
        human_size(why.compressed),
        human_size(why.visible)
    );
    if why.hidden > 0 {
        let hidden = human_size(why.hidden);
        out.push_str(&format!(", {hidden} covered or deleted by later layers"));
    }
    out.push('\n');
    let mut section = |title: &str, rows: Vec<(u64, String)>| {
        if !rows.is_empty() {
            out.push_str(&format!("\n{title}\n"));
        }
        for (bytes, text) in rows {
            out.push_str(&format!("{:>10}  {text}\n", human_size(bytes)));
        }
    };
    let steps = why.steps.iter().filter(|(_, bytes)| *bytes > 0);
    let mut steps: Vec<_> = steps.map(|(step, bytes)| (*bytes, step.clone())).collect();
    // The largest come first.
    if steps.len() > STEPS + 1 {
        let rest = steps.split_off(STEPS);
        let bytes = rest.iter().map(|(bytes, _)| bytes).sum();
        steps.push((bytes, format!("{} more steps", rest.len())));
    }
    section("steps", steps);
    let rows = |paths: &[(std::path::PathBuf, u64)]| {
        paths
            .iter()
            .map(|(path, bytes)| (*bytes, format!("/{}", path.display())))
            .collect()
    };
    section("folders", rows(&why.folders));
    section("files", rows(&why.files));
    section(
        "what would make it smaller",
        why.advice
            .iter()
            .map(|advice| (advice.bytes, advice.text.clone()))
            .collect(),
    );
    out.trim_end().to_owned()
}

/// One line.
pub fn pruned(pruned: &Pruned, options: &PruneOptions) -> String {
    let mut line = format!(
        "{} freed, {} stay in the cache",
        human_size(pruned.freed),
        human_size(pruned.kept)
    );
    if !options.unpacked {
        line.push_str("; unpacked layers stay while the embedded AWS runs");
    }
    if pruned.kept > options.limit && !options.grace.is_zero() {
        line.push_str("; what was used in the last hour stays without --now");
    }
    line
}
