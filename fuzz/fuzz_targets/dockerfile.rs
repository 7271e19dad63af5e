//! A Dockerfile: its lines, instructions, checks, and the plan of its stages.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hoist_image::fuzzing::dockerfile(bytes);
});
