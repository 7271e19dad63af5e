//! Modes of `--chmod`: octal, or symbolic as in `chmod(1)`.

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chmod {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// `u+rw`, `go=u`, `a-x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Of user, group, others.
    who: [bool; 3],
    /// Nobody was named, which means everybody.
    operator: char,
    permissions: String,
}

impl Chmod {
    /// Reads a mode; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Chmod> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .map(Chmod::Octal);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let mut rest = part;
            let mut who = [false; 3];
            while let Some(c) = rest.chars().next() {
                match c {
                    'u' => who[0] = true,
                    'g' => who[1] = true,
                    'o' => who[2] = true,
                    'a' => who = [true; 3],
                    _ => break,
                }
                rest = &rest[1..];
            }
            if who == [false; 3] {
                who = [true; 3];
            }
            if rest.is_empty() {
                return None;
            }
            while let Some(operator) = rest.chars().next() {
                if !"+-=".contains(operator) {
                    return None;
                }
                rest = &rest[1..];
                let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
                let permissions = &rest[..end];
                let copies = matches!(permissions, "u" | "g" | "o");
                if !copies && !permissions.chars().all(|c| "rwxXst".contains(c)) {
                    return None;
                }
                clauses.push(Clause {
                    who,
                    operator,
                    permissions: permissions.into(),
                });
                rest = &rest[end..];
            }
        }
        Some(Chmod::Symbolic(clauses))
    }

    /// The mode that a file gets.
    pub(crate) fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        let clauses = match self {
            Chmod::Octal(mode) => return *mode,
            Chmod::Symbolic(clauses) => clauses,
        };
        clauses.iter().fold(mode, |mode, clause| {
            let bits: u32 = match clause.permissions.as_str() {
                "u" => (mode >> 6) & 7,
                "g" => (mode >> 3) & 7,
                "o" => mode & 7,
                letters => letters.chars().fold(0, |bits, c| {
                    bits | match c {
                        'r' => 4,
                        'w' => 2,
                        'x' => 1,
                        'X' if is_folder || mode & 0o111 != 0 => 1,
                        _ => 0,
                    }
                }),
            };
            let special = |letter: char| {
                clause.permissions.contains(letter) && clause.permissions.len() != 1
                    || clause.permissions == letter.to_string()
            };
            let mut set = 0;
            let mut reach = 0;
            for (index, shift) in [6, 3, 0].into_iter().enumerate() {
                if clause.who[index] {
                    set |= bits << shift;
                    reach |= 7 << shift;
                }
            }
            if special('s') {
                set |=
                    if clause.who[0] { 0o4000 } else { 0 } | if clause.who[1] { 0o2000 } else { 0 };
            }
            if special('t') {
                set |= 0o1000;
            }
            match clause.operator {
                '+' => mode | set,
                '-' => mode & !set,
                _ => (mode & !reach) | set,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_applied_as_chmod_does() {
        for (text, mode, folder, want) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o777, false, 0o644),
            ("4755", 0o600, false, 0o4755),
            ("+x", 0o644, false, 0o755),
            ("u+x,go-r", 0o644, false, 0o700),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("g=u", 0o640, false, 0o660),
            ("a-w", 0o666, false, 0o444),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o777, true, 0o1777),
        ] {
            assert_eq!(
                Chmod::parse(text).unwrap().apply(mode, folder),
                want,
                "{text}"
            );
        }
        for wrong in ["", "9", "88888", "x", "u", "u+q", "u~x", "77777"] {
            assert_eq!(Chmod::parse(wrong), None, "{wrong}");
        }
    }
}
