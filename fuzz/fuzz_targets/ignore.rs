//! A `.dockerignore`, and what it says of some paths.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hoist_image::fuzzing::ignore(bytes);
});
