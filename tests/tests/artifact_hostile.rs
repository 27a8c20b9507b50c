//! Damaged artifacts: cut short, altered bit by bit, random, or a bomb. Each is refused with a reason, and none panics.

use std::io::Write;
use std::sync::OnceLock;

use e2e::forge::{Forged, packed};
use e2e::model::{tiny, untrained};
use prism_core::artifact::Artifact;
use proptest::prelude::*;

/// A tiny artifact with range-coded and raw masks among its layers.
fn good() -> &'static (Artifact, Vec<u8>) {
    static GOOD: OnceLock<(Artifact, Vec<u8>)> = OnceLock::new();
    GOOD.get_or_init(|| {
        let artifact = untrained(tiny(), 0.1, 3);
        let bytes = artifact.to_bytes().unwrap();
        (artifact, bytes)
    })
}

/// The safetensors file in it.
fn unpacked() -> Vec<u8> {
    zstd::decode_all(&good().1[..]).unwrap()
}

fn reason(bytes: &[u8]) -> String {
    Artifact::from_bytes(bytes).expect_err("these bytes must be refused").to_string()
}

#[test]
fn every_truncation_is_refused() {
    let (_, bytes) = good();
    for length in 0..bytes.len() {
        assert!(Artifact::from_bytes(&bytes[..length]).is_err(), "the first {length} bytes");
    }
}

#[test]
fn every_flipped_bit_of_the_file_is_refused_or_harmless() {
    let (artifact, bytes) = good();
    let mut harmless = 0;
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        if let Ok(read) = Artifact::from_bytes(&altered) {
            assert_eq!(&read, artifact, "bit {bit} changes the model unnoticed");
            harmless += 1;
        }
    }
    // zstd gives some bits no meaning, in its headers and in tables of codes that do not occur.
    assert!(harmless < bytes.len() * 8 / 100, "{harmless} bits of {} can be flipped", bytes.len() * 8);
}

#[test]
fn every_flipped_bit_of_the_unpacked_file_is_refused() {
    let unpacked = unpacked();
    for bit in 0..unpacked.len() * 8 {
        let mut altered = unpacked.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(Artifact::from_bytes(&packed(&altered)).is_err(), "bit {bit}");
    }
}

#[test]
fn every_truncation_of_the_unpacked_file_is_refused() {
    let unpacked = unpacked();
    for length in 0..unpacked.len() {
        assert!(Artifact::from_bytes(&packed(&unpacked[..length])).is_err(), "the first {length} bytes");
    }
}

#[test]
fn bytes_after_the_frame_and_a_second_frame_are_refused() {
    let (_, bytes) = good();
    assert!(reason(&[&bytes[..], &[0]].concat()).contains("1 bytes follow"));
    assert!(reason(&[&bytes[..], bytes].concat()).contains("follow"));
    // A skippable frame, which zstd allows anywhere.
    assert!(Artifact::from_bytes(&[&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9], &bytes[..]].concat()).is_err());
}

/// The most memory that this process has held, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() * 1024
}

/// 256 MiB of zeros in some 8 kB, with or without the length in the frame's header.
fn bomb(declared: bool) -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    if declared {
        encoder.set_pledged_src_size(Some(256 << 20)).unwrap();
    }
    (0..256).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap()
}

#[test]
fn a_bomb_is_refused_in_little_memory() {
    for declared in [true, false] {
        let bomb = bomb(declared);
        assert!(bomb.len() < 1 << 16, "{} bytes are no bomb", bomb.len());
        #[cfg(target_os = "linux")]
        let before = peak_memory();
        assert!(reason(&bomb).contains("unpacks to more than"), "declared: {declared}");
        #[cfg(target_os = "linux")]
        assert!(peak_memory() - before < 160 << 20, "it took {} bytes", peak_memory() - before);
    }
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(30).unwrap();
    // Without a known length the frame keeps the window that was asked for.
    encoder.write_all(&[7; 100]).unwrap();
    assert!(reason(&encoder.finish().unwrap()).contains("indow"));
}

#[test]
fn a_file_beyond_the_limit_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.safetensors.zst");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(Artifact::read(&path).unwrap_err().to_string().contains("longer than"));
}

#[test]
fn header_lengths_that_lie_are_refused() {
    let unpacked = unpacked();
    let length = u64::from_le_bytes(unpacked[..8].try_into().unwrap());
    for lie in [0, 1, length - 8, length + 8, 1 << 20, (1 << 20) + 1, 1 << 40, u64::MAX - 7, u64::MAX] {
        let altered = [&lie.to_le_bytes()[..], &unpacked[8..]].concat();
        let why = reason(&packed(&altered));
        assert_eq!(lie > 1 << 20, why.contains("header claims"), "{lie}: {why}");
    }
}

#[test]
fn other_safetensors_files_are_no_artifacts() {
    let forged = Forged::from_good(&good().1);
    for metadata in [&[][..], &[("format", "pt")], &[("prism", &forged.text()), ("more", "x")]] {
        assert!(reason(&packed(&forged.safetensors(metadata))).contains("no PRISM artifact"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn random_bytes_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), frame: bool) {
        if frame {
            bytes.splice(0..0, [0x28, 0xb5, 0x2f, 0xfd]);
        }
        prop_assert!(Artifact::from_bytes(&bytes).is_err());
    }

    #[test]
    fn random_damage_is_refused(at in 0.0f64..1.0, new in proptest::collection::vec(any::<u8>(), 1..9), unpack: bool) {
        let (artifact, bytes) = good();
        let mut altered = if unpack { unpacked() } else { bytes.clone() };
        let start = (at * altered.len() as f64) as usize;
        let end = (start + new.len()).min(altered.len());
        altered.splice(start..end, new);
        let altered = if unpack { packed(&altered) } else { altered };
        if let Ok(read) = Artifact::from_bytes(&altered) {
            prop_assert_eq!(&read, artifact);
        }
    }
}
