//! What the GPU kernels compute, without a GPU: their arithmetic is plain C, so the machine's C compiler builds it for the CPU.
//! It must draw the very masks that the CPU draws.

#![cfg(unix)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use prism_core::score;
use prism_core::stream::{Purpose, StreamId};

/// Reads a key and scores from standard input; writes each score's probability, then whether it is kept, as floats.
const HARNESS: &str = r#"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#define HOST_DEVICE
#include "draw.cuh"
int main(void) {
    unsigned int key[8], count, words[16];
    if (fread(key, 4, 8, stdin) != 8 || fread(&count, 4, 1, stdin) != 1) return 1;
    float *scores = malloc(4 * (size_t)count);
    if (!scores || fread(scores, 4, count, stdin) != count) return 1;
    for (unsigned int i = 0; i < count; i++) {
        if (i % 16 == 0) chacha20(key, i / 16, words);
        float out[2] = {sigmoid(scores[i]), keeps(words[i % 16], sigmoid(scores[i]))};
        fwrite(out, 4, 2, stdout);
    }
    return 0;
}
"#;

/// The C compiler's program, compiled without fused multiply-adds, as on the GPU.
fn build(folder: &Path) -> std::path::PathBuf {
    let (source, program) = (folder.join("harness.c"), folder.join("harness"));
    std::fs::write(&source, HARNESS).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut command = Command::new(&compiler);
    command.args(["-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]);
    command.arg("-I").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cuda")).arg(&source).arg("-o").arg(&program);
    let done = command.output().unwrap_or_else(|e| panic!("{compiler} does not run ({e}); set CC to a C compiler"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    program
}

/// Each score's probability and whether it is kept.
fn run(program: &Path, stream: StreamId, scores: &[f32]) -> Vec<(f32, bool)> {
    let mut input = stream.key().to_vec();
    input.extend((scores.len() as u32).to_le_bytes());
    input.extend(scores.iter().flat_map(|s| s.to_le_bytes()));
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || pipe.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    output.stdout.chunks_exact(8).map(|pair| (float(&pair[..4]), float(&pair[4..]) == 1.0)).collect()
}

/// Scores of every size, the places where the exponential changes its formula, and what is no number.
fn scores() -> Vec<f32> {
    let mut stream = StreamId::new(2, Purpose::Test).open();
    let mut scores: Vec<f32> = Vec::new();
    for scale in [1e-5, 0.01, 0.3, 1.0, 5.0, 20.0, 60.0, 120.0] {
        scores.extend((0..20_000).map(|_| (scale * stream.normal()) as f32));
    }
    for corner in [0.0, 1.220_703_1e-4, 0.346_573_6, 1.039_720_8, 16.6, 87.33655, 88.72284, 103.97208f32] {
        let nearby = |step: i64| f32::from_bits((i64::from(corner.to_bits()) + step).max(0) as u32);
        scores.extend((-200..200).map(nearby).flat_map(|x| [x, -x]));
    }
    scores.extend([f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::NAN, -0.0]);
    scores
}

#[test]
fn a_gpu_draws_the_masks_of_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path());
    let (scores, id) = (scores(), StreamId::new(9, Purpose::TrainMask).round(3).layer(2));
    let found = run(&program, id, &scores);
    assert_eq!(found.len(), scores.len());
    let mut kept = vec![false; scores.len()];
    score::draw(scores.iter().map(|&s| score::sigmoid(s)), &mut id.open(), |i, k| kept[i] = k);
    for ((&score, &(theta, found)), &kept) in scores.iter().zip(&found).zip(&kept) {
        let expected = score::sigmoid(score);
        // Far out in the tail the GPU gives 1 where the sum of 1 and the exponential rounds to 1 anyway.
        assert!(theta.to_bits() == expected.to_bits() || theta.is_nan() && expected.is_nan(), "sigmoid of {score}");
        assert_eq!(found, kept, "score {score}");
    }
}
