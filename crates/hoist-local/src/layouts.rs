//! The layouts that the state has had, and the way from each to the next; see `docs/design/state.md`.

use redb::{ReadableTable as _, TableDefinition, WriteTransaction};
use serde_json::Value;

use crate::state::{StateError, access};

/// The layout that this version reads and writes; raised together with a new [`Step`].
pub const CURRENT: u64 = 2;

/// Brings every row of one layout to the next.
pub type Step = fn(&Rows<'_>) -> Result<(), StateError>;

/// What leads from each layout to the one behind it; the first is the oldest that can still be read.
pub const STEPS: &[(u64, Step)] = &[(1, rules_have_a_bus)];

/// The steps from a layout to the current one; `None` if no way leads from there.
pub fn way(steps: &'static [(u64, Step)], from: u64) -> Option<&'static [(u64, Step)]> {
    let first = steps.iter().position(|(layout, _)| *layout == from)?;
    Some(&steps[first..])
}

/// The rows of all tables while they are changed: all of them, or none.
pub struct Rows<'a>(pub &'a WriteTransaction);

/// A row as it lies on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub region: String,
    pub key: String,
    pub value: Value,
}

impl Rows<'_> {
    /// Writes every row of a table anew as `change` has it; a row that becomes `None` is gone.
    pub fn each(
        &self,
        table: &'static str,
        change: impl Fn(Row) -> Option<Row>,
    ) -> Result<(), StateError> {
        let definition: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new(table);
        let mut open = self.0.open_table(definition).map_err(access)?;
        let mut rows = Vec::new();
        for row in open.iter().map_err(access)? {
            let (key, bytes) = row.map_err(access)?;
            let (region, key) = key.value();
            let value = serde_json::from_slice(bytes.value()).map_err(|source| {
                let key = key.to_owned();
                StateError::Decode { table, key, source }
            })?;
            rows.push(Row {
                region: region.to_owned(),
                key: key.to_owned(),
                value,
            });
        }
        for row in &rows {
            let key = (row.region.as_str(), row.key.as_str());
            open.remove(key).map_err(access)?;
        }
        for row in rows.into_iter().filter_map(change) {
            let bytes = row.value.to_string().into_bytes();
            let key = (row.region.as_str(), row.key.as_str());
            open.insert(key, bytes.as_slice()).map_err(access)?;
        }
        Ok(())
    }
}

/// Until layout 2 there was only the default bus of EventBridge, and its rules went by their names alone.
fn rules_have_a_bus(rows: &Rows<'_>) -> Result<(), StateError> {
    rows.each("events-rules", |mut row| {
        row.value["bus"] = "default".into();
        row.key = format!("default/{}", row.key);
        Some(row)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;
    use serde_json::json;

    #[test]
    fn every_layout_leads_to_the_next_and_the_last_to_the_current_one() {
        let layouts: Vec<u64> = STEPS.iter().map(|(layout, _)| *layout).collect();
        let first = *layouts.first().unwrap();
        assert_eq!(layouts, (first..CURRENT).collect::<Vec<_>>());
        assert!(way(STEPS, CURRENT).is_none() && way(STEPS, 0).is_none());
        assert_eq!(way(STEPS, 1).unwrap().len(), layouts.len());
    }

    /// A state whose rows are as a version with that layout wrote them.
    fn written(path: &std::path::Path, layout: u64, rows: &[(&'static str, &str, Value)]) {
        let state = State::open(path).unwrap();
        for (table, key, value) in rows {
            state
                .table::<Value>(table)
                .put("us-east-1", key, value)
                .unwrap();
        }
        state
            .table::<u64>("meta")
            .put("", "schema", &layout)
            .unwrap();
    }

    #[test]
    fn the_rules_of_the_first_layout_are_those_of_the_default_bus_and_a_copy_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let rule = json!({"name": "mine", "enabled": true});
        let other = ("ssm-parameters", "p", json!({"v": 1}));
        written(
            &path,
            1,
            &[("events-rules", "mine", rule.clone()), other.clone()],
        );
        let state = State::open(&path).unwrap();
        let rules = state.table::<Value>("events-rules").all().unwrap();
        let moved = json!({"name": "mine", "enabled": true, "bus": "default"});
        let place = ("us-east-1".to_owned(), "default/mine".to_owned());
        assert_eq!(rules, [(place.0, place.1, moved)]);
        assert_eq!(
            state.table::<Value>(other.0).get("us-east-1", "p").unwrap(),
            Some(other.2)
        );
        drop(state);
        // A second start has nothing to do, and what was there before can be put back.
        drop(State::open(&path).unwrap());
        let copy = folder.path().join("state.redb.layout-1");
        let old = redb::Database::open(copy).unwrap();
        let reading = redb::ReadableDatabase::begin_read(&old).unwrap();
        let table: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("events-rules");
        let table = reading.open_table(table).unwrap();
        let kept = table.get(("us-east-1", "mine")).unwrap().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(kept.value()).unwrap(), rule);
    }

    #[test]
    fn a_chain_of_steps_runs_in_order_and_one_that_fails_changes_nothing() {
        const CHAIN: &[(u64, Step)] = &[
            (7, |rows| {
                rows.each("names", |mut row| {
                    row.value = json!([row.value, "seven"]);
                    (row.key != "gone").then_some(row)
                })
            }),
            (8, |rows| {
                rows.each("names", |mut row| {
                    row.value = json!([row.value, "eight"]);
                    Some(row)
                })
            }),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let rows = [
            ("names", "a", json!("first")),
            ("names", "gone", json!("x")),
        ];
        written(&path, 7, &rows);
        let state = State::open_with(&path, 9, CHAIN).unwrap();
        assert_eq!(
            state.table::<Value>("names").all().unwrap(),
            [(
                "us-east-1".into(),
                "a".into(),
                json!([["first", "seven"], "eight"])
            )]
        );
        drop(state);

        const BROKEN: &[(u64, Step)] = &[
            (9, CHAIN[0].1),
            (10, |_| {
                Err(StateError::Layout {
                    path: Default::default(),
                    found: 10,
                })
            }),
        ];
        assert!(State::open_with(&path, 11, BROKEN).is_err());
        let state = State::open_with(&path, 9, CHAIN).unwrap();
        let kept = state.table::<Value>("names").get("us-east-1", "a").unwrap();
        assert_eq!(kept, Some(json!([["first", "seven"], "eight"])));
    }

    #[test]
    fn a_layout_that_no_step_leads_from_is_refused_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        for layout in [0, 99] {
            written(&path, layout, &[]);
            let error = State::open(&path).err().unwrap();
            assert!(
                matches!(error, StateError::Layout { found, .. } if found == layout),
                "{error}"
            );
            assert!(error.hint().unwrap().contains("reset"));
            // Only for this test: a state that can be opened again.
            State::open_with(&path, layout, &[])
                .unwrap()
                .table::<u64>("meta")
                .put("", "schema", &CURRENT)
                .unwrap();
        }
    }
}
