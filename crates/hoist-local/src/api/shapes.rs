//! The shapes of requests, as the service models have them; see `xtask/src/table.rs` for the form of the table.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::pattern::Pattern;

/// The generated table.
const TABLE: &str = include_str!("shapes.txt");

/// What a service's requests are made of.
pub struct Model {
    operations: HashMap<&'static str, Option<&'static str>>,
    shapes: HashMap<&'static str, Shape>,
}

/// What a member may be.
pub enum Shape {
    /// Members by name.
    Structure(Vec<Member>),
    /// Items of one shape.
    List(&'static str, Range),
    /// Values of one shape under keys of another.
    Map(&'static str, &'static str, Range),
    /// One of these words.
    Enum(Vec<&'static str>),
    /// A single value.
    Scalar(Kind, Range, Option<(&'static str, Pattern)>),
}

/// A member of a structure.
pub struct Member {
    /// Its name in the model.
    pub name: &'static str,
    /// Its name in a request.
    pub wire: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// Its shape.
    pub shape: &'static str,
}

/// Kinds of single values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    Integer,
    Long,
    Boolean,
    Double,
    Timestamp,
    Blob,
}

/// The least and the most that a value, a length or a number of items may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    pub least: Option<f64>,
    pub most: Option<f64>,
}

/// A model that is read when it is first asked for.
type Unread = LazyLock<Model, Box<dyn FnOnce() -> Model + Send>>;

/// The table, cut up by services but not yet read.
static SERVICES: LazyLock<HashMap<&'static str, Unread>> = LazyLock::new(|| {
    TABLE
        .split("\nservice ")
        .skip(1)
        .filter_map(|part| part.split_once('\n'))
        .map(|(name, lines)| {
            let read: Box<dyn FnOnce() -> Model + Send> = Box::new(move || Model::read(lines));
            (name, LazyLock::new(read))
        })
        .collect()
});

/// The model of a service by its name in signatures.
pub fn model(service: &str) -> Option<&'static Model> {
    SERVICES.get(service).map(|model| &**model)
}

impl Model {
    fn read(lines: &'static str) -> Model {
        let mut model = Model {
            operations: HashMap::new(),
            shapes: HashMap::new(),
        };
        for line in lines.lines() {
            if let Some(operation) = line.strip_prefix("op ") {
                let (name, input) = match operation.split_once(' ') {
                    Some((name, input)) => (name, Some(input)),
                    None => (operation, None),
                };
                model.operations.insert(name, input);
            } else if let Some((name, shape)) = line.split_once(' ') {
                model.shapes.insert(name, Shape::read(shape));
            }
        }
        model
    }

    /// Whether the service has an operation of that name, served here or not.
    pub fn has(&self, operation: &str) -> bool {
        self.operations.contains_key(operation)
    }

    /// The shape of an operation's request, if the table tells it.
    pub fn input(&self, operation: &str) -> Option<&'static str> {
        *self.operations.get(operation)?
    }

    /// The shape of that name; the letters of kinds have none.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.shapes.get(name)
    }
}

impl Shape {
    fn read(text: &'static str) -> Shape {
        let range = |text: &str| match text.trim().split_once("..") {
            None => Range::default(),
            Some((least, most)) => Range {
                least: least.parse().ok(),
                most: most.parse().ok(),
            },
        };
        if let Some(members) = text.strip_prefix('{') {
            let members = members.strip_suffix('}').unwrap_or(members);
            return Shape::Structure(members.split(' ').filter_map(Member::read).collect());
        }
        if let Some((item, rest)) = text.strip_prefix('[').and_then(|it| it.split_once(']')) {
            return Shape::List(item, range(rest));
        }
        if let Some((parts, rest)) = text.strip_prefix('<').and_then(|it| it.split_once('>')) {
            let (key, value) = parts.split_once(',').unwrap_or((parts, "s"));
            return Shape::Map(key, value, range(rest));
        }
        if let Some(words) = text.strip_prefix('=') {
            return Shape::Enum(words.split('|').collect());
        }
        let (kind, rest) = text.split_at(1);
        let (bounds, pattern) = match rest.split_once(" /") {
            Some((bounds, pattern)) => (bounds, pattern.strip_suffix('/')),
            None => (rest, None),
        };
        let pattern = pattern.and_then(|text| Some((text, Pattern::parse(text)?)));
        Shape::Scalar(
            Kind::of(kind).unwrap_or(Kind::String),
            range(bounds),
            pattern,
        )
    }
}

impl Member {
    fn read(text: &'static str) -> Option<Member> {
        let (name, shape) = text.split_once(':')?;
        let (shape, wire) = match shape.split_once('@') {
            Some((shape, wire)) => (shape, Some(wire)),
            None => (shape, None),
        };
        let (name, required) = match name.strip_suffix('!') {
            Some(name) => (name, true),
            None => (name, false),
        };
        Some(Member {
            name,
            wire: wire.unwrap_or(name),
            required,
            shape,
        })
    }
}

impl Kind {
    /// The kind that a letter of the table stands for.
    pub fn of(letter: &str) -> Option<Kind> {
        Some(match letter {
            "s" => Kind::String,
            "i" => Kind::Integer,
            "l" => Kind::Long,
            "b" => Kind::Boolean,
            "d" => Kind::Double,
            "t" => Kind::Timestamp,
            "x" => Kind::Blob,
            _ => return None,
        })
    }

    /// What Java calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "a String",
            Kind::Integer => "an Integer",
            Kind::Long => "a Long",
            Kind::Boolean => "a Boolean",
            Kind::Double => "a Double",
            Kind::Timestamp => "a Date",
            Kind::Blob => "a ByteBuffer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_the_table_leads_to_a_shape() {
        let mut count = 0;
        for (service, model) in SERVICES.iter() {
            let leads = |name: &str| Kind::of(name).is_some() || model.shapes.contains_key(name);
            for input in model.operations.values().flatten() {
                assert!(leads(input), "{service} {input}");
            }
            for (name, shape) in &model.shapes {
                count += 1;
                let good = match shape {
                    Shape::Structure(members) => members.iter().all(|it| leads(it.shape)),
                    Shape::List(item, _) => leads(item),
                    Shape::Map(key, value, _) => leads(key) && leads(value),
                    Shape::Enum(words) => words.iter().all(|word| !word.is_empty()),
                    Shape::Scalar(..) => true,
                };
                assert!(good, "{service} {name}");
            }
        }
        assert_eq!(SERVICES.len(), 14);
        assert!(count > 1500, "{count} shapes");
        let ecs = model("ecs").unwrap();
        assert!(ecs.has("CreateDaemon") && !ecs.has("MakeCoffee"));
        assert_eq!(ecs.input("CreateCluster"), Some("CreateClusterRequest"));
    }

    #[test]
    fn nearly_every_pattern_of_the_table_is_read() {
        let unread: Vec<&str> = TABLE
            .lines()
            .filter_map(|line| line.split_once(" /")?.1.strip_suffix('/'))
            .filter(|pattern| Pattern::parse(pattern).is_none())
            .collect();
        assert_eq!(unread.len(), 0, "{unread:?}");
    }
}
