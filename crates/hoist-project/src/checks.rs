//! Values of hoist.yaml that no service could take: paths, ranges, names of variables, bounds of scaling.

use crate::config::ServiceConfig;
use crate::project::{Faults, escape};

pub(crate) fn check_path(faults: &mut Faults<'_>, pointer: &str, path: &str) {
    if !path.starts_with('/') || path.contains(char::is_whitespace) {
        let span = faults.span(pointer);
        faults.error(
            span,
            format!("`{path}` is not a path"),
            "",
            "a path begins with `/` and has no spaces",
        );
    }
}

pub(crate) fn check_range(
    faults: &mut Faults<'_>,
    pointer: &str,
    name: &str,
    value: u32,
    from: u32,
    to: u32,
) {
    if !(from..=to).contains(&value) {
        let span = faults.span(pointer);
        faults.error(
            span,
            format!("`{name}` is {value}, and AWS takes {from} to {to}"),
            &format!("expected {from} to {to}"),
            "",
        );
    }
}

pub(crate) fn check_environment(faults: &mut Faults<'_>, at: &str, config: &ServiceConfig) {
    for (list, names) in [
        (
            "environment",
            config
                .environment
                .iter()
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>(),
        ),
        (
            "secrets",
            config
                .secrets
                .iter()
                .map(|(name, _)| name.to_owned())
                .collect(),
        ),
    ] {
        for name in names {
            let span = faults.key_span(&format!("{at}/{list}/{}", escape(&name)));
            if name.is_empty() || name.contains(['=', '\0']) {
                faults.error(
                    span,
                    format!("`{name}` cannot name an environment variable"),
                    "",
                    "",
                );
            } else if list == "secrets" && config.environment.get(&name).is_some() {
                faults.error(
                    span,
                    format!("`{name}` stands in both `environment` and `secrets`"),
                    "",
                    "keep one of them",
                );
            }
        }
    }
}

pub(crate) fn check_scaling(faults: &mut Faults<'_>, at: &str, config: &ServiceConfig) {
    let Some(scaling) = &config.scaling else {
        return;
    };
    if scaling.max == 0 || scaling.min > scaling.max {
        let span = faults.span(&format!("{at}/scaling/min"));
        faults.error(
            span,
            format!(
                "between {} and {} tasks there is nothing",
                scaling.min, scaling.max
            ),
            "",
            "`min` must not be above `max`",
        );
    }
    for (name, percent) in [("cpu", scaling.cpu), ("memory", scaling.memory)] {
        if let Some(percent) = percent {
            check_range(
                faults,
                &format!("{at}/scaling/{name}"),
                name,
                percent,
                1,
                100,
            );
        }
    }
    if scaling.requests == Some(0) {
        let span = faults.span(&format!("{at}/scaling/requests"));
        faults.error(span, "a target of 0 requests cannot be kept", "", "");
    }
    if scaling
        .cpu
        .or(scaling.memory)
        .or(scaling.requests)
        .is_none()
    {
        let span = faults.key_span(&format!("{at}/scaling"));
        faults.error(
            span,
            "`scaling` has bounds but nothing to scale by",
            "",
            "add `cpu: 60`, `memory: 70` or `requests: 1000`",
        );
    }
    if let Some(count) = config.count
        && !(scaling.min..=scaling.max).contains(&count)
    {
        let span = faults.span(&format!("{at}/count"));
        faults.error(
            span,
            format!(
                "`count` is {count}, outside of what `scaling` allows: {} to {}",
                scaling.min, scaling.max
            ),
            "",
            "",
        );
    }
}
