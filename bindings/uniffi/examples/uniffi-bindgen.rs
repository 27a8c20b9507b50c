//! Generates the sides of Kotlin, Swift and Python from the compiled library.

fn main() {
    uniffi::uniffi_bindgen_main();
}
