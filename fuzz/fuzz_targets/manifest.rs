//! A manifest, an index, or a configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hoist_image::fuzzing::manifest(bytes);
});
