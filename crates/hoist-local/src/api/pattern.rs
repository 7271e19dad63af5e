//! The regular expressions of the service models: what Java's `matches` says of them, for as much of the language as they use.

/// A pattern that a whole text must match.
#[derive(Debug)]
pub struct Pattern(Node);

#[derive(Debug)]
enum Node {
    Any,
    Start,
    End,
    Class {
        negated: bool,
        sets: Vec<Set>,
    },
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Repeat {
        node: Box<Node>,
        least: u32,
        most: u32,
    },
    Look {
        node: Box<Node>,
        negated: bool,
    },
}

#[derive(Debug)]
enum Set {
    Range(char, char),
    Word,
    Digit,
    Space,
    NotSpace,
    NotWord,
    NotDigit,
    Letter,
    Number,
    Separator,
    Punctuation,
    Mark,
    Symbol,
    Print,
}

impl Set {
    fn has(&self, letter: char) -> bool {
        match self {
            Set::Range(first, last) => (*first..=*last).contains(&letter),
            Set::Word => letter.is_ascii_alphanumeric() || letter == '_',
            Set::NotWord => !(letter.is_ascii_alphanumeric() || letter == '_'),
            Set::Digit => letter.is_ascii_digit(),
            Set::NotDigit => !letter.is_ascii_digit(),
            Set::Space => " \t\n\x0b\x0c\r".contains(letter),
            Set::NotSpace => !" \t\n\x0b\x0c\r".contains(letter),
            Set::Letter => letter.is_alphabetic(),
            Set::Number => letter.is_numeric(),
            Set::Separator => letter.is_whitespace() && !letter.is_control(),
            Set::Print => (' '..='~').contains(&letter),
            // Outside ASCII these categories need tables; a letter that is in none of the others is let through.
            Set::Punctuation => {
                letter.is_ascii_punctuation() && !"$+<=>^`|~".contains(letter) || other(letter)
            }
            Set::Symbol => "$+<=>^`|~".contains(letter) || other(letter),
            Set::Mark => other(letter),
        }
    }
}

fn other(letter: char) -> bool {
    !letter.is_ascii()
        && !letter.is_alphanumeric()
        && !letter.is_control()
        && !letter.is_whitespace()
}

/// How many steps a match may take. No name of a sane length needs as many; what does is let through.
const PATIENCE: u32 = 200_000;

impl Pattern {
    /// Reads a pattern; `None` if it uses what is not read here.
    pub fn parse(text: &str) -> Option<Pattern> {
        let letters: Vec<char> = text.chars().collect();
        let mut parser = Parser { letters, at: 0 };
        let node = parser.either()?;
        (parser.at == parser.letters.len()).then_some(Pattern(node))
    }

    /// Whether the whole text is as the pattern says.
    pub fn matches(&self, text: &str) -> bool {
        let letters: Vec<char> = text.chars().collect();
        let mut patience = PATIENCE;
        let whole = step(&self.0, &letters, 0, &mut patience, &mut |at, _| {
            at == letters.len()
        });
        whole || patience == 0
    }
}

type Next<'a> = &'a mut dyn FnMut(usize, &mut u32) -> bool;

fn step(node: &Node, letters: &[char], at: usize, patience: &mut u32, next: Next<'_>) -> bool {
    if *patience == 0 {
        return false;
    }
    *patience -= 1;
    match node {
        Node::Any => letters.get(at).is_some_and(|it| *it != '\n') && next(at + 1, patience),
        Node::Start => at == 0 && next(at, patience),
        Node::End => at == letters.len() && next(at, patience),
        Node::Class { negated, sets } => {
            let found = letters
                .get(at)
                .is_some_and(|letter| sets.iter().any(|set| set.has(*letter)) != *negated);
            found && next(at + 1, patience)
        }
        Node::Sequence(nodes) => sequence(nodes, letters, at, patience, next),
        Node::Either(nodes) => nodes
            .iter()
            .any(|node| step(node, letters, at, patience, next)),
        Node::Repeat { node, least, most } => {
            repeat(node, *least, *most, letters, at, patience, next)
        }
        Node::Look { node, negated } => {
            let found = step(node, letters, at, patience, &mut |_, _| true);
            found != *negated && next(at, patience)
        }
    }
}

fn sequence(
    nodes: &[Node],
    letters: &[char],
    at: usize,
    patience: &mut u32,
    next: Next<'_>,
) -> bool {
    match nodes.split_first() {
        None => next(at, patience),
        Some((first, rest)) => step(first, letters, at, patience, &mut |at, patience| {
            sequence(rest, letters, at, patience, next)
        }),
    }
}

fn repeat(
    node: &Node,
    least: u32,
    most: u32,
    letters: &[char],
    at: usize,
    patience: &mut u32,
    next: Next<'_>,
) -> bool {
    if let Node::Class { negated, sets } = node {
        // Runs of one class are most of what patterns are, and need no stack.
        let room = usize::try_from(most).unwrap_or(usize::MAX);
        let run = letters[at..]
            .iter()
            .take(room)
            .take_while(|letter| sets.iter().any(|set| set.has(**letter)) != *negated)
            .count();
        let least = least as usize;
        return (least..=run)
            .rev()
            .any(|count| *patience > 0 && next(at + count, patience));
    }
    if most > 0 {
        let more = step(node, letters, at, patience, &mut |after, patience| {
            // An empty turn would go on for ever.
            (after > at || least > 0)
                && repeat(
                    node,
                    least.saturating_sub(1),
                    most.saturating_sub(1),
                    letters,
                    after,
                    patience,
                    next,
                )
        });
        if more {
            return true;
        }
    }
    least == 0 && next(at, patience)
}

struct Parser {
    letters: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(letter)
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = text
            .chars()
            .enumerate()
            .all(|(offset, letter)| self.letters.get(self.at + offset) == Some(&letter));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn either(&mut self) -> Option<Node> {
        let mut branches = vec![self.sequence()?];
        while self.skip("|") {
            branches.push(self.sequence()?);
        }
        Some(if branches.len() == 1 {
            branches.remove(0)
        } else {
            Node::Either(branches)
        })
    }

    fn sequence(&mut self) -> Option<Node> {
        let mut nodes = Vec::new();
        while let Some(letter) = self.peek() {
            if letter == '|' || letter == ')' {
                break;
            }
            let node = self.atom()?;
            nodes.push(self.quantified(node)?);
        }
        Some(Node::Sequence(nodes))
    }

    fn atom(&mut self) -> Option<Node> {
        Some(match self.take()? {
            '.' => Node::Any,
            '^' => Node::Start,
            '$' => Node::End,
            '[' => self.class()?,
            '(' => {
                let look = if self.skip("?=") {
                    Some(false)
                } else if self.skip("?!") {
                    Some(true)
                } else {
                    if !self.skip("?:") && self.peek() == Some('?') {
                        return None;
                    }
                    None
                };
                let node = self.either()?;
                if !self.skip(")") {
                    return None;
                }
                match look {
                    Some(negated) => Node::Look {
                        node: Box::new(node),
                        negated,
                    },
                    None => node,
                }
            }
            '\\' => Node::Class {
                negated: false,
                sets: vec![self.escape()?],
            },
            '*' | '+' | '?' => return None,
            letter => Node::Class {
                negated: false,
                sets: vec![Set::Range(letter, letter)],
            },
        })
    }

    fn quantified(&mut self, node: Node) -> Option<Node> {
        let (least, most) = match self.peek() {
            Some('*') => (0, u32::MAX),
            Some('+') => (1, u32::MAX),
            Some('?') => (0, 1),
            Some('{') => {
                self.at += 1;
                let end = self.letters[self.at..].iter().position(|it| *it == '}')? + self.at;
                let text: String = self.letters[self.at..end].iter().collect();
                self.at = end;
                match text.split_once(',') {
                    None => (text.parse().ok()?, text.parse().ok()?),
                    Some((least, "")) => (least.parse().ok()?, u32::MAX),
                    Some((least, most)) => (least.parse().ok()?, most.parse().ok()?),
                }
            }
            _ => return Some(node),
        };
        self.at += 1;
        // Whether a repetition is greedy or not makes no difference to a whole match.
        self.skip("?");
        Some(Node::Repeat {
            node: Box::new(node),
            least,
            most,
        })
    }

    fn class(&mut self) -> Option<Node> {
        let negated = self.skip("^");
        let mut sets = Vec::new();
        let mut first = true;
        loop {
            let letter = self.take()?;
            let set = match letter {
                ']' if !first => break,
                '[' => return None,
                '\\' => self.escape()?,
                letter => Set::Range(letter, letter),
            };
            first = false;
            let is_range = self.peek() == Some('-')
                && self.letters.get(self.at + 1).is_some_and(|it| *it != ']');
            match set {
                Set::Range(low, high) if is_range && low == high => {
                    self.at += 1;
                    let end = match self.take()? {
                        '\\' => self.escape()?,
                        letter => Set::Range(letter, letter),
                    };
                    match end {
                        Set::Range(high, _) => sets.push(Set::Range(low, high)),
                        // `a-\w` is the letter, a hyphen and the set.
                        set => {
                            sets.extend([Set::Range(low, low), Set::Range('-', '-'), set]);
                        }
                    }
                }
                set => sets.push(set),
            }
        }
        Some(Node::Class { negated, sets })
    }

    fn escape(&mut self) -> Option<Set> {
        let one = |letter: char| Set::Range(letter, letter);
        Some(match self.take()? {
            'w' => Set::Word,
            'W' => Set::NotWord,
            'd' => Set::Digit,
            'D' => Set::NotDigit,
            's' => Set::Space,
            'S' => Set::NotSpace,
            't' => one('\t'),
            'n' => one('\n'),
            'r' => one('\r'),
            'u' => one(self.number(4)?),
            'x' => one(self.number(2)?),
            'p' => {
                let end = self.letters[self.at..].iter().position(|it| *it == '}')? + self.at;
                let name: String = self.letters.get(self.at + 1..end)?.iter().collect();
                self.at = end + 1;
                match name.as_str() {
                    "L" => Set::Letter,
                    "N" => Set::Number,
                    "Z" => Set::Separator,
                    "P" => Set::Punctuation,
                    "M" => Set::Mark,
                    "S" => Set::Symbol,
                    "Print" => Set::Print,
                    _ => return None,
                }
            }
            letter if letter.is_ascii_alphanumeric() => return None,
            letter => one(letter),
        })
    }

    fn number(&mut self, digits: usize) -> Option<char> {
        let text: String = self
            .letters
            .get(self.at..self.at + digits)?
            .iter()
            .collect();
        self.at += digits;
        let code = u32::from_str_radix(&text, 16).ok()?;
        // The models write whole planes as halves of surrogates; the nearest letters stand for them.
        Some(char::from_u32(code).unwrap_or(if code < 0xdc00 {
            '\u{d7ff}'
        } else {
            '\u{10ffff}'
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_of_the_models_accept_and_refuse() {
        let arn = r"^arn:aws[a-z0-9-]*:iam::\d{12}:role/[\w+=,.@/-]+$";
        let repository = r"^(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*$";
        for (pattern, good, bad) in [
            (r"[\w+=,.@-]+", "ecs-task.Role@1", "a b"),
            (
                arn,
                "arn:aws:iam::123456789012:role/x/y",
                "arn:aws:iam::1:role/x",
            ),
            (repository, "team/app_1/web-x", "Team/app"),
            (repository, "a", "a//b"),
            (r"^(?!\s*$).+", " x", "   "),
            (r"(?!^-)(?!.*-$)^[A-Za-z0-9-]+$", "a-b", "a-"),
            (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "Straße 1", "a;b"),
            (r"[\u0020-\uD7FF\uE000-\uFFFD\r\n\t]*", "ü\n", "\u{1}"),
            (r"(\d{12}|\*)", "*", "**"),
            (r"[^:*]*", "a", "a:"),
            (r"^(range|count|sum)", "sum", "summe"),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert!(parsed.matches(good), "{pattern} {good}");
            assert!(!parsed.matches(bad), "{pattern} {bad}");
        }
    }

    #[test]
    fn a_pattern_that_takes_for_ever_lets_the_text_through() {
        let pattern = Pattern::parse(r"^(\w+\w+)+$").unwrap();
        assert!(pattern.matches(&format!("{}!", "a".repeat(60))));
    }
}
