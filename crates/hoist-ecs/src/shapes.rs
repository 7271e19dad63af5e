//! ECS's own shapes: which members a definition may have, and of what kind they are.
//!
//! The table is generated from botocore's service model by `cargo xtask shapes`.

use std::sync::LazyLock;

use serde_json::Value;

/// The table; see `xtask/src/shapes.rs` for its form.
static TABLE: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("shapes.json")).expect("the generated table is JSON")
});

/// One shape of the table.
pub(crate) enum Shape {
    /// Members with their shapes, and the required ones.
    Structure {
        /// Member and name of its shape.
        members: Vec<(&'static str, &'static str)>,
        /// Members that must be there.
        required: Vec<&'static str>,
    },
    /// A list of one shape.
    List(&'static str),
    /// Any key, values of one shape.
    Map(&'static str),
    /// A string out of a few.
    Enum(Vec<&'static str>),
    /// `string`, `integer`, `long`, `double`, `float`, `boolean`, `timestamp`.
    Scalar(&'static str),
}

/// The shape of a name that the table has.
pub(crate) fn shape(name: &str) -> Shape {
    let shape = &TABLE["shapes"][name];
    let texts = |list: &'static Value| {
        list.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    };
    if let Some(members) = shape["members"].as_object() {
        Shape::Structure {
            members: members
                .iter()
                .filter_map(|(name, member)| Some((name.as_str(), member.as_str()?)))
                .collect(),
            required: texts(&shape["required"]),
        }
    } else if let Some(item) = shape["list"].as_str() {
        Shape::List(item)
    } else if let Some(item) = shape["map"].as_str() {
        Shape::Map(item)
    } else if shape["enum"].is_array() {
        Shape::Enum(texts(&shape["enum"]))
    } else {
        Shape::Scalar(
            shape
                .as_str()
                .expect("every shape of the generated table has a kind"),
        )
    }
}

/// Which model the table was cut out of, such as `botocore 1.44.5, ecs 2014-11-13`.
pub fn source() -> &'static str {
    TABLE["source"].as_str().unwrap_or_default()
}
