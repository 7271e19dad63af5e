//! A time line as a picture: SVG, and a page around it.

use std::fmt::Write as _;

use hoist_rollout::{Phase, Span};

use crate::explain::{Explained, Explanation};
use crate::explain_text::length;

/// Width of the picture, of the names at its left, and of its right edge.
const WIDTH: f64 = 1000.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 24.0;
/// Height of a lane, and of the bar in it.
const LANE: f64 = 26.0;
const BAR: f64 = 18.0;
/// Tasks that are drawn; the rest is counted.
const TASKS: usize = 24;

/// The colour of a phase: cool before ECS is asked, warm while old tasks go.
fn colour(phase: Phase) -> &'static str {
    match phase {
        Phase::Check => "#94a3b8",
        Phase::Build => "#6366f1",
        Phase::Test => "#8b5cf6",
        Phase::Push => "#3b82f6",
        Phase::Register => "#64748b",
        Phase::Before => "#a855f7",
        Phase::Queue => "#cbd5e1",
        Phase::Placement => "#22d3ee",
        Phase::Pull => "#0891b2",
        Phase::Start => "#14b8a6",
        Phase::Health => "#22c55e",
        Phase::Hook => "#d946ef",
        Phase::Shift => "#84cc16",
        Phase::Bake => "#facc15",
        Phase::Drain => "#f97316",
        Phase::Stop => "#ef4444",
        Phase::Ecs => "#e2e8f0",
        Phase::Verify => "#1d4ed8",
    }
}

/// Text as XML holds it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A step of the axis that gives at most ten lines.
fn step(seconds: f64) -> f64 {
    const STEPS: [f64; 15] = [
        0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
        14_400.0,
    ];
    STEPS
        .into_iter()
        .find(|step| seconds / step <= 10.0)
        .unwrap_or(86_400.0)
}

/// `0`, `0.5 s`, `30 s`, `2 min`, `1 h`.
fn tick(seconds: f64) -> String {
    match seconds {
        0.0 => "0".to_owned(),
        seconds if seconds < 60.0 && seconds.fract() != 0.0 => format!("{seconds:.1} s"),
        seconds if seconds < 120.0 || seconds % 60.0 != 0.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

impl Explained {
    /// The picture.
    pub fn svg(&self) -> String {
        let timeline = &self.timeline;
        let began = timeline.began.as_millisecond();
        let all = timeline.millis().max(1) as f64;
        let x = |millis: i64| LEFT + (millis - began) as f64 / all * (WIDTH - LEFT - RIGHT);
        let lanes = timeline.lanes.len().min(TASKS);
        let top = 64.0;
        let below = top + LANE * (lanes as f64 + 1.0) + 8.0;
        let columns = 5;
        let rows = self.phases.len().div_ceil(columns);
        let height = below + 34.0 + rows as f64 * 20.0 + 12.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#0f172a\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        let over = if timeline.over { "in" } else { "for" };
        let _ = writeln!(
            svg,
            "<text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"600\">{}</text>\n<text x=\"16\" y=\"46\" fill=\"#475569\">{}</text>",
            escaped(&format!("{} to {}", self.revision, self.name)),
            escaped(&format!(
                "{} {over} {}, {}, {}",
                self.outcome,
                length(self.seconds),
                self.strategy.to_lowercase().replace('_', "/"),
                timeline.began.strftime("%Y-%m-%d %H:%M:%S UTC")
            ))
        );
        // The axis.
        let step = step(all / 1000.0);
        let mut at = 0.0;
        while at * 1000.0 <= all {
            let place = x(began + (at * 1000.0) as i64);
            let _ = writeln!(
                svg,
                "<line x1=\"{place:.1}\" y1=\"{top}\" x2=\"{place:.1}\" y2=\"{below:.1}\" stroke=\"#e2e8f0\"/><text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#64748b\" font-size=\"11\">{}</text>",
                below + 14.0,
                tick(at)
            );
            at += step;
        }
        let row = |svg: &mut String, index: usize, name: &str, strong: bool, spans: &[Span]| {
            let y = top + LANE * index as f64 + (LANE - BAR) / 2.0;
            let weight = if strong { "600" } else { "400" };
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" font-weight=\"{weight}\">{}</text>",
                LEFT - 10.0,
                y + 13.0,
                escaped(name)
            );
            for span in spans {
                let from = x(span.began.as_millisecond());
                let width = (x(span.ended.as_millisecond()) - from).max(1.0);
                let took = length(span.millis() as f64 / 1000.0);
                let _ = write!(
                    svg,
                    "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{}\"><title>{}: {took}</title></rect>",
                    colour(span.phase),
                    span.phase.name()
                );
                // Words only where they fit.
                if width > took.chars().count() as f64 * 6.5 + 6.0 {
                    let dark = matches!(
                        span.phase,
                        Phase::Build
                            | Phase::Test
                            | Phase::Push
                            | Phase::Register
                            | Phase::Before
                            | Phase::Pull
                            | Phase::Stop
                            | Phase::Verify
                    );
                    let ink = if dark { "#ffffff" } else { "#0f172a" };
                    let _ = write!(
                        svg,
                        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{ink}\" font-size=\"11\">{took}</text>",
                        from + width / 2.0,
                        y + 13.0
                    );
                }
                svg.push('\n');
            }
        };
        row(&mut svg, 0, "all of it", true, &timeline.course);
        for (index, lane) in timeline.lanes.iter().take(TASKS).enumerate() {
            let age = if lane.new { "new" } else { "old" };
            let id = lane.task.get(..8).unwrap_or(&lane.task);
            row(
                &mut svg,
                index + 1,
                &format!("{age} task {id}"),
                false,
                &lane.spans,
            );
        }
        for mark in &timeline.marks {
            let place = x(mark.at.as_millisecond());
            let _ = writeln!(
                svg,
                "<path d=\"M{place:.1} {top} l-3.5 -6 h7 z\" fill=\"#334155\"><title>{}</title></path>",
                escaped(&mark.text)
            );
        }
        for (index, phase) in self.phases.iter().enumerate() {
            let column = (index % columns) as f64;
            let line = (index / columns) as f64;
            let (left, y) = (16.0 + column * 196.0, below + 34.0 + line * 20.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{left}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{}\" stroke=\"#94a3b8\" stroke-width=\"0.5\"/><text x=\"{}\" y=\"{}\">{} <tspan fill=\"#64748b\">{}</tspan></text>",
                colour(phase.phase),
                left + 18.0,
                y + 10.5,
                phase.phase.name(),
                length(phase.seconds)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn section(&self) -> String {
        let mut html = format!("<section>\n{}", self.svg());
        if self.timeline.lanes.len() > TASKS {
            let _ = writeln!(
                html,
                "<p>{} more tasks are not drawn.</p>",
                self.timeline.lanes.len() - TASKS
            );
        }
        html.push_str("<h2>What costs the most</h2>\n");
        if self.costs.is_empty() {
            html.push_str("<p>No setting costs much that could be another.</p>\n");
        } else {
            html.push_str("<table><tr><th>could be saved</th><th>setting</th><th></th></tr>\n");
            for cost in &self.costs {
                let _ = writeln!(
                    html,
                    "<tr><td class=\"n\">{}</td><td><code>{}</code></td><td>{}</td></tr>",
                    length(cost.saves as f64),
                    cost.setting,
                    escaped(&cost.words)
                );
            }
            html.push_str("</table>\n");
        }
        html.push_str("<h2>Phases</h2>\n<table>\n");
        for phase in &self.phases {
            let _ = writeln!(
                html,
                "<tr><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
                length(phase.seconds),
                phase.phase.name(),
                phase.what
            );
        }
        html.push_str("</table>\n");
        if !self.timeline.marks.is_empty() {
            html.push_str("<h2>What ECS said</h2>\n<table>\n");
            for mark in &self.timeline.marks {
                let after = mark.at.as_millisecond() - self.timeline.began.as_millisecond();
                let _ = writeln!(
                    html,
                    "<tr><td class=\"n\">{}</td><td>{}</td></tr>",
                    length(after as f64 / 1000.0),
                    escaped(&mark.text)
                );
            }
            html.push_str("</table>\n");
        }
        for note in &self.notes {
            let _ = writeln!(html, "<p class=\"note\">{}</p>", escaped(note));
        }
        html.push_str("</section>\n");
        html
    }
}

impl Explanation {
    /// The pictures, one below the other.
    pub fn svg(&self) -> String {
        match self.deployments.as_slice() {
            [one] => one.svg(),
            several => {
                // Each picture keeps its own size, at its place below the one before.
                let mut inner = String::new();
                let mut y = 0.0;
                for one in several {
                    let svg = one.svg();
                    let height = svg
                        .split("height=\"")
                        .nth(1)
                        .and_then(|rest| rest.split('"').next()?.parse::<f64>().ok())
                        .unwrap_or(0.0);
                    inner.push_str(&svg.replacen("<svg ", &format!("<svg y=\"{y}\" "), 1));
                    y += height;
                }
                format!(
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\">\n{inner}</svg>\n"
                )
            }
        }
    }

    /// A page that needs nothing from elsewhere.
    pub fn html(&self) -> String {
        let sections: String = self.deployments.iter().map(Explained::section).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>hoist explain</title>\n<style>\nbody {{ font: 14px/1.5 system-ui, sans-serif; color: #0f172a; background: #f1f5f9; margin: 0; padding: 24px }}\nsection {{ background: #fff; max-width: 1000px; margin: 0 auto 24px; padding: 8px 16px 16px; border-radius: 8px; box-shadow: 0 1px 3px #0003 }}\nsvg {{ max-width: 100%; height: auto }}\nh2 {{ font-size: 15px; margin: 16px 0 4px }}\ntable {{ border-collapse: collapse }}\ntd, th {{ text-align: left; padding: 2px 16px 2px 0; vertical-align: top; font-weight: normal }}\nth {{ color: #64748b; white-space: nowrap }}\n.n {{ text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }}\n.note {{ color: #475569 }}\n</style>\n{sections}</html>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain_text::tests::explained;

    #[test]
    fn the_picture_is_well_formed_and_holds_every_lane_and_what_ecs_said() {
        let both = Explanation {
            deployments: vec![explained(), explained()],
        };
        for text in [explained().svg(), both.svg()] {
            let opened = text.matches("<rect").count() + text.matches("<line").count();
            let closed = text.matches("</rect>").count() + text.matches("/>").count();
            assert_eq!(opened, closed, "{text}");
            assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
            assert_eq!(
                text.matches("<text").count(),
                text.matches("</text>").count()
            );
            assert!(text.contains("new task fedcba98") && text.contains("old task 01234567"));
            assert!(text.contains("has begun &lt;draining&gt; &amp; so on"));
        }
    }

    #[test]
    fn the_page_says_what_would_save_time() {
        let page = Explanation {
            deployments: vec![explained()],
        }
        .html();
        assert!(page.contains("<td class=\"n\">4 min 50 s</td><td><code>deregistration_delay.timeout_seconds</code>"), "{page}");
        assert!(
            page.contains("10 s would do") && !page.contains("http://")
                || page.matches("http://").count() == 1
        );
    }

    #[test]
    fn the_axis_has_round_steps() {
        assert_eq!(
            [3.0, 95.0, 480.0, 90_000.0].map(step),
            [0.5, 10.0, 60.0, 14_400.0]
        );
        assert_eq!(
            [0.0, 0.5, 90.0, 120.0, 14_400.0].map(tick),
            ["0", "0.5 s", "90 s", "2 min", "4.0 h"]
        );
    }
}
