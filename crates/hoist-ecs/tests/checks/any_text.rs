//! Whatever a file holds: no panic, true positions, and JSON read as others read it.

use hoist_ecs::{Document, Kind, Node, check_service_definition, check_task_definition};

use super::{SERVICE, TASK, YAML};

/// Pieces that upset readers.
const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\n",
    "\r\n",
    "\t",
    " ",
    "'",
    "#",
    "- ",
    "|\n",
    "&a ",
    "*a",
    "<<: ",
    "{{ env.X }}",
    "{{",
    "é",
    "\u{1F600}",
    "\u{feff}",
    "null",
    "true",
    "-1",
    "1e5",
    "1e999",
    "0x1F",
    "99999999999999999999",
    "0.5",
    "\"a\": ",
    "//",
    "---\n",
    "? ",
    "\0",
];

fn changed(random: &mut fastrand::Rng, text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..random.usize(1..4) {
        let place = |random: &mut fastrand::Rng, text: &str| {
            let mut at = random.usize(0..=text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (a, b) = (place(random, &text), place(random, &text));
        let end = a.max(b).min(a.min(b) + 20);
        let end = (end..=text.len())
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(text.len());
        let piece = PIECES[random.usize(0..PIECES.len())];
        match random.u8(0..3) {
            0 => text.insert_str(a, piece),
            1 => text.replace_range(a.min(b)..end, ""),
            _ => text.replace_range(a.min(b)..end, piece),
        }
    }
    text
}

/// Every span lies in the text, on the line and column that it says, and holds what it stands for.
fn prove_spans(text: &str, node: &Node, json: bool) {
    let span = node.span;
    assert!(span.start <= span.end && span.end <= text.len(), "{span:?}");
    let before = &text[..span.start];
    assert_eq!(span.line, before.matches('\n').count() + 1);
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    if line > 0 || !text.starts_with('\u{feff}') {
        assert_eq!(span.column, text[line..span.start].chars().count() + 1);
    }
    if json {
        let value: serde_json::Value = serde_json::from_str(&text[span.start..span.end]).unwrap();
        assert_eq!(value, node.to_value());
    }
    match &node.kind {
        Kind::Array(items) => items.iter().for_each(|item| prove_spans(text, item, json)),
        Kind::Object(entries) => entries
            .iter()
            .for_each(|entry| prove_spans(text, &entry.value, json)),
        _ => {}
    }
}

fn prove(name: &str, text: &str, task: &Document) {
    let json = name.ends_with(".json");
    let reference =
        serde_json::from_str::<serde_json::Value>(text.strip_prefix('\u{feff}').unwrap_or(text));
    match Document::parse(name, text) {
        Ok(document) => {
            prove_spans(text, document.root(), json);
            if json {
                assert_eq!(*document.value(), reference.unwrap());
            }
            for problem in check_task_definition(&document)
                .into_iter()
                .chain(check_service_definition(&document, task))
            {
                assert!(
                    problem
                        .render(false)
                        .contains(&format!(":{}:", problem.line))
                );
            }
        }
        Err(problem) => {
            assert!(
                problem
                    .render(false)
                    .contains(&format!("{name}:{}:", problem.line))
            );
            let stricter = problem.message.contains("twice") || problem.message.contains("64 bits");
            assert!(
                !json || stricter || reference.is_err(),
                "serde_json reads this: {}",
                problem.render(false)
            );
        }
    }
}

#[test]
fn any_text_is_read_or_refused_with_a_place() {
    let seed = std::env::var("HOIST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let task = Document::parse("task.json", TASK).unwrap();
    for round in 0..500 {
        for (name, good) in [
            ("t.json", TASK),
            ("s.json", SERVICE),
            ("t.yaml", YAML),
            ("j.yaml", SERVICE),
        ] {
            let text = changed(&mut random, good);
            let outcome = std::panic::catch_unwind(|| prove(name, &text, &task));
            assert!(
                outcome.is_ok(),
                "HOIST_SEED={seed} round {round}, {name}:\n{text:?}"
            );
        }
    }
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let last = format!("*a{}, ", i - 1).repeat(9);
        text += &format!("a{i}: &a{i} [{}]\n", last.trim_end_matches(", "));
    }
    let problem = Document::parse("bomb.yaml", &text).unwrap_err();
    assert_eq!(problem.message, "aliases unfold to too much");
    let deep = "[".repeat(100_000);
    assert!(
        Document::parse("deep.json", &deep)
            .unwrap_err()
            .message
            .contains("nested too deeply")
    );
    assert!(Document::parse("deep.yaml", &deep).is_err());
}

#[test]
fn yaml_and_json_of_the_same_definition_are_the_same_value() {
    let json = Document::parse("task.json", TASK).unwrap();
    let yaml = Document::parse("task.yaml", TASK).unwrap();
    assert_eq!(json.value(), yaml.value());
    assert_eq!(
        json.value().to_string(),
        yaml.value().to_string(),
        "in the same order"
    );
    let escapes = r#"{"a":"\u00e9\/\ud83d\ude00\t\"","b":[-0.5,1e3,18446744073709551615,-9223372036854775808],"c":{"":null}}"#;
    let read = Document::parse("e.json", escapes).unwrap();
    assert_eq!(
        *read.value(),
        serde_json::from_str::<serde_json::Value>(escapes).unwrap()
    );
}

#[test]
fn yaml_words_mean_what_yaml_1_2_says() {
    let text = "a: yes\nb: on\nc: 010\nd: 0x1f\ne: ~\nf: 1_000\ng: 12:30\nh: 1e3\ni: .5\nj: +7\nk: 'true'\nl: !!str 7\nm: |\n  a\n  b\nn: 2024-01-01\n";
    let expected = r#"{"a":"yes","b":"on","c":10,"d":31,"e":null,"f":"1_000","g":"12:30","h":1000.0,"i":0.5,"j":7,"k":"true","l":"7","m":"a\nb\n","n":"2024-01-01"}"#;
    assert_eq!(
        Document::parse("w.yaml", text).unwrap().value().to_string(),
        expected
    );
    let merged = "base: &base { a: 1, b: 2 }\nown: { <<: *base, b: 3 }\n";
    assert_eq!(
        Document::parse("m.yaml", merged).unwrap().value()["own"],
        serde_json::json!({ "b": 3, "a": 1 })
    );
}
