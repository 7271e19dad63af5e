//! A layer, unpacked; it must reach nothing outside.
#![no_main]

use std::sync::{LazyLock, Mutex};

use layer_reader::Reader;

#[path = "../../crates/hoist-image/tests/building/layer_reader.rs"]
mod layer_reader;

static READER: LazyLock<Mutex<Reader>> = LazyLock::new(|| Mutex::new(Reader::new()));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut reader = READER.lock().unwrap();
    assert!(reader.outside().exists());
    reader.read(bytes);
});
