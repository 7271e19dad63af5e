//! What is generated from botocore's service models: the table of ECS's own shapes that the checks of `hoist-ecs` know, here, and
//! the [table](crate::table) of the embedded AWS.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Requests whose shapes the checks need.
const ROOTS: [&str; 3] = [
    "RegisterTaskDefinitionRequest",
    "CreateServiceRequest",
    "CreateExpressGatewayServiceRequest",
];

/// Where the table lies, seen from the root of the workspace.
const TABLE: &str = "crates/hoist-ecs/src/shapes.json";

/// Writes both tables from the botocore package in `botocore`.
pub fn generate(botocore: &Path) -> Result<(), String> {
    for (path, text) in tables(botocore)? {
        fs::write(&path, text)
            .map_err(|error| format!("failed to write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// What is generated from the models, with where it lies.
fn tables(botocore: &Path) -> Result<[(PathBuf, String); 2], String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("xtask lies in no workspace")?;
    Ok([
        (root.join(TABLE), table(botocore)?),
        (
            root.join(crate::table::TABLE),
            crate::table::table(botocore)?,
        ),
    ])
}

/// The table as text: one shape to a line, so that a change of the model reads well in a diff.
fn table(botocore: &Path) -> Result<String, String> {
    let model = model(botocore, "ecs/2014-11-13")?;
    let mut shapes = BTreeMap::new();
    for root in ROOTS {
        collect(&model["shapes"], root, &mut shapes)?;
    }
    let lines: Vec<String> = shapes
        .iter()
        .map(|(name, shape)| format!("    {}: {shape}", json!(name)))
        .collect();
    Ok(format!(
        "{{\n  \"source\": \"botocore {}, ecs 2014-11-13\",\n  \"shapes\": {{\n{}\n  }}\n}}\n",
        version(botocore)?,
        lines.join(",\n")
    ))
}

/// The model of a service: `folder` is such as `ecs/2014-11-13`.
pub fn model(botocore: &Path, folder: &str) -> Result<Value, String> {
    let path = botocore.join("data").join(folder).join("service-2.json.gz");
    let failed =
        |error: &dyn std::fmt::Display| format!("failed to read {}: {error}", path.display());
    let packed = fs::File::open(&path).map_err(|error| failed(&error))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_string(&mut text)
        .map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}

pub fn version(botocore: &Path) -> Result<String, String> {
    let path = botocore.join("__init__.py");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("__version__ = "))
        .map(|version| version.trim_matches(['\'', '"']).to_owned())
        .ok_or_else(|| format!("{} has no __version__", path.display()))
}

/// Adds `name` and every shape that it leads to.
fn collect(model: &Value, name: &str, shapes: &mut BTreeMap<String, Value>) -> Result<(), String> {
    if shapes.contains_key(name) {
        return Ok(());
    }
    let shape = &model[name];
    let kind = shape["type"]
        .as_str()
        .ok_or_else(|| format!("the model has no shape {name}"))?;
    shapes.insert(name.to_owned(), Value::Null);
    let mut leads_to = Vec::new();
    let mut target = |member: &Value| -> Result<Value, String> {
        let name = member["shape"].as_str().ok_or("a member without a shape")?;
        leads_to.push(name.to_owned());
        Ok(json!(name))
    };
    let compact = match kind {
        "structure" => {
            let members = shape["members"]
                .as_object()
                .ok_or("a structure without members")?;
            let members: Map<String, Value> = members
                .iter()
                .map(|(name, member)| Ok((name.clone(), target(member)?)))
                .collect::<Result<_, String>>()?;
            let mut compact = json!({ "members": members });
            if let Some(required) = shape["required"]
                .as_array()
                .filter(|required| !required.is_empty())
            {
                compact["required"] = json!(required);
            }
            compact
        }
        "list" => json!({ "list": target(&shape["member"])? }),
        "map" => json!({ "map": target(&shape["value"])? }),
        "string" if shape["enum"].is_array() => json!({ "enum": shape["enum"] }),
        scalar => json!(scalar),
    };
    shapes.insert(name.to_owned(), compact);
    for name in leads_to {
        collect(model, &name, shapes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the tests' tools have botocore, if they are installed.
    fn botocore() -> Option<PathBuf> {
        let tools = PathBuf::from(std::env::var_os("HOIST_TEST_TOOLS")?).join("lib");
        let python = |path: &PathBuf| path.join("site-packages/botocore").is_dir();
        let mut folders = fs::read_dir(tools).ok()?.flatten().map(|it| it.path());
        Some(folders.find(python)?.join("site-packages/botocore"))
    }

    #[test]
    fn the_tables_are_what_the_models_say() {
        let Some(botocore) = botocore() else {
            assert!(
                std::env::var_os("HOIST_TEST_TOOLS").is_none(),
                "the tools are installed without botocore"
            );
            return;
        };
        for (path, text) in tables(&botocore).expect("the models can be read") {
            let kept = fs::read_to_string(&path).expect("the table is there");
            assert!(
                kept == text,
                "{} is not what the models say; run `cargo xtask shapes {}`",
                path.display(),
                botocore.display()
            );
        }
    }
}
