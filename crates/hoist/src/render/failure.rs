//! How a failure reads on standard error.

use hoist_pipeline::Failure;

use super::{Output, github, json};

/// Shows `failure` as `output` shows everything: what, why, the details, and the next step.
pub fn failure(failure: &Failure, output: Output) {
    match output.resolved() {
        Output::Json => json::failure(failure),
        Output::Github => github::failure(failure, &text(failure)),
        _ => anstream::eprint!("{}", text(failure)),
    }
}

fn text(failure: &Failure) -> String {
    let mut text = format!("\x1b[1;31merror\x1b[0m: {}\n", failure.message);
    for cause in &failure.causes {
        text.push_str(&format!("  because {cause}\n"));
    }
    if let Some(detail) = &failure.detail {
        for line in detail.lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("  = help: {hint}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use hoist_pipeline::Kind;

    use super::*;

    #[test]
    fn the_next_step_comes_last() {
        let failure = Failure::new(Kind::Build, "failed to read Dockerfile")
            .hint("run it in the right folder");
        assert_eq!(
            text(&failure),
            "\u{1b}[1;31merror\u{1b}[0m: failed to read Dockerfile\n  = help: run it in the right folder\n"
        );
    }
}
