//! Results on standard output: text for people, JSON for programs, from the same struct.

use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

/// How a result is written on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON document; one a line where there is no end
    Json,
}

/// Writes a whole result. A closed pipe is no failure.
pub fn report<T: Display + Serialize>(result: &T, format: Format) {
    write(result, format, serde_json::to_string_pretty);
}

/// Writes one of many results on a line of its own.
pub fn item<T: Display + Serialize>(result: &T, format: Format) {
    write(result, format, serde_json::to_string);
}

/// As [`item`], in a colour that belongs to `key`. The colour is dropped where nobody would see it.
pub fn coloured<T: Display + Serialize>(result: &T, key: &str, format: Format) {
    const COLOURS: [u8; 10] = [31, 32, 33, 34, 35, 36, 92, 93, 95, 96];
    if format == Format::Json {
        return item(result, format);
    }
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let colour = COLOURS[(hasher.finish() % COLOURS.len() as u64) as usize];
    let text = result.to_string();
    let mut out = anstream::stdout().lock();
    let _ = writeln!(out, "\x1b[{colour}m{}\x1b[0m", text.trim_end());
}

fn write<T: Display + Serialize>(
    result: &T,
    format: Format,
    json: fn(&T) -> serde_json::Result<String>,
) {
    let text = match format {
        Format::Text => result.to_string(),
        Format::Json => json(result).unwrap_or_default(),
    };
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end());
}
