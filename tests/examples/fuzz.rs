//! Throws forged inputs at every decoder and reports how many were taken: none may panic or hang.
//!
//! ```sh
//! cargo run --release -p e2e --example fuzz -- 10000000 1 relay     # inputs a decoder, seed, part of its name
//! cargo run --release -p e2e --example fuzz -- --corpus             # writes true inputs to tests/fuzz/corpus
//! ```

use std::fs;
use std::path::Path;
use std::time::Instant;

use e2e::fuzzing::{forge, targets};
use prism_core::stream::{Purpose, StreamId};
use sha2::{Digest, Sha256};

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("--corpus").is_some() {
        return write_corpus();
    }
    let inputs: u64 = arguments.next().map_or(100_000, |n| n.parse().expect("a number of inputs"));
    let seed: u64 = arguments.next().map_or(0, |n| n.parse().expect("a seed"));
    let wanted = arguments.next().unwrap_or_default();
    for target in targets().into_iter().filter(|target| target.name.contains(&wanted)) {
        let begun = Instant::now();
        let mut stream = StreamId::new(seed, Purpose::Test).open();
        let taken = (0..inputs).filter(|_| target.decode(&forge(&target.truths, &mut stream))).count();
        println!("{:<24} {inputs} inputs, {taken} taken, {:.1} s", target.name, begun.elapsed().as_secs_f64());
    }
}

/// Writes the true inputs of each kind, each once, under the names that cargo-fuzz would give them but for the hash.
fn write_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in targets() {
        let folder = corpus.join(target.kind());
        fs::create_dir_all(&folder).expect("the folder can be made");
        for truth in &target.truths {
            let name: String = Sha256::digest(truth).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            fs::write(folder.join(name), truth).expect("the input is written");
        }
    }
}
