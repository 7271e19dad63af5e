//! What test programs need to start containers.

/// Makes a test program its own [`crate::init`] program: write it once at the top of a test file, and give
/// `/proc/self/exe` as [`crate::Config::init_program`].
///
/// A test program has no `main` of its own, so this runs before it, while there is one thread: it becomes the nursery if it was
/// started as one, and enters a user namespace if it is not root.
#[macro_export]
macro_rules! init_in_tests {
    () => {
        #[used]
        #[unsafe(link_section = ".init_array")]
        static HOIST_RUNTIME_INIT: extern "C" fn() = {
            extern "C" fn before_main() {
                $crate::before_tests();
            }
            before_main
        };
    };
}

#[doc(hidden)]
pub fn before_tests() {
    crate::init();
    if let Err(error) = crate::privilege::acquire() {
        // Not a reason to end: tests that need no container can still run, and the others will say what failed.
        tracing::error!(%error, "no rights to run containers");
    }
}
