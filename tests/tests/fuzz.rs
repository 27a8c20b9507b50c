//! Forged inputs to every decoder, and the inputs that coverage-guided fuzzing found worth keeping (`fuzz/corpus`).

use std::fs;
use std::path::Path;

use e2e::fuzzing::{forge, targets};
use prism_core::stream::{Purpose, StreamId};

/// Forged inputs a decoder.
const INPUTS: usize = 10_000;

/// Seconds in a debug build. `examples/fuzz.rs` makes as many as are asked for.
#[test]
fn no_decoder_panics_on_forged_inputs() {
    for target in targets() {
        assert!(target.truths.iter().any(|truth| target.decode(truth)), "{}: a true input is taken", target.name);
        let mut stream = StreamId::new(0, Purpose::Test).open();
        let taken = (0..INPUTS).filter(|_| target.decode(&forge(&target.truths, &mut stream))).count();
        assert!(taken < INPUTS, "{}: everything is taken", target.name);
    }
}

#[test]
fn no_decoder_panics_on_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in targets() {
        let inputs = fs::read_dir(corpus.join(target.kind())).unwrap_or_else(|e| panic!("{}: {e}", target.kind()));
        let mut count = 0;
        for input in inputs {
            target.decode(&fs::read(input.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} has a corpus", target.kind());
    }
}
